//! Accuracy.
//! Definition:  equal answers / answers; 0 for none

/// The share of predictions that equal their gold answer; pairs are matched in order.
pub fn accuracy<T: PartialEq>(gold: &[T], predicted: &[T]) -> f64 {
    let right = gold.iter().zip(predicted).filter(|(g, p)| g == p).count();
    right as f64 / gold.len().max(predicted.len()).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_answer_is_wrong() {
        assert_eq!(accuracy(&[1, 2, 3, 4], &[1, 0, 3, 4]), 0.75);
        assert_eq!(accuracy(&["a", "b"], &["a"]), 0.5);
        assert_eq!(accuracy::<u8>(&[], &[]), 0.0);
    }
}

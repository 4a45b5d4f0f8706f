//! ZLPR: softmax cross entropy for any number of labels, with a threshold of 0.
//! Definition:  log(1 + sum over others of e^s) + log(1 + sum over positives of e^-s)
//!              soft targets t weigh the terms with 1 - t and t; a threshold z replaces 1 by e^z, e^-z
//! Shapes:      scores [N, C] -> [N];  probability of a class: sigmoid(2 s)
//! Numerics:    terms of weight 0 and masked classes are left out by selection; no class -> exactly 0
//! Cost:        O(N C), elementary operations: gradients of any order
//! Reference:   ZLPR, 2022 (arXiv 2208.02955).         Vectors: zlpr-multilabel.json

use bert4rs_tensor::{DType, Tensor};

use crate::{Error, Result};

/// The loss of every row for `targets [N, C]` in 0..=1; classes with `mask` 0 do not exist.
pub fn zlpr(scores: &Tensor, targets: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    zlpr_with_threshold(scores, targets, mask, 0.0)
}

/// As [`zlpr`], with the score that separates positives from the others.
pub fn zlpr_with_threshold(
    scores: &Tensor,
    targets: &Tensor,
    mask: Option<&Tensor>,
    threshold: f64,
) -> Result<Tensor> {
    let &[_, classes] = scores.shape() else {
        return input(format!("scores {:?}: expected [N, C]", scores.shape()));
    };
    let mask = match mask {
        Some(mask) => mask.to_f64_vec().iter().map(|&m| m != 0.0).collect(),
        None => vec![true; scores.elements()],
    };
    if targets.shape() != scores.shape() || mask.len() != scores.elements() {
        return input(format!(
            "scores {:?}, targets {:?}, mask of {} elements: expected one shape",
            scores.shape(),
            targets.shape(),
            mask.len()
        ));
    }
    let targets = targets.to_f64_vec();
    for (i, &t) in targets.iter().enumerate() {
        if mask[i] && !(0.0..=1.0).contains(&t) {
            return input(format!(
                "target {t} of class {} in row {} is outside 0..1",
                i % classes,
                i / classes
            ));
        }
    }
    dense(scores, &targets, &mask, threshold)
}

/// The loss of every row for lists of positive classes, which may repeat. With `zero_is_padding`
/// class 0 does not exist and ids 0 are ignored.
pub fn zlpr_sparse(
    scores: &Tensor,
    positives: &[Vec<usize>],
    mask: Option<&Tensor>,
    zero_is_padding: bool,
) -> Result<Tensor> {
    let &[rows, classes] = scores.shape() else {
        return input(format!("scores {:?}: expected [N, C]", scores.shape()));
    };
    let mut mask: Vec<bool> = match mask {
        Some(mask) => mask.to_f64_vec().iter().map(|&m| m != 0.0).collect(),
        None => vec![true; rows * classes],
    };
    if positives.len() != rows || mask.len() != rows * classes {
        return input(format!(
            "{} lists of positives and a mask of {} elements for scores {:?}",
            positives.len(),
            mask.len(),
            scores.shape()
        ));
    }
    if zero_is_padding {
        (0..rows.min(rows * classes)).for_each(|row| mask[row * classes] = false);
    }
    let mut targets = vec![0.0; rows * classes];
    for (row, list) in positives.iter().enumerate() {
        for &class in list.iter().filter(|&&c| !(zero_is_padding && c == 0)) {
            if class >= classes || !mask[row * classes + class] {
                return input(format!("positive class {class} in row {row}: masked or not among {classes}"));
            }
            targets[row * classes + class] = 1.0;
        }
    }
    dense(scores, &targets, &mask, 0.0)
}

/// The probability of every class, `sigmoid(2 s)`: where soft targets are at rest.
pub fn zlpr_probability(scores: &Tensor) -> Result<Tensor> {
    Ok(scores.mul_scalar(2.0)?.sigmoid()?)
}

fn dense(scores: &Tensor, targets: &[f64], mask: &[bool], threshold: f64) -> Result<Tensor> {
    let (rows, classes) = (scores.shape()[0], scores.shape()[1]);
    let broken = |(i, s): &(usize, f64)| mask[*i] && (s.is_nan() || *s == f64::INFINITY);
    if let Some((i, s)) = scores.to_f64_vec().into_iter().enumerate().find(broken) {
        return input(format!("score {s} of class {} in row {}", i % classes, i / classes));
    }
    let side = |scores: &Tensor, weight: &dyn Fn(f64) -> f64, threshold: f64| -> Result<Tensor> {
        let weights: Vec<f64> =
            targets.iter().zip(mask).map(|(&t, &m)| if m { weight(t) } else { 0.0 }).collect();
        let tensor = |f: &dyn Fn(f64) -> f64| -> Result<Tensor> {
            let values = weights.iter().map(|&w| f(w)).collect();
            Ok(Tensor::new(values, &[rows, classes])?.cast(scores.dtype())?)
        };
        let present = tensor(&|w| f64::from(u8::from(w > 0.0)))?;
        let log_weights = tensor(&|w| if w > 0.0 { w.ln() } else { 0.0 })?;
        let absent = Tensor::scalar(f64::NEG_INFINITY, scores.dtype());
        let terms = Tensor::select(&present, &scores.add(&log_weights)?, &absent)?;
        let origin = Tensor::full(threshold, &[rows, 1], scores.dtype());
        Ok(Tensor::concat(&[&origin, &terms], 1)?.log_sum_exp(1, false)?)
    };
    if scores.dtype() == DType::I64 {
        return input("integer scores".into());
    }
    let others = side(scores, &|t| 1.0 - t, threshold)?;
    let positives = side(&scores.neg()?, &|t| t, -threshold)?;
    Ok(others.add(&positives)?)
}

fn input<T>(message: String) -> Result<T> {
    Err(Error::Input(format!("zlpr: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f64], shape: &[usize]) -> Tensor {
        Tensor::new(values.to_vec(), shape).unwrap()
    }

    #[test]
    fn two_classes_by_hand() {
        let loss = zlpr(&tensor(&[1.0, -2.0], &[1, 2]), &tensor(&[1.0, 0.0], &[1, 2]), None).unwrap();
        let expected = (1.0 + (-2f64).exp()).ln() + (1.0 + (-1f64).exp()).ln();
        assert!((loss.item().unwrap() - expected).abs() < 1e-15);
    }

    #[test]
    fn no_class_costs_nothing() {
        assert_eq!(
            zlpr_sparse(&tensor(&[], &[2, 0]), &[vec![], vec![]], None, false).unwrap().to_f64_vec(),
            [0.0; 2]
        );
        assert_eq!(
            zlpr_sparse(&tensor(&[3.0], &[1, 1]), &[vec![0]], None, true).unwrap().to_f64_vec(),
            [0.0]
        );
        assert_eq!(zlpr(&tensor(&[], &[0, 3]), &tensor(&[], &[0, 3]), None).unwrap().shape(), [0]);
    }

    #[test]
    fn wrong_inputs_say_where() {
        let scores = tensor(&[0.0, f64::NAN], &[1, 2]);
        let error = |r: Result<Tensor>| r.unwrap_err().to_string();
        let mask = tensor(&[1.0, 0.0], &[1, 2]);
        assert!(
            error(zlpr_sparse(&scores, &[vec![]], None, false)).contains("score NaN of class 1 in row 0")
        );
        assert!(zlpr_sparse(&scores, &[vec![0]], Some(&mask), false).is_ok());
        assert!(error(zlpr_sparse(&scores, &[vec![1]], Some(&mask), false)).contains("positive class 1"));
        assert!(error(zlpr_sparse(&scores, &[vec![2]], None, false)).contains("not among 2"));
        assert!(error(zlpr(&scores, &tensor(&[0.0, 1.5], &[1, 2]), None)).contains("target 1.5 of class 1"));
        assert!(error(zlpr(&scores, &tensor(&[0.0], &[1, 1]), None)).contains("expected one shape"));
    }
}

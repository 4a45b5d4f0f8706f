//! Keys and values of the tokens before, so that a decoder computes each token once.
//! Definition:  text b: what it has, then its new tokens
//! Shapes:      keys [P, H K], values [P, H V], P = tokens so far of all texts
//! Numerics:    attention to them is that of the whole text, bit for bit
//! Cost:        a step copies what is there, O(P H (K + V)), as much as it reads of it anyway

use bert4rs_tensor::{Packed, Tensor};

use crate::{Error, Result};

/// What one layer has seen.
#[derive(Clone)]
pub struct Past {
    /// Keys and values; none before the first tokens.
    tensors: Option<[Tensor; 2]>,
    batch: Packed,
}

impl Past {
    /// Of texts that have no token yet.
    pub fn new(texts: usize) -> Self {
        Self { tensors: None, batch: Packed::from_lengths(&vec![0; texts]) }
    }

    /// Where the texts begin and end.
    pub fn batch(&self) -> &Packed {
        &self.batch
    }

    /// Appends the keys and values of new tokens; those of all tokens.
    pub fn join(&mut self, new: [Tensor; 2], batch: &Packed) -> Result<[Tensor; 2]> {
        let before = self.batch.clone();
        if before.sequences() != batch.sequences() {
            let message = format!("decoder: {} texts go on as {}", before.sequences(), batch.sequences());
            return Err(Error::Input(message));
        }
        let lengths: Vec<usize> =
            (0..batch.sequences()).map(|b| before.length(b) + batch.length(b)).collect();
        let all = match self.tensors.take() {
            None => new,
            Some([keys, values]) => {
                let order: Vec<usize> = (0..batch.sequences())
                    .flat_map(|b| before.range(b).chain(batch.range(b).map(|row| before.tokens() + row)))
                    .collect();
                let append = |old: &Tensor, new: &Tensor| {
                    let both = Tensor::concat(&[old, new], 0)?;
                    Ok::<_, Error>(if batch.sequences() == 1 { both } else { both.rows(&order)? })
                };
                [append(&keys, &new[0])?, append(&values, &new[1])?]
            }
        };
        self.batch = Packed::from_lengths(&lengths);
        self.tensors = Some(all.clone());
        Ok(all)
    }

    /// How many keys each of the last tokens sees: itself and those before it.
    pub fn counts(&self, last: &Packed) -> Vec<usize> {
        let first = |b: usize| self.batch.length(b) - last.length(b);
        (0..last.sequences()).flat_map(|b| first(b) + 1..=self.batch.length(b)).collect()
    }

    /// The texts of these numbers, in this order, some perhaps several times: what a search goes on with.
    pub fn select(&self, texts: &[usize]) -> Result<Self> {
        let batch = selected(&self.batch, texts)?;
        let tensors = match &self.tensors {
            None => None,
            Some(all) => Some(rows_of_texts(all, &self.batch, texts)?),
        };
        Ok(Self { tensors, batch })
    }
}

/// The batch of these texts of another.
pub(crate) fn selected(batch: &Packed, texts: &[usize]) -> Result<Packed> {
    match texts.iter().find(|&&b| b >= batch.sequences()) {
        None => Ok(Packed::from_lengths(&texts.iter().map(|&b| batch.length(b)).collect::<Vec<_>>())),
        Some(b) => Err(Error::Input(format!("decoder: text {b} of {}", batch.sequences()))),
    }
}

/// The rows of these texts, end to end.
pub(crate) fn rows_of_texts(all: &[Tensor; 2], batch: &Packed, texts: &[usize]) -> Result<[Tensor; 2]> {
    selected(batch, texts)?;
    let rows: Vec<usize> = texts.iter().flat_map(|&b| batch.range(b)).collect();
    Ok([all[0].rows(&rows)?, all[1].rows(&rows)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f64]) -> [Tensor; 2] {
        let x = Tensor::new(values.to_vec(), &[values.len(), 1]).unwrap();
        [x.clone(), x.mul_scalar(10.0).unwrap()]
    }

    #[test]
    fn new_tokens_stand_behind_those_of_their_text() {
        let mut past = Past::new(2);
        let batch = |lengths: &[usize]| Packed::from_lengths(lengths);
        past.join(numbers(&[1.0, 2.0, 5.0]), &batch(&[2, 1])).unwrap();
        let [keys, values] = past.join(numbers(&[3.0, 6.0]), &batch(&[1, 1])).unwrap();
        assert_eq!(keys.to_f64_vec(), [1.0, 2.0, 3.0, 5.0, 6.0]);
        assert_eq!(values.to_f64_vec()[3], 50.0);
        assert_eq!(past.counts(&batch(&[1, 1])), [3, 2]);
        let [keys, _] = past.join(numbers(&[7.0]), &batch(&[0, 1])).unwrap();
        assert_eq!(keys.to_f64_vec(), [1.0, 2.0, 3.0, 5.0, 6.0, 7.0]);
        assert_eq!(past.batch().offsets(), [0, 3, 6]);
        assert!(past.join(numbers(&[7.0]), &batch(&[1])).is_err());
    }

    #[test]
    fn texts_may_be_dropped_and_doubled() {
        let mut past = Past::new(2);
        past.join(numbers(&[1.0, 2.0, 5.0]), &Packed::from_lengths(&[2, 1])).unwrap();
        let mut chosen = past.select(&[1, 1]).unwrap();
        let [keys, _] = chosen.join(numbers(&[8.0, 9.0]), &Packed::from_lengths(&[1, 1])).unwrap();
        assert_eq!(keys.to_f64_vec(), [5.0, 8.0, 5.0, 9.0]);
        assert!(past.select(&[2]).is_err() && Past::new(1).select(&[0]).is_ok());
    }
}

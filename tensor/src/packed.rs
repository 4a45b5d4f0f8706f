//! Packed batches: the tokens of all sequences laid end to end, without padding.

use std::sync::Arc;

use crate::{Error, Result};

/// Where each sequence of a batch begins and ends: sequence `b` owns tokens
/// `offsets[b]..offsets[b + 1]` of `[T, ..]`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Arc<Vec<usize>>);

impl Packed {
    /// A batch of sequences of these lengths (0 is allowed).
    pub fn from_lengths(lengths: &[usize]) -> Self {
        let mut offsets = Vec::with_capacity(lengths.len() + 1);
        let mut total = 0;
        offsets.push(0);
        for n in lengths {
            total += n;
            offsets.push(total);
        }
        Packed(Arc::new(offsets))
    }

    /// A batch from its offsets `[B + 1]`: 0 first, never decreasing.
    pub fn from_offsets(offsets: Vec<usize>) -> Result<Self> {
        if offsets.first() != Some(&0) || offsets.windows(2).any(|w| w[0] > w[1]) {
            return Error::value("packed", "offsets start at 0 and never decrease");
        }
        Ok(Packed(Arc::new(offsets)))
    }

    /// The offsets `[B + 1]`.
    pub fn offsets(&self) -> &[usize] {
        &self.0
    }

    /// The number of sequences `B`.
    pub fn sequences(&self) -> usize {
        self.0.len() - 1
    }

    /// The number of tokens `T` of all sequences.
    pub fn tokens(&self) -> usize {
        self.0[self.0.len() - 1]
    }

    /// The tokens of one sequence.
    pub fn range(&self, sequence: usize) -> std::ops::Range<usize> {
        self.0[sequence]..self.0[sequence + 1]
    }

    /// The number of tokens of one sequence.
    pub fn length(&self, sequence: usize) -> usize {
        self.range(sequence).len()
    }

    /// The length of the longest sequence, 0 for none.
    pub fn longest(&self) -> usize {
        (0..self.sequences()).map(|b| self.length(b)).max().unwrap_or(0)
    }

    /// The position of every token in its sequence: 0, 1, 2, .., 0, 1, ..
    pub fn positions(&self) -> Vec<usize> {
        (0..self.sequences()).flat_map(|b| 0..self.length(b)).collect()
    }

    /// The sequence of every token.
    pub fn sequence_of_tokens(&self) -> Vec<usize> {
        (0..self.sequences()).flat_map(|b| std::iter::repeat_n(b, self.length(b))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_offsets() {
        let batch = Packed::from_lengths(&[2, 0, 3]);
        assert_eq!(batch.offsets(), [0, 2, 2, 5]);
        assert_eq!((batch.sequences(), batch.tokens(), batch.longest()), (3, 5, 3));
        assert_eq!(batch.positions(), [0, 1, 0, 1, 2]);
        assert_eq!(batch.sequence_of_tokens(), [0, 0, 2, 2, 2]);
        assert_eq!(Packed::from_lengths(&[]).tokens(), 0);
        assert!(Packed::from_offsets(vec![0, 3, 2]).is_err());
    }
}

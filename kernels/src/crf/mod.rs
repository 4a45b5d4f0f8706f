//! Linear-chain CRF: the log-likelihood of label sequences, its gradient, marginals and Viterbi.
//!
//! Definition:  F(y) = start[y_1] + sum f_t[y_t] + sum g[y_(t-1), y_t] + end[y_n];  loss = log Z - F(y)
//! Shapes:      emissions f [T, C], transitions g [C, C] (from, to), labels [T] -> loss [B]
//! Numerics:    products of scaled probabilities in f64 where they provably keep all digits, logarithms
//!              relative to each token's largest elsewhere, so neither long sequences nor emissions of
//!              1e4 cost digits. -inf forbids a transition, a start or an end; an empty sequence has loss
//!              0, a forbidden label sequence +inf
//! Cost:        O(T C^2) multiplications and O(T C) exponentials, parallel over sequences, vectors over
//!              tags
//! Reference:   Lafferty et al., 2001.    Vectors: memm-crf.json

mod backward;
mod log_space;
mod scaled;
mod viterbi;

pub use backward::{backward, marginals};
pub use viterbi::viterbi;

use crate::Real;
use rayon::prelude::*;
use scaled::{Chain, Matrix};

/// Sequences that one thread takes at least: a short one takes a few microseconds.
const MIN_SEQUENCES: usize = 4;

/// The scores that do not depend on the text, and where the sequences are.
#[derive(Clone, Copy, Debug)]
pub struct Crf<'a, T> {
    /// Sequence `b` owns tokens `offsets[b]..offsets[b + 1]`.
    pub offsets: &'a [usize],
    /// Tags `C`.
    pub tags: usize,
    /// `[C, C]`, from the previous tag to the next.
    pub transitions: &'a [T],
    /// `[C]`, of the first tag.
    pub start: Option<&'a [T]>,
    /// `[C]`, of the last tag.
    pub end: Option<&'a [T]>,
}

impl<T: Real> Crf<'_, T> {
    fn check(&self, emissions: &[T]) {
        let tags = self.tags;
        assert!(tags > 0, "a CRF has at least one tag");
        assert_eq!(self.transitions.len(), tags * tags, "transitions are [C, C]");
        assert!(self.start.is_none_or(|s| s.len() == tags), "start is [C]");
        assert!(self.end.is_none_or(|e| e.len() == tags), "end is [C]");
        assert_eq!(emissions.len(), self.offsets.last().map_or(0, |t| t * tags), "emissions are [T, C]");
    }

    fn check_labels(&self, labels: &[usize]) {
        assert_eq!(labels.len(), self.offsets.last().copied().unwrap_or(0), "labels are [T]");
        assert!(labels.iter().all(|&y| y < self.tags), "a label is not below the number of tags");
    }

    /// The rows of every sequence.
    fn sequences<'b, U>(&self, rows: &'b [U], width: usize) -> Vec<&'b [U]> {
        self.offsets.windows(2).map(|o| &rows[o[0] * width..o[1] * width]).collect()
    }

    /// `F(y)` of one sequence.
    fn score(&self, emissions: &[T], labels: &[usize]) -> f64 {
        let (Some(&first), Some(&last)) = (labels.first(), labels.last()) else { return 0.0 };
        let emitted = labels.iter().zip(emissions.chunks_exact(self.tags)).map(|(&y, f)| f[y].to_f64());
        let moved = labels.windows(2).map(|y| self.transitions[y[0] * self.tags + y[1]].to_f64());
        let edge = |scores: Option<&[T]>, y: usize| scores.map_or(0.0, |s| s[y].to_f64());
        edge(self.start, first) + emitted.sum::<f64>() + moved.sum::<f64>() + edge(self.end, last)
    }
}

/// The loss of every sequence.
pub fn forward<T: Real>(crf: &Crf<T>, emissions: &[T], labels: &[usize], loss: &mut [T]) {
    crf.check(emissions);
    crf.check_labels(labels);
    assert_eq!(loss.len() + 1, crf.offsets.len().max(1), "loss is [B]");
    let matrix = Matrix::new(crf);
    let inputs = crf.sequences(emissions, crf.tags).into_iter().zip(crf.sequences(labels, 1));
    let sequences: Vec<_> = inputs.zip(loss).collect();
    sequences.into_par_iter().with_min_len(MIN_SEQUENCES).for_each(|((emissions, labels), loss)| {
        let log_z = Chain::new(crf, &matrix, emissions).map(|chain| chain.log_z);
        let log_z =
            log_z.unwrap_or_else(|| log_space::forward(crf, emissions, &mut vec![T::ZERO; emissions.len()]));
        // No label sequence is allowed at all: then this one is not.
        let of_none = log_z == f64::NEG_INFINITY;
        *loss = T::from_f64(if of_none { f64::INFINITY } else { log_z - crf.score(emissions, labels) });
    });
}

fn add_end<T: Real>(crf: &Crf<T>, last: &mut [T]) {
    if let Some(end) = crf.end {
        last.iter_mut().zip(end).for_each(|(a, &e)| *a += e);
    }
}

/// A maximum to subtract: 0 in place of -inf, so that e^(-inf - max) is 0.
#[inline(always)]
fn finite<T: Real>(max: T) -> T {
    if max == T::NEG_INFINITY { T::ZERO } else { max }
}

/// `x / sum`; 0 where nothing is possible.
#[inline(always)]
fn over<T: Real>(x: T, sum: T) -> T {
    if sum == T::ZERO { T::ZERO } else { x / sum }
}

#[cfg(test)]
mod tests;

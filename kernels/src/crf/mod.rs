//! Linear-chain CRF: the log-likelihood of label sequences, its gradient, marginals and Viterbi.
//!
//! Definition:  F(y) = start[y_1] + sum f_t[y_t] + sum g[y_(t-1), y_t] + end[y_n];  loss = log Z - F(y)
//! Shapes:      emissions f [T, C], transitions g [C, C] (from, to), labels [T] -> loss [B]
//! Numerics:    alpha is kept relative to its largest entry of each token, the rest of log Z in f64, so
//!              neither long sequences nor emissions of 1e4 cost digits. -inf forbids a transition, a
//!              start or an end; an empty sequence has loss 0, a forbidden label sequence +inf
//! Cost:        O(T C^2), parallel over sequences, vectors over the next tag
//! Reference:   Lafferty et al., 2001.    Vectors: memm-crf.json

mod backward;
mod viterbi;

pub use backward::{backward, marginals};
pub use viterbi::viterbi;

use crate::unfold::by_sequence;
use crate::{Real, cpu, real};
use rayon::prelude::*;

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

/// The loss of every sequence; overwrites `alpha` `[T, C]`, which the backward pass needs.
pub fn forward<T: Real>(crf: &Crf<T>, emissions: &[T], labels: &[usize], loss: &mut [T], alpha: &mut [T]) {
    crf.check(emissions);
    crf.check_labels(labels);
    assert_eq!(loss.len() + 1, crf.offsets.len().max(1), "loss is [B]");
    assert_eq!(alpha.len(), emissions.len(), "alpha is [T, C]");
    let inputs = crf.sequences(emissions, crf.tags).into_iter().zip(crf.sequences(labels, 1));
    let outputs = loss.iter_mut().zip(by_sequence(crf.offsets, crf.tags, alpha));
    let sequences: Vec<_> = inputs.zip(outputs).collect();
    sequences.into_par_iter().for_each(|((emissions, labels), (loss, alpha))| {
        let log_z = forward_sequence(crf, emissions, alpha);
        // No label sequence is allowed at all: then this one is not.
        let of_none = log_z == f64::NEG_INFINITY;
        *loss = T::from_f64(if of_none { f64::INFINITY } else { log_z - crf.score(emissions, labels) });
    });
}

/// Fills `alpha`, each row less its largest entry, and returns log Z.
fn forward_sequence<T: Real>(crf: &Crf<T>, emissions: &[T], alpha: &mut [T]) -> f64 {
    let tags = crf.tags;
    if emissions.is_empty() {
        return 0.0;
    }
    let mut step = Step::new(tags);
    let mut taken = 0.0;
    cpu::simd(
        #[inline(always)]
        || {
            for t in 0..emissions.len() / tags {
                let (before, row) = alpha.split_at_mut(t * tags);
                let row = &mut row[..tags];
                row.copy_from_slice(&emissions[t * tags..(t + 1) * tags]);
                if t > 0 {
                    step.sum(&before[(t - 1) * tags..], crf.transitions);
                    for ((a, &max), &sum) in row.iter_mut().zip(&step.max).zip(&step.sum) {
                        *a += max + sum.ln();
                    }
                } else if let Some(start) = crf.start {
                    row.iter_mut().zip(start).for_each(|(a, &s)| *a += s);
                }
                let max = finite(real::max(row));
                row.iter_mut().for_each(|a| *a -= max);
                taken += max.to_f64();
            }
        },
    );
    let mut last = alpha[alpha.len() - tags..].to_vec();
    add_end(crf, &mut last);
    let max = finite(real::max(&last));
    taken + max.to_f64() + last.iter().map(|a| (*a - max).to_f64().exp()).sum::<f64>().ln()
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

/// One step along the chain, for every next tag j: `max` of alpha[i] + g[i, j] over i, and `sum` of
/// e^(alpha[i] + g[i, j] - max).
struct Step<T> {
    max: Vec<T>,
    sum: Vec<T>,
}

impl<T: Real> Step<T> {
    fn new(tags: usize) -> Self {
        Self { max: vec![T::ZERO; tags], sum: vec![T::ZERO; tags] }
    }

    #[inline(always)]
    fn max(&mut self, alpha: &[T], transitions: &[T]) {
        self.max.fill(T::NEG_INFINITY);
        for (&a, row) in alpha.iter().zip(transitions.chunks_exact(self.max.len())) {
            for (max, &g) in self.max.iter_mut().zip(row) {
                let x = a + g;
                *max = if x > *max { x } else { *max };
            }
        }
        self.max.iter_mut().for_each(|m| *m = finite(*m));
    }

    #[inline(always)]
    fn sum(&mut self, alpha: &[T], transitions: &[T]) {
        self.max(alpha, transitions);
        self.sum.fill(T::ZERO);
        for (&a, row) in alpha.iter().zip(transitions.chunks_exact(self.max.len())) {
            for ((sum, &max), &g) in self.sum.iter_mut().zip(&self.max).zip(row) {
                *sum += (a + g - max).exp();
            }
        }
    }

    /// As `sum`, keeping the terms `[C, C]`.
    #[inline(always)]
    fn terms(&mut self, alpha: &[T], transitions: &[T], terms: &mut [T]) {
        let tags = self.max.len();
        self.max(alpha, transitions);
        self.sum.fill(T::ZERO);
        let rows = transitions.chunks_exact(tags).zip(terms.chunks_exact_mut(tags));
        for (&a, (row, terms)) in alpha.iter().zip(rows) {
            for (((sum, &max), &g), term) in self.sum.iter_mut().zip(&self.max).zip(row).zip(terms) {
                *term = (a + g - max).exp();
                *sum += *term;
            }
        }
    }
}

#[cfg(test)]
mod tests;

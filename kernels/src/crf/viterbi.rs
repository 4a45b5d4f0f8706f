//! The best label sequence of a CRF.

use super::{Crf, finite};
use crate::{Real, cpu, parallel, real};

/// Per sequence, the labels with the highest score, and that score.
///
/// Ties go to the lowest previous tag and the lowest final tag. If every label sequence is forbidden
/// the score is -inf.
pub fn viterbi<T: Real>(crf: &Crf<T>, emissions: &[T]) -> Vec<(Vec<usize>, T)> {
    crf.check(emissions);
    let sequences = crf.sequences(emissions, crf.tags);
    let cost = emissions.len() * crf.tags / sequences.len().max(1);
    parallel::map(sequences.len(), cost, |b| {
        let labels = best(crf, sequences[b]);
        let score = T::from_f64(crf.score(sequences[b], &labels));
        (labels, score)
    })
}

fn best<T: Real>(crf: &Crf<T>, emissions: &[T]) -> Vec<usize> {
    let tags = crf.tags;
    let length = emissions.len() / tags;
    if length == 0 {
        return Vec::new();
    }
    let (mut delta, mut next) = (emissions[..tags].to_vec(), vec![T::ZERO; tags]);
    if let Some(start) = crf.start {
        delta.iter_mut().zip(start).for_each(|(d, &s)| *d += s);
    }
    // As wide as a float, so that value and index are chosen by one mask.
    let mut previous = vec![0u32; (length - 1) * tags];
    cpu::simd(
        #[inline(always)]
        || {
            for (f, previous) in emissions[tags..].chunks_exact(tags).zip(previous.chunks_exact_mut(tags)) {
                next.fill(T::NEG_INFINITY);
                for (i, (&d, row)) in delta.iter().zip(crf.transitions.chunks_exact(tags)).enumerate() {
                    for ((best, from), &g) in next.iter_mut().zip(previous.iter_mut()).zip(row) {
                        let x = d + g;
                        let better = x > *best;
                        *best = if better { x } else { *best };
                        *from = if better { i as u32 } else { *from };
                    }
                }
                next.iter_mut().zip(f).for_each(|(x, &f)| *x += f);
                // Only differences count; a long sequence must not use up the digits.
                let max = finite(real::max(&next));
                delta.iter_mut().zip(&next).for_each(|(d, &x)| *d = x - max);
            }
        },
    );
    if let Some(end) = crf.end {
        delta.iter_mut().zip(end).for_each(|(d, &e)| *d += e);
    }
    let mut label = 0;
    for (i, &d) in delta.iter().enumerate() {
        if d > delta[label] {
            label = i;
        }
    }
    let mut labels = vec![label; length];
    for t in (1..length).rev() {
        label = previous[(t - 1) * tags + label] as usize;
        labels[t - 1] = label;
    }
    labels
}

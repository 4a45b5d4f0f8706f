//! Gradient and marginals of the CRF.

use super::scaled::{Chain, Matrix};
use super::{Crf, MIN_SEQUENCES, log_space};
use crate::Real;
use crate::unfold::by_sequence;
use rayon::prelude::*;

/// Partial sums of the gradient of the transitions: a number that does not depend on the threads.
const PARTS: usize = 16;

/// Gradients for `d_loss` `[B]`; overwrites `d_emissions` `[T, C]`, `d_transitions` `[C, C]` and, when
/// given, `d_start_end` = (`[C]`, `[C]`).
pub fn backward<T: Real>(
    crf: &Crf<T>,
    emissions: &[T],
    labels: &[usize],
    d_loss: &[T],
    d_emissions: &mut [T],
    d_transitions: &mut [T],
    d_start_end: Option<(&mut [T], &mut [T])>,
) {
    let tags = crf.tags;
    crf.check(emissions);
    crf.check_labels(labels);
    assert_eq!(d_loss.len() + 1, crf.offsets.len().max(1), "d_loss is [B]");
    assert_eq!(d_emissions.len(), emissions.len(), "d_emissions are [T, C]");
    assert_eq!(d_transitions.len(), tags * tags, "d_transitions are [C, C]");
    let inputs = crf.sequences(emissions, tags).into_iter().zip(crf.sequences(labels, 1));
    let outputs = by_sequence(crf.offsets, tags, d_emissions).into_iter().zip(d_loss);
    let mut sequences: Vec<_> = inputs.zip(outputs).collect();
    let matrix = Matrix::new(crf);
    let of_a_part = sequences.len().div_ceil(PARTS).max(1);
    let parts: Vec<Vec<T>> = sequences
        .par_chunks_mut(of_a_part)
        .map(|part| {
            let mut d_transitions = vec![T::ZERO; tags * tags];
            let mut pairs = matrix.pairs();
            for ((emissions, labels), (d_emissions, d_loss)) in part {
                match Chain::new(crf, &matrix, emissions) {
                    Some(chain) => chain.marginals(**d_loss, d_emissions, Some(&mut pairs)),
                    None => {
                        log_space::marginals(crf, emissions, **d_loss, d_emissions, Some(&mut d_transitions));
                    }
                }
                less_labels(labels, **d_loss, d_emissions, &mut d_transitions);
            }
            matrix.add_pairs(&pairs, &mut d_transitions);
            d_transitions
        })
        .collect();
    d_transitions.fill(T::ZERO);
    for part in parts {
        d_transitions.iter_mut().zip(part).for_each(|(d, x)| *d += x);
    }
    if let Some((d_start, d_end)) = d_start_end {
        assert_eq!((d_start.len(), d_end.len()), (tags, tags), "d_start_end are [C], [C]");
        d_start.fill(T::ZERO);
        d_end.fill(T::ZERO);
        for d in crf.sequences(d_emissions, tags).into_iter().filter(|d| !d.is_empty()) {
            // The first and the last tag enter the score once more, through start and end.
            d_start.iter_mut().zip(&d[..tags]).for_each(|(s, &x)| *s += x);
            d_end.iter_mut().zip(&d[d.len() - tags..]).for_each(|(e, &x)| *e += x);
        }
    }
}

/// The probability of every tag at every token, `[T, C]`.
pub fn marginals<T: Real>(crf: &Crf<T>, emissions: &[T], out: &mut [T]) {
    crf.check(emissions);
    assert_eq!(out.len(), emissions.len(), "out is [T, C]");
    let outputs = by_sequence(crf.offsets, crf.tags, out);
    let sequences: Vec<_> = crf.sequences(emissions, crf.tags).into_iter().zip(outputs).collect();
    let matrix = Matrix::new(crf);
    sequences.into_par_iter().with_min_len(MIN_SEQUENCES).for_each(|(emissions, out)| {
        match Chain::new(crf, &matrix, emissions) {
            Some(chain) => chain.marginals(T::ONE, out, None),
            None => log_space::marginals(crf, emissions, T::ONE, out, None),
        }
    });
}

/// Subtracts what the true labels contribute.
fn less_labels<T: Real>(labels: &[usize], d_loss: T, d_emissions: &mut [T], d_transitions: &mut [T]) {
    let Some(tags) = d_emissions.len().checked_div(labels.len()) else { return };
    for (d, &y) in d_emissions.chunks_exact_mut(tags).zip(labels) {
        d[y] -= d_loss;
    }
    for y in labels.windows(2) {
        d_transitions[y[0] * tags + y[1]] -= d_loss;
    }
}

//! Gradient and marginals of the CRF.
//!
//! Backwards, P(y_t = i) = sum over j of P(y_(t+1) = j) P(y_t = i | y_(t+1) = j, text up to t), and the
//! conditional is a softmax over i of alpha_t[i] + g[i, j]: no beta recursion, nothing that grows.

use super::{Crf, Step, add_end, finite, forward_sequence};
use crate::unfold::by_sequence;
use crate::{Real, cpu, real};
use rayon::prelude::*;

/// Partial sums of the gradient of the transitions: a number that does not depend on the threads.
const PARTS: usize = 16;

/// Gradients for `d_loss` `[B]`; overwrites `d_emissions` `[T, C]`, `d_transitions` `[C, C]` and, when
/// given, `d_start_end` = (`[C]`, `[C]`).
pub fn backward<T: Real>(
    crf: &Crf<T>,
    emissions: &[T],
    labels: &[usize],
    alpha: &[T],
    d_loss: &[T],
    d_emissions: &mut [T],
    d_transitions: &mut [T],
    d_start_end: Option<(&mut [T], &mut [T])>,
) {
    let tags = crf.tags;
    crf.check(emissions);
    crf.check_labels(labels);
    assert_eq!(alpha.len(), emissions.len(), "alpha is [T, C]");
    assert_eq!(d_loss.len() + 1, crf.offsets.len().max(1), "d_loss is [B]");
    assert_eq!(d_emissions.len(), emissions.len(), "d_emissions are [T, C]");
    assert_eq!(d_transitions.len(), tags * tags, "d_transitions are [C, C]");
    let inputs = crf.sequences(alpha, tags).into_iter().zip(crf.sequences(labels, 1));
    let outputs = by_sequence(crf.offsets, tags, d_emissions).into_iter().zip(d_loss);
    let mut sequences: Vec<_> = inputs.zip(outputs).collect();
    let of_a_part = sequences.len().div_ceil(PARTS).max(1);
    let parts: Vec<Vec<T>> = sequences
        .par_chunks_mut(of_a_part)
        .map(|part| {
            let mut d_transitions = vec![T::ZERO; tags * tags];
            let mut scratch = Scratch::new(tags);
            for ((alpha, labels), (d_emissions, d_loss)) in part {
                let pairs = Some((&mut d_transitions[..], **d_loss));
                backward_sequence(crf, alpha, d_emissions, pairs, &mut scratch);
                less_labels(labels, **d_loss, d_emissions, &mut d_transitions);
            }
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
    sequences.into_par_iter().for_each(|(emissions, out)| {
        let mut alpha = vec![T::ZERO; emissions.len()];
        forward_sequence(crf, emissions, &mut alpha);
        backward_sequence(crf, &alpha, out, None, &mut Scratch::new(crf.tags));
    });
}

struct Scratch<T> {
    step: Step<T>,
    /// `[C, C]`
    terms: Vec<T>,
    /// `[C]`
    ratio: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(tags: usize) -> Self {
        Self { step: Step::new(tags), terms: vec![T::ZERO; tags * tags], ratio: vec![T::ZERO; tags] }
    }
}

/// The marginals `[L, C]` of one sequence. With `pairs` = (sum `[C, C]`, weight), the weighted marginals
/// of neighbouring tags are added to the sum, and the output is weighted, too.
fn backward_sequence<T: Real>(
    crf: &Crf<T>,
    alpha: &[T],
    out: &mut [T],
    mut pairs: Option<(&mut [T], T)>,
    scratch: &mut Scratch<T>,
) {
    let tags = crf.tags;
    if alpha.is_empty() {
        return;
    }
    let last = alpha.len() - tags;
    let weight = pairs.as_ref().map_or(T::ONE, |p| p.1);
    let Scratch { step, terms, ratio } = scratch;
    cpu::simd(
        #[inline(always)]
        || {
            let row = &mut out[last..];
            row.copy_from_slice(&alpha[last..]);
            add_end(crf, row);
            let max = finite(real::max(row));
            row.iter_mut().for_each(|p| *p = (*p - max).exp());
            let sum = real::sum(row);
            row.iter_mut().for_each(|p| *p = weight * over(*p, sum));
            for t in (0..last / tags).rev() {
                let (before, after) = out.split_at_mut((t + 1) * tags);
                step.terms(&alpha[t * tags..(t + 1) * tags], crf.transitions, terms);
                for ((r, &p), &sum) in ratio.iter_mut().zip(&after[..tags]).zip(&step.sum) {
                    *r = over(p, sum);
                }
                for (p, terms) in before[t * tags..].iter_mut().zip(terms.chunks_exact_mut(tags)) {
                    terms.iter_mut().zip(&*ratio).for_each(|(x, &r)| *x *= r);
                    *p = real::sum(terms);
                }
                if let Some((pairs, _)) = &mut pairs {
                    pairs.iter_mut().zip(&*terms).for_each(|(sum, &x)| *sum += x);
                }
            }
        },
    );
}

/// `x / sum`; 0 where nothing is possible.
#[inline(always)]
fn over<T: Real>(x: T, sum: T) -> T {
    if sum == T::ZERO { T::ZERO } else { x / sum }
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

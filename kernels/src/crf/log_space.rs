//! The recursions of the CRF on logarithms: for any scores, `C` exponentials for every tag of a token.
//!
//! Numerics:    alpha is kept relative to its largest entry of each token, the rest of log Z in f64

use super::{Crf, add_end, finite, over};
use crate::{Real, cpu, real};

/// Fills `alpha`, each row less its largest entry, and returns log Z.
pub(super) fn forward<T: Real>(crf: &Crf<T>, emissions: &[T], alpha: &mut [T]) -> f64 {
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

/// The marginals `[L, C]` of one sequence times `weight`; those of neighbouring tags are added to `pairs`
/// `[C, C]`.
///
/// Backwards, P(y_t = i) = sum over j of P(y_(t+1) = j) P(y_t = i | y_(t+1) = j, text up to t), and the
/// conditional is a softmax over i of alpha_t[i] + g[i, j]: no beta recursion, nothing that grows.
pub(super) fn marginals<T: Real>(
    crf: &Crf<T>,
    emissions: &[T],
    weight: T,
    out: &mut [T],
    mut pairs: Option<&mut [T]>,
) {
    let tags = crf.tags;
    if emissions.is_empty() {
        return;
    }
    let mut alpha = vec![T::ZERO; emissions.len()];
    forward(crf, emissions, &mut alpha);
    let last = alpha.len() - tags;
    let mut step = Step::new(tags);
    let (mut terms, mut ratio) = (vec![T::ZERO; tags * tags], vec![T::ZERO; tags]);
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
                step.terms(&alpha[t * tags..(t + 1) * tags], crf.transitions, &mut terms);
                for ((r, &p), &sum) in ratio.iter_mut().zip(&after[..tags]).zip(&step.sum) {
                    *r = over(p, sum);
                }
                for (p, terms) in before[t * tags..].iter_mut().zip(terms.chunks_exact_mut(tags)) {
                    terms.iter_mut().zip(&*ratio).for_each(|(x, &r)| *x *= r);
                    *p = real::sum(terms);
                }
                if let Some(pairs) = &mut pairs {
                    pairs.iter_mut().zip(&*terms).for_each(|(sum, &x)| *sum += x);
                }
            }
        },
    );
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

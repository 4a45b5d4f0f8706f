//! ZLPR over all spans of a sequence: the multi-label softmax loss of the span scores.
//!
//! Definition:  per (sequence, type)  log(1 + sum over negatives e^s) + log(1 + sum over positives e^-s);
//!              negatives are the candidates that are not positives
//! Gradient:    negative  e^(s - N),  positive  -e^(-s - P),  with N and P the two logarithms
//! Shapes:      positives [B] lists -> loss [B, S], normalisers [B, S, 2] = (N, P)
//! Numerics:    running maximum that starts at the implicit 0 score, sums over rows in f64, exact at
//!              scores of 1e4; no candidate -> 0. The backward pass computes the scores again
//! Reference:   Su et al., ZLPR, arXiv 2208.02955, 2022.    Vectors: zlpr-multilabel.json,
//!              globalpointer.json

use super::log_sum_exp::LogSumExp;
use super::{Bias, Group, Span, SpanScore};
use crate::gemm::{View, matmul};
use crate::unfold::by_sequence;
use crate::{Real, cpu, parallel, real};
use rayon::prelude::*;

/// The loss and its two logarithms.
///
/// `positives[b]` must be sorted, without duplicates, and candidates all.
pub fn zlpr_forward<T: Real>(
    scores: &SpanScore,
    qk: &[T],
    bias: Option<Bias<T>>,
    positives: &[Vec<Span>],
    loss: &mut [T],
    normalisers: &mut [T],
) {
    scores.check(qk, &bias);
    check_positives(scores, positives);
    let rows = scores.sequences() * scores.types;
    assert_eq!(loss.len(), rows, "loss is [B, S]");
    assert_eq!(normalisers.len(), 2 * rows, "normalisers are [B, S, 2]");
    let groups = scores.groups;
    let sums = parallel::map(scores.sequences() * groups, scores.cost(), |i| {
        let (b, number) = (i / groups, i % groups);
        forward_group(&Group::new(scores, qk, bias, b, number), &positives[b])
    });
    // (sequence, group) in order is (sequence, type) in order.
    let outputs = loss.iter_mut().zip(normalisers.chunks_exact_mut(2));
    for ((loss, normalisers), (negative, positive)) in outputs.zip(sums.into_iter().flatten()) {
        let (negative, positive) = (negative.value(), positive.value());
        normalisers.copy_from_slice(&[T::from_f64(negative), T::from_f64(positive)]);
        *loss = T::from_f64(negative + positive);
    }
}

/// Gradients for `d_loss` `[B, S]`; overwrites `d_qk` `[T, G, 2, K]` and, when given, `d_bias` = gradients
/// of (start, end), each `[T, S]`.
pub fn zlpr_backward<T: Real>(
    scores: &SpanScore,
    qk: &[T],
    bias: Option<Bias<T>>,
    positives: &[Vec<Span>],
    normalisers: &[T],
    d_loss: &[T],
    d_qk: &mut [T],
    d_bias: Option<(&mut [T], &mut [T])>,
) {
    scores.check(qk, &bias);
    check_positives(scores, positives);
    let (types, groups, width) = (scores.types, scores.groups, scores.token_width());
    let rows = scores.sequences() * types;
    assert_eq!(d_loss.len(), rows, "d_loss is [B, S]");
    assert_eq!(normalisers.len(), 2 * rows, "normalisers are [B, S, 2]");
    assert_eq!(d_qk.len(), qk.len(), "d_qk is [T, G, 2, K]");
    let (d_start, d_end) = match d_bias {
        Some((d_start, d_end)) => {
            assert_eq!(d_start.len() * width, d_qk.len() * types, "d_start is [T, S]");
            assert_eq!(d_end.len(), d_start.len(), "d_end is [T, S]");
            (by_sequence(scores.offsets, types, d_start), by_sequence(scores.offsets, types, d_end))
        }
        None => (Vec::new(), Vec::new()),
    };
    let mut d_start = d_start.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    let mut d_end = d_end.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    let outputs: Vec<_> = by_sequence(scores.offsets, width, d_qk)
        .into_iter()
        .map(|d_qk| (d_qk, d_start.next().flatten(), d_end.next().flatten()))
        .collect();
    outputs.into_par_iter().with_max_len(1).enumerate().for_each(|(b, (d_qk, mut d_start, mut d_end))| {
        let of_groups = parallel::map(groups, 2 * scores.cost(), |number| {
            let group = Group::new(scores, qk, bias, b, number);
            let kinds = b * types + group.kinds.start..b * types + group.kinds.end;
            let normalisers = &normalisers[2 * kinds.start..2 * kinds.end];
            backward_group(&group, &positives[b], normalisers, &d_loss[kinds])
        });
        for (number, gradient) in of_groups.iter().enumerate() {
            gradient.write(scores, number, d_qk, d_start.as_deref_mut(), d_end.as_deref_mut());
        }
    });
}

fn check_positives(scores: &SpanScore, positives: &[Vec<Span>]) {
    assert_eq!(positives.len(), scores.sequences(), "positives are one list per sequence");
    for (b, positives) in positives.iter().enumerate() {
        assert!(
            positives.is_sorted_by(|x, y| x < y),
            "positives of sequence {b} are not sorted and distinct"
        );
        let length = scores.length(b);
        for &span in positives {
            assert!(
                scores.contains(span, length),
                "{span:?} of sequence {b} ({length} tokens) is no candidate"
            );
        }
    }
}

/// Walks the positives of one type in step with the start rows.
struct Walk<'a> {
    left: &'a [Span],
}

impl<'a> Walk<'a> {
    fn all<T>(group: &Group<T>, positives: &'a [Span]) -> Vec<Self> {
        let from = |kind| positives.partition_point(|p| p.kind < kind);
        group.kinds.clone().map(|kind| Self { left: &positives[from(kind)..from(kind + 1)] }).collect()
    }

    /// The positives that start at `row`; rows must come in order.
    #[inline(always)]
    fn at(&mut self, row: usize) -> &'a [Span] {
        let count = self.left.iter().take_while(|p| p.start == row).count();
        let (here, left) = self.left.split_at(count);
        self.left = left;
        here
    }
}

/// Per type of the group, the sums over negatives and over positives.
fn forward_group<T: Real>(group: &Group<T>, positives: &[Span]) -> Vec<(LogSumExp, LogSumExp)> {
    let mut sums = vec![(LogSumExp::default(), LogSumExp::default()); group.kinds.len()];
    let mut walks = Walk::all(group, positives);
    let mut buffer = vec![T::ZERO; group.length];
    group.blocks(|rows, columns, products| {
        cpu::simd(
            #[inline(always)]
            || {
                for (k, (walk, (negative, positive))) in walks.iter_mut().zip(&mut sums).enumerate() {
                    for (row, products) in rows.clone().zip(products.chunks_exact(columns.len())) {
                        let ends = group.scores.ends(row, group.length);
                        let products = &products[ends.start - columns.start..ends.end - columns.start];
                        let scores = &mut buffer[..ends.len()];
                        group.row(k, row, ends.clone(), products, scores);
                        for p in walk.at(row) {
                            let score = &mut scores[p.end - ends.start];
                            positive.push(-score.to_f64());
                            *score = T::NEG_INFINITY;
                        }
                        negative.push_row(scores);
                    }
                }
            },
        );
    });
    sums
}

/// Gradients of one (sequence, group), before the scale of the inner products.
struct Gradient<T> {
    /// `[L, K]`
    query: Vec<T>,
    /// `[L, K]`
    key: Vec<T>,
    /// `[types, L]`
    start: Vec<T>,
    /// `[types, L]`, without the factor 1/2
    end: Vec<T>,
}

fn backward_group<T: Real>(
    group: &Group<T>,
    positives: &[Span],
    normalisers: &[T],
    d_loss: &[T],
) -> Gradient<T> {
    let (length, key_size, types) = (group.length, group.scores.key_size, group.kinds.len());
    let mut gradient = Gradient {
        query: vec![T::ZERO; length * key_size],
        key: vec![T::ZERO; length * key_size],
        start: vec![T::ZERO; types * length],
        end: vec![T::ZERO; types * length],
    };
    let mut walks = Walk::all(group, positives);
    let (mut buffer, mut of_row) = (vec![T::ZERO; length], vec![T::ZERO; length]);
    let mut d_products = Vec::new();
    group.blocks(|rows, columns, products| {
        d_products.clear();
        d_products.resize(products.len(), T::ZERO);
        cpu::simd(
            #[inline(always)]
            || {
                for (k, walk) in walks.iter_mut().enumerate() {
                    let (negative, positive) = (normalisers[2 * k], normalisers[2 * k + 1]);
                    let d_loss = d_loss[k];
                    let blocks = products.chunks_exact(columns.len());
                    let d_blocks = d_products.chunks_exact_mut(columns.len());
                    for (row, (products, d_products)) in rows.clone().zip(blocks.zip(d_blocks)) {
                        let ends = group.scores.ends(row, length);
                        let inside = ends.start - columns.start..ends.end - columns.start;
                        let scores = &mut buffer[..ends.len()];
                        group.row(k, row, ends.clone(), &products[inside.clone()], scores);
                        let d_scores = &mut of_row[..ends.len()];
                        for (d, &s) in d_scores.iter_mut().zip(&*scores) {
                            *d = d_loss * (s - negative).exp();
                        }
                        for p in walk.at(row) {
                            let at = p.end - ends.start;
                            d_scores[at] = -(d_loss * (-scores[at] - positive).exp());
                        }
                        gradient.start[k * length + row] = real::sum(d_scores);
                        let d_end = &mut gradient.end[k * length..][ends];
                        for ((dp, de), &d) in d_products[inside].iter_mut().zip(d_end).zip(&*d_scores) {
                            *dp += d;
                            *de += d;
                        }
                    }
                }
            },
        );
        let (m, n) = (rows.len(), columns.len());
        let d_query = &mut gradient.query[rows.start * key_size..rows.end * key_size];
        let by_row = View::row_major(&d_products, n);
        matmul(m, key_size, n, by_row, group.key(&columns), d_query, false);
        let d_key = &mut gradient.key[columns.start * key_size..columns.end * key_size];
        let by_column = View::transposed(&d_products, n);
        matmul(n, key_size, m, by_column, group.query(&rows), d_key, true);
    });
    gradient
}

impl<T: Real> Gradient<T> {
    /// Copies into the parts of one sequence: `d_qk` `[L, G, 2, K]`, `d_start` and `d_end` `[L, S]`.
    fn write(
        &self,
        scores: &SpanScore,
        group: usize,
        d_qk: &mut [T],
        d_start: Option<&mut [T]>,
        d_end: Option<&mut [T]>,
    ) {
        let (key_size, scale, half) = (scores.key_size, T::from_f64(scores.scale), T::from_f64(0.5));
        for (t, d_token) in d_qk.chunks_exact_mut(scores.token_width().max(1)).enumerate() {
            let d_token = &mut d_token[group * 2 * key_size..(group + 1) * 2 * key_size];
            let of_token = t * key_size..(t + 1) * key_size;
            let of_token = self.query[of_token.clone()].iter().chain(&self.key[of_token]);
            for (d, &x) in d_token.iter_mut().zip(of_token) {
                *d = scale * x;
            }
        }
        let types = scores.types_of_a_group();
        for (d_bias, values) in [(d_start, &self.start), (d_end, &self.end)] {
            let Some(d_bias) = d_bias else { continue };
            let length = d_bias.len() / scores.types;
            for (t, d_token) in d_bias.chunks_exact_mut(scores.types).enumerate() {
                for k in 0..types {
                    d_token[group * types + k] = half * values[k * length + t];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

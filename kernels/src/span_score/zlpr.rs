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
use super::log_sum_exp::Row;
use super::product::LANE;
use super::segment::COLUMNS;
use super::{Inputs, Segment, Span, SpanScore, Tile, of_sequence};
use crate::rotary::{Layout, rotate};
use crate::unfold::by_sequence;
use crate::{Real, cpu, parallel, real};
use rayon::prelude::*;
use std::ops::Range;

/// The loss and its two logarithms.
///
/// `positives[b]` must be sorted, without duplicates, and candidates all.
pub fn zlpr_forward<T: Real>(
    scores: &SpanScore,
    inputs: Inputs<T>,
    positives: &[Vec<Span>],
    loss: &mut [T],
    normalisers: &mut [T],
) {
    scores.check(&inputs);
    check_positives(scores, positives);
    let rows = scores.sequences() * scores.types;
    assert_eq!(loss.len(), rows, "loss is [B, S]");
    assert_eq!(normalisers.len(), 2 * rows, "normalisers are [B, S, 2]");
    let work: Vec<_> = (0..scores.sequences()).flat_map(|b| of_sequence(scores, b)).collect();
    let parts = parallel::map(work.len(), scores.cost(), |i| {
        let (b, group, rows) = work[i].clone();
        forward_segment(&Segment::new(scores, inputs, (b, group), rows), &positives[b])
    });
    let mut sums = vec![(LogSumExp::default(), LogSumExp::default()); rows];
    for ((b, group, _), part) in work.iter().zip(parts) {
        let first = b * scores.types + group * scores.types_of_a_group();
        for ((negative, positive), part) in sums[first..].iter_mut().zip(part) {
            negative.merge(part.0);
            positive.merge(part.1);
        }
    }
    let outputs = loss.iter_mut().zip(normalisers.chunks_exact_mut(2));
    for ((loss, normalisers), (negative, positive)) in outputs.zip(sums) {
        let (negative, positive) = (negative.value(), positive.value());
        normalisers.copy_from_slice(&[T::from_f64(negative), T::from_f64(positive)]);
        *loss = T::from_f64(negative + positive);
    }
}

/// Gradients for `d_loss` `[B, S]`; overwrites `d_qk` `[T, G, 2, K]` and, when given, `d_bias` = gradients
/// of (start, end), each `[T, S]`.
pub fn zlpr_backward<T: Real>(
    scores: &SpanScore,
    inputs: Inputs<T>,
    positives: &[Vec<Span>],
    normalisers: &[T],
    d_loss: &[T],
    d_qk: &mut [T],
    d_bias: Option<(&mut [T], &mut [T])>,
) {
    scores.check(&inputs);
    check_positives(scores, positives);
    let (types, width) = (scores.types, scores.token_width());
    let rows = scores.sequences() * types;
    assert_eq!(d_loss.len(), rows, "d_loss is [B, S]");
    assert_eq!(normalisers.len(), 2 * rows, "normalisers are [B, S, 2]");
    assert_eq!(d_qk.len(), inputs.qk.len(), "d_qk is [T, G, 2, K]");
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
        let work = of_sequence(scores, b);
        let parts = parallel::map(work.len(), 2 * scores.cost(), |i| {
            let (_, group, rows) = work[i].clone();
            let segment = Segment::new(scores, inputs, (b, group), rows);
            let kinds = b * types + segment.kinds.start..b * types + segment.kinds.end;
            let normalisers = &normalisers[2 * kinds.start..2 * kinds.end];
            backward_segment(&segment, &positives[b], normalisers, &d_loss[kinds], inputs.bias.is_some())
        });
        d_qk.fill(T::ZERO);
        for d in [&mut d_start, &mut d_end].into_iter().flatten() {
            d.fill(T::ZERO);
        }
        for ((_, group, _), part) in work.iter().zip(&parts) {
            part.add(scores, *group, d_qk, d_start.as_deref_mut(), d_end.as_deref_mut());
        }
        if let Some(table) = inputs.rotation {
            let (heads, size) = (2 * scores.groups, scores.key_size);
            let positions: Vec<usize> = (0..scores.length(b)).collect();
            rotate(d_qk, heads, size, size, table, &positions, Layout::Interleaved, true);
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

/// The positives of type `kind` that `tile` scores.
#[inline(always)]
fn of_tile<'a, T>(
    positives: &'a [Span],
    kind: usize,
    tile: &Tile<T>,
) -> impl Iterator<Item = &'a Span> + use<'a, T> {
    let from = |start| positives.partition_point(|p| (p.kind, p.start) < (kind, start));
    let (start, end, column) = (from(tile.rows.start), from(tile.rows.end), tile.column);
    positives[start..end].iter().filter(move |p| (column..column + COLUMNS).contains(&p.end))
}

/// Per type of the group, the sums over negatives and over positives of one segment.
fn forward_segment<T: Real>(segment: &Segment<T>, positives: &[Span]) -> Vec<(LogSumExp, LogSumExp)> {
    let mut sums = vec![(LogSumExp::default(), LogSumExp::default()); segment.kinds.len()];
    let mut kept = Vec::new();
    segment.tiles(|tile| {
        for (k, (negative, positive)) in sums.iter_mut().enumerate() {
            // Positives leave the tile for as long as the negatives are summed.
            kept.clear();
            for p in of_tile(positives, segment.kinds.start + k, tile) {
                let (at, end) = (tile.place(p.start, p.end), p.end - tile.column);
                let product = std::mem::replace(&mut tile.products[at], T::NEG_INFINITY);
                let score = product + (segment.half_start(k, p.start) + segment.half_end(k, tile)[end]);
                positive.push(-score.to_f64());
                kept.push((at, product));
            }
            let ends = segment.half_end(k, tile);
            let tile_ = &*tile;
            cpu::simd(
                #[inline(always)]
                || {
                    negative.push_rows(tile_.rows.clone().map(
                        #[inline(always)]
                        |row| {
                            let lanes = tile_.lanes(row);
                            let start = segment.half_start(k, row);
                            let ends = &ends[lanes.start % COLUMNS..][..lanes.len()];
                            Row { scores: &tile_.products[lanes], start, ends }
                        },
                    ));
                },
            );
            kept.iter().for_each(|&(at, product)| tile.products[at] = product);
        }
    });
    sums
}

/// Gradients of a run of rows of one (sequence, group).
struct Part<T> {
    rows: Range<usize>,
    columns: Range<usize>,
    /// `[rows, width]`, before the scale of the inner products
    query: Vec<T>,
    /// `[columns, width]`
    key: Vec<T>,
    /// `[types, rows]`, without the factor 1/2; empty without a bias
    start: Vec<T>,
    /// `[types, padded columns]`, likewise
    end: Vec<T>,
}

fn backward_segment<T: Real>(
    segment: &Segment<T>,
    positives: &[Span],
    normalisers: &[T],
    d_loss: &[T],
    biased: bool,
) -> Part<T> {
    let (rows, padded, width) = (segment.rows.clone(), segment.padded_columns(), segment.width);
    let types = if biased { segment.kinds.len() } else { 0 };
    let mut part = Part {
        query: vec![T::ZERO; rows.len() * width],
        key: vec![T::ZERO; padded * width],
        start: vec![T::ZERO; types * rows.len()],
        end: vec![T::ZERO; types * padded],
        columns: segment.columns.clone(),
        rows,
    };
    let mut d = Vec::new();
    segment.tiles(|tile| {
        d.resize(tile.products.len(), T::ZERO);
        for (k, &d_loss) in d_loss.iter().enumerate() {
            let (negative, positive) = (normalisers[2 * k], normalisers[2 * k + 1]);
            let kind = segment.kinds.start + k;
            let kept: Vec<_> = of_tile(positives, kind, tile)
                .map(|p| {
                    let at = tile.place(p.start, p.end);
                    (p, at, std::mem::replace(&mut tile.products[at], T::NEG_INFINITY))
                })
                .collect();
            let ends = segment.half_end(k, tile);
            let at = k * padded + tile.column - segment.columns.start;
            let mut d_end = if biased { Some(&mut part.end[at..][..COLUMNS]) } else { None };
            let first_row = segment.rows.start;
            let at = |row: usize| k * segment.rows.len() + row - first_row;
            let tile_ = &*tile;
            cpu::simd(
                #[inline(always)]
                || {
                    for row in tile_.rows.clone() {
                        let lanes = tile_.lanes(row);
                        let inside = lanes.start % COLUMNS..lanes.start % COLUMNS + lanes.len();
                        let (products, d) = (&tile_.products[lanes.clone()], &mut d[lanes]);
                        let (start, ends) = (segment.half_start(k, row), &ends[inside.clone()]);
                        let rows = products.chunks_exact(LANE).zip(ends.chunks_exact(LANE));
                        let rows = rows.zip(d.chunks_exact_mut(LANE));
                        let Some(d_end) = &mut d_end else {
                            for ((c, e), d) in rows {
                                for i in 0..LANE {
                                    let old = if k == 0 { T::ZERO } else { d[i] };
                                    d[i] = old + d_loss * (c[i] + (start + e[i]) - negative).exp();
                                }
                            }
                            continue;
                        };
                        let mut sums = [T::ZERO; LANE];
                        for (((c, e), d), d_end) in rows.zip(d_end[inside].chunks_exact_mut(LANE)) {
                            for i in 0..LANE {
                                let x = d_loss * (c[i] + (start + e[i]) - negative).exp();
                                d[i] = if k == 0 { x } else { d[i] + x };
                                sums[i] += x;
                                d_end[i] += x;
                            }
                        }
                        part.start[at(row)] += real::sum(&sums);
                    }
                },
            );
            for (p, place, product) in kept {
                tile.products[place] = product;
                let end = p.end - tile.column;
                let score = product + (segment.half_start(k, p.start) + ends[end]);
                let x = -(d_loss * (-score - positive).exp());
                d[place] += x;
                if let Some(d_end) = &mut d_end {
                    d_end[end] += x;
                    part.start[at(p.start)] += x;
                }
            }
        }
        segment.products_backward(tile, &mut d, &mut part.query, &mut part.key);
    });
    part
}

impl<T: Real> Part<T> {
    /// Adds to the gradients of one sequence: `d_qk` `[L, G, 2, K]`, `d_start` and `d_end` `[L, S]`.
    fn add(
        &self,
        scores: &SpanScore,
        group: usize,
        d_qk: &mut [T],
        d_start: Option<&mut [T]>,
        d_end: Option<&mut [T]>,
    ) {
        let (size, token_width) = (scores.key_size, scores.token_width());
        let (scale, half) = (T::from_f64(scores.scale), T::from_f64(0.5));
        let width = size.next_multiple_of(LANE).max(1);
        cpu::simd(
            #[inline(always)]
            || {
                for (t, d) in self.rows.clone().zip(self.query.chunks_exact(width)) {
                    let to = &mut d_qk[t * token_width + group * 2 * size..][..size];
                    to.iter_mut().zip(d).for_each(|(to, &d)| *to = scale * d);
                }
                for (t, d) in self.columns.clone().zip(self.key.chunks_exact(width)) {
                    let to = &mut d_qk[t * token_width + (group * 2 + 1) * size..][..size];
                    to.iter_mut().zip(d).for_each(|(to, &d)| *to += d);
                }
            },
        );
        let types = scores.types_of_a_group();
        for (d_bias, values, tokens) in
            [(d_start, &self.start, &self.rows), (d_end, &self.end, &self.columns)]
        {
            let Some(d_bias) = d_bias else { continue };
            for k in 0..types {
                let values = &values[k * (values.len() / types)..];
                for (t, &x) in tokens.clone().zip(values) {
                    d_bias[t * scores.types + group * types + k] += half * x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

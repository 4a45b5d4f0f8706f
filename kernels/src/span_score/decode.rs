//! Spans above a threshold, and all scores of one short sequence as an array.

use super::{Bias, Group, Span, SpanScore};
use crate::{Real, cpu, parallel, real};

/// A span that decoding found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredSpan<T> {
    /// Where and of which type.
    pub span: Span,
    /// Its score.
    pub score: T,
}

/// Per sequence, all spans with `score > threshold` in the order of their type, start and end.
///
/// A score that is NaN is not above anything.
pub fn decode<T: Real>(
    scores: &SpanScore,
    qk: &[T],
    bias: Option<Bias<T>>,
    threshold: T,
) -> Vec<Vec<ScoredSpan<T>>> {
    scores.check(qk, &bias);
    let groups = scores.groups;
    let found = parallel::map(scores.sequences() * groups, scores.cost(), |i| {
        decode_group(&Group::new(scores, qk, bias, i / groups, i % groups), threshold)
    });
    found.chunks(groups).map(|of_groups| of_groups.concat()).collect()
}

fn decode_group<T: Real>(group: &Group<T>, threshold: T) -> Vec<ScoredSpan<T>> {
    let mut found = vec![Vec::new(); group.kinds.len()];
    let mut buffer = vec![T::ZERO; group.length];
    group.blocks(|rows, columns, products| {
        cpu::simd(
            #[inline(always)]
            || {
                for (k, found) in found.iter_mut().enumerate() {
                    for (row, products) in rows.clone().zip(products.chunks_exact(columns.len())) {
                        let ends = group.scores.ends(row, group.length);
                        let products = &products[ends.start - columns.start..ends.end - columns.start];
                        let scores = &mut buffer[..ends.len()];
                        group.row(k, row, ends.clone(), products, scores);
                        if real::max(scores) > threshold {
                            for (end, &score) in ends.zip(&*scores).filter(|(_, s)| **s > threshold) {
                                let span = Span { kind: group.kinds.start + k, start: row, end };
                                found.push(ScoredSpan { span, score });
                            }
                        }
                    }
                }
            },
        );
    });
    found.concat()
}

/// All scores of one sequence, `[S, L, L]`, `-inf` where there is no candidate: for small inputs.
pub fn dense<T: Real>(scores: &SpanScore, qk: &[T], bias: Option<Bias<T>>, sequence: usize) -> Vec<T> {
    scores.check(qk, &bias);
    let length = scores.length(sequence);
    let mut out = vec![T::NEG_INFINITY; scores.types * length * length];
    for number in 0..scores.groups {
        let group = Group::new(scores, qk, bias, sequence, number);
        group.blocks(|rows, columns, products| {
            for (k, kind) in group.kinds.clone().enumerate() {
                for (row, products) in rows.clone().zip(products.chunks_exact(columns.len())) {
                    let ends = scores.ends(row, length);
                    let products = &products[ends.start - columns.start..ends.end - columns.start];
                    let out = &mut out[(kind * length + row) * length..][ends.clone()];
                    group.row(k, row, ends, products, out);
                }
            }
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Batch, KEY, TYPES, candidates, score, shapes};
    use super::*;

    #[test]
    fn dense_scores_are_the_definition() {
        // 70 tokens: more than two blocks of start rows.
        for (groups, triangular, width) in shapes() {
            let batch = Batch::<f64>::new(&[5, 0, 70, 1], groups, 1.0);
            let scores = batch.scores(groups, triangular, width);
            for (b, biased) in [(0, true), (1, true), (2, true), (3, true), (2, false)] {
                let length = scores.length(b);
                let mut want = vec![f64::NEG_INFINITY; TYPES * length * length];
                for p in candidates(&scores, length) {
                    want[(p.kind * length + p.start) * length + p.end] = score(&batch, &scores, biased, b, p);
                }
                let got = dense(&scores, &batch.qk, biased.then(|| batch.bias()), b);
                let close = |(x, y): (&f64, &f64)| x == y || (x - y).abs() < 1e-12;
                assert!(got.iter().zip(&want).all(close), "{scores:?}, sequence {b}");
            }
        }
    }

    #[test]
    fn decoding_finds_what_is_above_the_threshold_in_order() {
        for (groups, triangular, width) in shapes() {
            let batch = Batch::<f64>::new(&[5, 0, 70, 1], groups, 1.0);
            let scores = batch.scores(groups, triangular, width);
            let found = decode(&scores, &batch.qk, Some(batch.bias()), 0.4);
            assert_eq!(found.len(), 4);
            for b in 0..4 {
                let mut want = candidates(&scores, scores.length(b));
                want.retain(|&p| score(&batch, &scores, true, b, p) > 0.4);
                assert_eq!(found[b].iter().map(|f| f.span).collect::<Vec<_>>(), want);
                let right =
                    |&s: &ScoredSpan<f64>| (s.score - score(&batch, &scores, true, b, s.span)).abs() < 1e-12;
                assert!(found[b].iter().all(right));
            }
        }
    }

    #[test]
    fn a_score_at_the_threshold_is_not_above_it() {
        let batch = Batch::<f32>::new(&[6], 1, 0.0);
        let scores = batch.scores(1, true, None);
        assert!(decode(&scores, &batch.qk, None, 0.0)[0].is_empty());
        assert_eq!(decode(&scores, &batch.qk, None, -1.0)[0].len(), TYPES * 21);
    }

    #[test]
    fn infinite_and_undefined_scores_do_not_panic() {
        let mut batch = Batch::<f32>::new(&[3], 1, 1.0);
        batch.qk[0] = f32::NAN;
        batch.qk[2 * KEY] = f32::INFINITY;
        let scores = batch.scores(1, true, None);
        let found = decode(&scores, &batch.qk, None, f32::NEG_INFINITY);
        assert!(found[0].iter().all(|f| f.span.start > 0 && !f.score.is_nan()));
    }

    #[test]
    fn decoding_does_not_depend_on_threads_or_on_the_batch() {
        let batch = Batch::<f32>::new(&[90, 3, 120, 33], 1, 1.0);
        let scores = batch.scores(1, true, None);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| decode(&scores, &batch.qk, Some(batch.bias()), 0.0))
        };
        let found = run(1);
        assert_eq!(found, run(3));
        let (from, to) = (batch.offsets[2], batch.offsets[3]);
        let bias =
            Bias { start: &batch.start[from * TYPES..to * TYPES], end: &batch.end[from * TYPES..to * TYPES] };
        let alone = SpanScore { offsets: &[0, 120], ..scores };
        assert_eq!(decode(&alone, &batch.qk[from * 2 * KEY..to * 2 * KEY], Some(bias), 0.0)[0], found[2]);
    }
}

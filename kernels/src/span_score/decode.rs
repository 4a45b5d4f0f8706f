//! Spans above a threshold, and all scores of one short sequence as an array.

use super::segment::COLUMNS;
use super::{Inputs, Segment, Span, SpanScore, of_sequence};
use crate::{Real, cpu, parallel};

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
pub fn decode<T: Real>(scores: &SpanScore, inputs: Inputs<T>, threshold: T) -> Vec<Vec<ScoredSpan<T>>> {
    scores.check(&inputs);
    let work: Vec<_> = (0..scores.sequences()).flat_map(|b| of_sequence(scores, b)).collect();
    let parts = parallel::map(work.len(), scores.cost(), |i| {
        let (b, group, rows) = work[i].clone();
        decode_segment(&Segment::new(scores, inputs, (b, group), rows), threshold)
    });
    let mut found = vec![Vec::new(); scores.sequences()];
    for ((b, ..), part) in work.iter().zip(parts) {
        found[*b].extend(part);
    }
    found.iter_mut().for_each(|found| found.sort_unstable_by_key(|f: &ScoredSpan<T>| f.span));
    found
}

fn decode_segment<T: Real>(segment: &Segment<T>, threshold: T) -> Vec<ScoredSpan<T>> {
    let mut found = Vec::new();
    segment.tiles(|tile| {
        let tile = &*tile;
        for (k, kind) in segment.kinds.clone().enumerate() {
            let ends = segment.half_end(k, tile);
            cpu::simd(
                #[inline(always)]
                || {
                    for row in tile.rows.clone() {
                        let (start, lanes) = (segment.half_start(k, row), tile.lanes(row));
                        let (base, ends) = (lanes.start % COLUMNS, &ends[lanes.start % COLUMNS..]);
                        let products = &tile.products[lanes];
                        let mut above = false;
                        for (&p, &e) in products.iter().zip(ends) {
                            above |= p + (start + e) > threshold;
                        }
                        if above {
                            for (i, (&p, &e)) in products.iter().zip(ends).enumerate() {
                                let (score, end) = (p + (start + e), tile.column + base + i);
                                if score > threshold {
                                    found.push(ScoredSpan { span: Span { kind, start: row, end }, score });
                                }
                            }
                        }
                    }
                },
            );
        }
    });
    found
}

/// All scores of one sequence, `[S, L, L]`, `-inf` where there is no candidate: for small inputs.
pub fn dense<T: Real>(scores: &SpanScore, inputs: Inputs<T>, sequence: usize) -> Vec<T> {
    scores.check(&inputs);
    let length = scores.length(sequence);
    let mut out = vec![T::NEG_INFINITY; scores.types * length * length];
    for (b, group, rows) in of_sequence(scores, sequence) {
        let segment = Segment::new(scores, inputs, (b, group), rows);
        segment.tiles(|tile| {
            for (k, kind) in segment.kinds.clone().enumerate() {
                for row in tile.rows.clone() {
                    let ends = scores.ends(row, length);
                    for end in ends.filter(|&end| tile.has_end(end)) {
                        let half = segment.half_start(k, row) + segment.half_end(k, tile)[end - tile.column];
                        out[(kind * length + row) * length + end] =
                            tile.products[tile.place(row, end)] + half;
                    }
                }
            }
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Bias;
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
                let got = dense(&scores, batch.inputs(biased), b);
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
            let found = decode(&scores, batch.inputs(true), 0.4);
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
        assert!(decode(&scores, batch.inputs(false), 0.0)[0].is_empty());
        assert_eq!(decode(&scores, batch.inputs(false), -1.0)[0].len(), TYPES * 21);
    }

    #[test]
    fn infinite_and_undefined_scores_do_not_panic() {
        let mut batch = Batch::<f32>::new(&[3], 1, 1.0);
        batch.qk[0] = f32::NAN;
        batch.qk[2 * KEY] = f32::INFINITY;
        let scores = batch.scores(1, true, None);
        let found = decode(&scores, batch.inputs(false), f32::NEG_INFINITY);
        assert!(found[0].iter().all(|f| f.span.start > 0 && !f.score.is_nan()));
    }

    #[test]
    fn decoding_does_not_depend_on_threads_or_on_the_batch() {
        let batch = Batch::<f32>::new(&[90, 3, 120, 33], 1, 1.0);
        let scores = batch.scores(1, true, None);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| decode(&scores, batch.inputs(true), 0.0))
        };
        let found = run(1);
        assert_eq!(found, run(3));
        let (from, to) = (batch.offsets[2], batch.offsets[3]);
        let bias =
            Bias { start: &batch.start[from * TYPES..to * TYPES], end: &batch.end[from * TYPES..to * TYPES] };
        let qk = &batch.qk[from * 2 * KEY..to * 2 * KEY];
        let inputs = Inputs { qk, bias: Some(bias), rotation: None };
        let alone = SpanScore { offsets: &[0, 120], ..scores };
        assert_eq!(decode(&alone, inputs, 0.0)[0], found[2]);
    }
}

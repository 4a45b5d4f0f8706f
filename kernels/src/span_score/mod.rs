//! Span scores: every (start, end) pair of a sequence scored for every span type, never all at once.
//!
//! Definition:  s[S, i, j] = scale * <q_i, k_j> (+ (start[i, S] + end[j, S]) / 2 with a bias)
//! Shapes:      qk [T, G, 2, K], start and end [T, S]; G groups share the inner products of S / G
//!              types each: G = S is GlobalPointer, G = 1 Efficient GlobalPointer
//! Numerics:    pairs outside the triangle or the width are skipped, never masked by a number
//! Cost:        O(L^2 K) a group and O(L^2) a type, forward and twice that backward; memory O(L) rows
//!              of a block, `[L, L]` is never kept
//! Reference:   Su et al., Global Pointer, arXiv 2208.03054, 2022.    Vectors: globalpointer.json,
//!              efficient-globalpointer.json

mod decode;
mod log_sum_exp;
mod product;
mod segment;
mod zlpr;

pub use decode::{ScoredSpan, decode, dense};
pub use zlpr::{zlpr_backward, zlpr_forward};

use crate::Real;
use crate::rotary::Table;
use segment::{Segment, Tile, of_sequence};
use std::ops::Range;

/// Which spans of a packed batch have a score, and how it is computed.
#[derive(Clone, Copy, Debug)]
pub struct SpanScore<'a> {
    /// Sequence `b` owns tokens `offsets[b]..offsets[b + 1]`.
    pub offsets: &'a [usize],
    /// Span types `S`.
    pub types: usize,
    /// Groups `G` of types that share their inner products; divides `types`.
    pub groups: usize,
    /// Width `K` of a query and of a key.
    pub key_size: usize,
    /// Factor of the inner products, usually `1 / sqrt(K)`.
    pub scale: f64,
    /// Only spans with `start <= end`.
    pub triangular: bool,
    /// Only spans with `end - start < max_width`.
    pub max_width: Option<usize>,
}

/// A span within its sequence, `start` and `end` both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Span type, below `S`.
    pub kind: usize,
    /// First token.
    pub start: usize,
    /// Last token.
    pub end: usize,
}

/// What a type adds to the scores of all spans that start or end at a token.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a, T> {
    /// `[T, S]`
    pub start: &'a [T],
    /// `[T, S]`
    pub end: &'a [T],
}

/// What the scores of a packed batch are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T> {
    /// Queries and keys, `[T, G, 2, K]`.
    pub qk: &'a [T],
    /// What types add to starts and ends.
    pub bias: Option<Bias<'a, T>>,
    /// Turns every query and key by its position in its sequence first, neighbouring numbers in pairs;
    /// gradients are those of `qk` before the turn.
    pub rotation: Option<&'a Table<T>>,
}

impl SpanScore<'_> {
    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The ends that make a candidate with `start`, in a sequence of `length` tokens.
    #[inline(always)]
    pub fn ends(&self, start: usize, length: usize) -> Range<usize> {
        let first = if self.triangular { start } else { 0 };
        let last = self.max_width.map_or(length, |w| length.min(start.saturating_add(w)));
        first..last.max(first)
    }

    /// Whether `span` has a score in a sequence of `length` tokens.
    pub fn contains(&self, span: Span, length: usize) -> bool {
        span.kind < self.types && span.start < length && self.ends(span.start, length).contains(&span.end)
    }

    fn length(&self, sequence: usize) -> usize {
        self.offsets[sequence + 1] - self.offsets[sequence]
    }

    fn types_of_a_group(&self) -> usize {
        self.types / self.groups
    }

    /// Elements of `qk` a token owns.
    fn token_width(&self) -> usize {
        self.groups * 2 * self.key_size
    }

    /// Elementary steps of one (sequence, group), for the decision to use threads.
    fn cost(&self) -> usize {
        let tokens = self.offsets.last().map_or(0, |t| t / self.sequences().max(1));
        tokens * tokens * (self.key_size + 16 * self.types_of_a_group()) / 4
    }

    fn check<T: Real>(&self, inputs: &Inputs<T>) {
        assert!(self.groups > 0 && self.types.is_multiple_of(self.groups), "groups must divide the types");
        assert!(self.offsets.first().is_none_or(|&t| t == 0), "offsets start at 0");
        let tokens = self.offsets.last().copied().unwrap_or(0);
        assert_eq!(inputs.qk.len(), tokens * self.token_width(), "qk is [T, G, 2, K]");
        if let Some(bias) = &inputs.bias {
            assert_eq!(bias.start.len(), tokens * self.types, "start is [T, S]");
            assert_eq!(bias.end.len(), tokens * self.types, "end is [T, S]");
        }
        if let Some(table) = inputs.rotation {
            let longest = (0..self.sequences()).map(|b| self.length(b)).max().unwrap_or(0);
            assert!(table.positions() >= longest, "the rotation has a row for every position");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in `[-size, size)`, the same for the same seed.
    pub fn noise<T: Real>(seed: u64, count: usize, size: f64) -> Vec<T> {
        let unit = |i| f64::from(crate::random::philox(seed, i as u64)[0]) / 2f64.powi(31) - 1.0;
        (0..count).map(|i| T::from_f64(size * unit(i))).collect()
    }

    /// A packed batch with queries, keys and biases.
    pub struct Batch<T> {
        pub offsets: Vec<usize>,
        pub qk: Vec<T>,
        pub start: Vec<T>,
        pub end: Vec<T>,
    }

    pub const TYPES: usize = 3;
    pub const KEY: usize = 4;

    impl<T: Real> Batch<T> {
        pub fn new(lengths: &[usize], groups: usize, size: f64) -> Self {
            let mut offsets = vec![0];
            for l in lengths {
                offsets.push(offsets[offsets.len() - 1] + l);
            }
            let tokens = offsets[lengths.len()];
            let qk = noise(1, tokens * groups * 2 * KEY, size);
            Self { offsets, qk, start: noise(2, tokens * TYPES, size), end: noise(3, tokens * TYPES, size) }
        }

        pub fn inputs(&self, biased: bool) -> Inputs<'_, T> {
            let bias = biased.then_some(Bias { start: &self.start, end: &self.end });
            Inputs { qk: &self.qk, bias, rotation: None }
        }

        pub fn scores(&self, groups: usize, triangular: bool, max_width: Option<usize>) -> SpanScore<'_> {
            let scale = 0.5;
            SpanScore {
                offsets: &self.offsets,
                types: TYPES,
                groups,
                key_size: KEY,
                scale,
                triangular,
                max_width,
            }
        }
    }

    /// Every combination of sharing, triangle and width.
    pub fn shapes() -> impl Iterator<Item = (usize, bool, Option<usize>)> {
        [1, TYPES].into_iter().flat_map(|groups| {
            [true, false].into_iter().flat_map(move |triangular| {
                [None, Some(0), Some(1), Some(3), Some(1000)]
                    .into_iter()
                    .map(move |w| (groups, triangular, w))
            })
        })
    }

    /// The definition, one score.
    pub fn score(b: &Batch<f64>, s: &SpanScore, biased: bool, sequence: usize, span: Span) -> f64 {
        let (i, j) = (s.offsets[sequence] + span.start, s.offsets[sequence] + span.end);
        let group = span.kind * s.groups / s.types;
        let q = &b.qk[(i * s.groups + group) * 2 * KEY..][..KEY];
        let k = &b.qk[(j * s.groups + group) * 2 * KEY + KEY..][..KEY];
        let bias = (b.start[i * TYPES + span.kind] + b.end[j * TYPES + span.kind]) / 2.0;
        s.scale * q.iter().zip(k).map(|(x, y)| x * y).sum::<f64>() + if biased { bias } else { 0.0 }
    }

    /// All candidates of a sequence, by the definition.
    pub fn candidates(s: &SpanScore, length: usize) -> Vec<Span> {
        let all = (0..s.types).flat_map(|kind| {
            (0..length).flat_map(move |start| (0..length).map(move |end| Span { kind, start, end }))
        });
        all.filter(|p| !s.triangular || p.start <= p.end)
            .filter(|p| s.max_width.is_none_or(|w| p.end < p.start + w))
            .collect()
    }

    #[test]
    fn candidates_are_those_of_the_definition() {
        let batch = Batch::<f64>::new(&[7], 1, 1.0);
        for (groups, triangular, width) in shapes() {
            let scores = batch.scores(groups, triangular, width);
            let want = candidates(&scores, 7);
            for kind in 0..TYPES + 1 {
                for start in 0..9 {
                    for end in 0..9 {
                        let span = Span { kind, start, end };
                        assert_eq!(scores.contains(span, 7), want.contains(&span), "{scores:?} {span:?}");
                    }
                }
            }
        }
    }
}

//! A run of start rows of one (sequence, group): its queries and keys in cache, its scores tile by tile.
//!
//! Numerics:    where a sequence is cut depends on its length and the shape of its candidates alone, so
//!              sums that are put together from segments do not depend on threads or on the batch

use super::product::{LANE, STRIP, product};
use super::{Inputs, SpanScore};
use crate::gemm::View;
use crate::rotary::{Layout, rotate};
use crate::{Real, cpu};
use std::ops::Range;

/// Start rows of a tile: with its columns 12 KiB, and the panel of keys it meets 16 KiB.
const ROWS: usize = 48;
/// Ends of a tile.
pub(super) const COLUMNS: usize = 64;
const STRIPS: usize = ROWS / STRIP;
/// Segments of a sequence: enough for the threads of one long text, few enough for the gradient of
/// the keys, of which every segment has one of its own.
const SEGMENTS: usize = 8;
/// Rows below which a segment is not worth its own copy of the keys.
const LEAST_ROWS: usize = 96;

/// (sequence, group, start rows) of every segment of a sequence, in order.
pub(super) fn of_sequence(scores: &SpanScore, b: usize) -> Vec<(usize, usize, Range<usize>)> {
    let rows = segments(scores, scores.length(b));
    (0..scores.groups).flat_map(|group| rows.iter().map(move |r| (b, group, r.clone()))).collect()
}

/// Start rows of every segment of a sequence: about the same number of candidates each.
fn segments(scores: &SpanScore, length: usize) -> Vec<Range<usize>> {
    let count = (length / LEAST_ROWS).clamp(1, SEGMENTS);
    let candidates = |rows: Range<usize>| rows.map(|row| scores.ends(row, length).len()).sum::<usize>();
    let share = candidates(0..length).div_ceil(count).max(1);
    let (mut segments, mut first, mut taken) = (Vec::with_capacity(count), 0, 0);
    for row in (0..length).step_by(ROWS) {
        let end = length.min(row + ROWS);
        taken += candidates(row..end);
        if taken >= share * (segments.len() + 1) || end == length {
            segments.push(first..end);
            first = end;
        }
    }
    segments
}

/// The scores of some start rows of one (sequence, group).
pub(super) struct Segment<'a, T> {
    scores: &'a SpanScore<'a>,
    /// Tokens of the sequence.
    length: usize,
    /// The group's types.
    pub kinds: Range<usize>,
    /// Start rows.
    pub rows: Range<usize>,
    /// Ends that any of the rows has.
    pub columns: Range<usize>,
    /// `K`, rounded up to whole lanes.
    pub width: usize,
    /// Scaled queries, `[rows, width]`.
    query: Vec<T>,
    /// Keys, `[columns, width]`; the columns rounded up to whole tiles, zeros beyond.
    key: Vec<T>,
    /// The same keys as `[K, 64]` for every 64 columns.
    panels: Vec<T>,
    /// Half of the bias, `[types, rows]` and `[types, columns]`; zeros without one.
    half_start: Vec<T>,
    half_end: Vec<T>,
}

/// Scores of up to 48 start rows and 64 ends.
pub(super) struct Tile<'a, T> {
    /// Start rows.
    pub rows: Range<usize>,
    /// The first end.
    pub column: usize,
    /// Per strip of 6 rows the lanes that hold a candidate, all others of the tile are to be ignored.
    lanes: [Range<usize>; STRIPS],
    /// Scaled inner products `[rows, 64]`; -inf at pairs of these lanes that are no candidates.
    pub products: &'a mut [T],
}

impl<T> Tile<'_, T> {
    /// Where the lanes of start `row` lie, in `products`.
    #[inline(always)]
    pub fn lanes(&self, row: usize) -> Range<usize> {
        let row = row - self.rows.start;
        let lanes = &self.lanes[row / STRIP];
        row * COLUMNS + lanes.start * LANE..row * COLUMNS + lanes.end * LANE
    }

    /// Where the pair (row, end) lies, in `products`.
    #[inline(always)]
    pub fn place(&self, row: usize, end: usize) -> usize {
        (row - self.rows.start) * COLUMNS + end - self.column
    }

    /// Whether `end` is a column of the tile.
    #[inline(always)]
    pub fn has_end(&self, end: usize) -> bool {
        end >= self.column && end - self.column < COLUMNS
    }
}

impl<'a, T: Real> Segment<'a, T> {
    pub fn new(
        scores: &'a SpanScore<'a>,
        inputs: Inputs<T>,
        (sequence, group): (usize, usize),
        rows: Range<usize>,
    ) -> Self {
        let Inputs { qk, bias, rotation } = inputs;
        let (length, types, size) = (scores.length(sequence), scores.types_of_a_group(), scores.key_size);
        let (first, kinds) = (scores.offsets[sequence], group * types..(group + 1) * types);
        let columns = match rows.len() {
            0 => 0..0,
            _ => scores.ends(rows.start, length).start..scores.ends(rows.end - 1, length).end,
        };
        let columns = columns.start..columns.end.max(columns.start);
        let (width, padded) = (size.next_multiple_of(LANE), columns.len().next_multiple_of(COLUMNS));
        let (token_width, scale) = (scores.token_width(), T::from_f64(scores.scale));
        let (mut query, mut key) = (vec![T::ZERO; rows.len() * width], vec![T::ZERO; padded * width]);
        let mut panels = vec![T::ZERO; padded * size];
        let of_token = |t: usize| &qk[(first + t) * token_width + group * 2 * size..][..2 * size];
        cpu::simd(
            #[inline(always)]
            || {
                for (row, query) in rows.clone().zip(query.chunks_exact_mut(width.max(1))) {
                    query.iter_mut().zip(&of_token(row)[..size]).for_each(|(x, &q)| *x = scale * q);
                }
                for (end, key) in columns.clone().zip(key.chunks_exact_mut(width.max(1))) {
                    key[..size].copy_from_slice(&of_token(end)[size..]);
                }
            },
        );
        if let Some(table) = rotation {
            for (x, tokens) in [(&mut query, &rows), (&mut key, &columns)] {
                let positions: Vec<usize> = tokens.clone().collect();
                let x = &mut x[..positions.len() * width];
                rotate(x, 1, width, size, table, &positions, Layout::Interleaved, false);
            }
        }
        cpu::simd(
            #[inline(always)]
            || transpose(&key, width, size, &mut panels),
        );
        let half = |values: Option<&[T]>, tokens: &Range<usize>, padded: usize| {
            let mut half = vec![T::ZERO; types * padded];
            if let Some(values) = values {
                for (i, t) in tokens.clone().enumerate() {
                    for (k, kind) in kinds.clone().enumerate() {
                        half[k * padded + i] = values[(first + t) * scores.types + kind] * T::from_f64(0.5);
                    }
                }
            }
            half
        };
        let half_start = half(bias.map(|b| b.start), &rows, rows.len());
        let half_end = half(bias.map(|b| b.end), &columns, padded);
        Self { scores, length, kinds, rows, columns, width, query, key, panels, half_start, half_end }
    }

    /// Columns of whole tiles.
    pub fn padded_columns(&self) -> usize {
        self.columns.len().next_multiple_of(COLUMNS)
    }

    /// Half of the bias of start `row` for the group's type number `k`.
    #[inline(always)]
    pub fn half_start(&self, k: usize, row: usize) -> T {
        self.half_start[k * self.rows.len() + row - self.rows.start]
    }

    /// Half of the bias of the tile's ends for the group's type number `k`.
    #[inline(always)]
    pub fn half_end(&self, k: usize, tile: &Tile<T>) -> &[T] {
        &self.half_end[k * self.padded_columns() + tile.column - self.columns.start..][..COLUMNS]
    }

    /// Calls `visit` for all tiles with a candidate, top to bottom, left to right.
    pub fn tiles(&self, mut visit: impl FnMut(&mut Tile<T>)) {
        let mut products = [T::ZERO; ROWS * COLUMNS];
        for first in self.rows.clone().step_by(ROWS) {
            let rows = first..self.rows.end.min(first + ROWS);
            for column in self.columns.clone().step_by(COLUMNS) {
                let mut tile = Tile {
                    lanes: self.lanes(&rows, column),
                    rows: rows.clone(),
                    column,
                    products: &mut products,
                };
                if tile.lanes.iter().all(Range::is_empty) {
                    continue;
                }
                self.score(&mut tile);
                visit(&mut tile);
            }
        }
    }

    fn lanes(&self, rows: &Range<usize>, column: usize) -> [Range<usize>; STRIPS] {
        std::array::from_fn(|strip| {
            let first = rows.start + strip * STRIP;
            if first >= rows.end {
                return 0..0;
            }
            let last = rows.end.min(first + STRIP) - 1;
            let ends = self.scores.ends(first, self.length).start..self.scores.ends(last, self.length).end;
            let from = ends.start.max(column) - column;
            let to = ends.end.clamp(column, column + COLUMNS) - column;
            if from >= to { 0..0 } else { from / LANE..to.div_ceil(LANE) }
        })
    }

    fn score(&self, tile: &mut Tile<T>) {
        let (width, size) = (self.width, self.scores.key_size);
        let panel = &self.panels[(tile.column - self.columns.start) * size..][..COLUMNS * size];
        for row in tile.rows.clone().step_by(STRIP) {
            let lanes = tile.lanes(row);
            let query = View::row_major(&self.query[(row - self.rows.start) * width..], width);
            let shape = ((tile.rows.end - row).min(STRIP), lanes.len(), size);
            let right = (&panel[(lanes.start % COLUMNS).min(panel.len())..], COLUMNS);
            product(shape, query, right, &mut tile.products[lanes.start..], COLUMNS, false);
        }
        for row in tile.rows.clone() {
            let (lanes, ends) = (tile.lanes(row), self.scores.ends(row, self.length));
            let base = (row - tile.rows.start) * COLUMNS;
            let from = ends.start.saturating_sub(tile.column) + base;
            let to = ends.end.saturating_sub(tile.column) + base;
            let (from, to) = (from.clamp(lanes.start, lanes.end), to.clamp(lanes.start, lanes.end));
            tile.products[lanes.start..from].fill(T::NEG_INFINITY);
            tile.products[to.max(from)..lanes.end].fill(T::NEG_INFINITY);
        }
    }

    /// `d_query [rows, width] += d [rows, 64] K` and `d_key [columns, width] += d^T Q` for the gradient
    /// `d` of a tile's products, which is overwritten where it has no candidates; the queries are scaled,
    /// so the first is short of a factor.
    pub fn products_backward(&self, tile: &Tile<T>, d: &mut [T], d_query: &mut [T], d_key: &mut [T]) {
        let (width, columns) = (self.width, tile.column - self.columns.start);
        let at = columns * width..(columns + COLUMNS) * width;
        let (key, d_key) = (&self.key[at.clone()], &mut d_key[at]);
        let query = &self.query[(tile.rows.start - self.rows.start) * width..];
        let d_query = &mut d_query[(tile.rows.start - self.rows.start) * width..];
        for row in tile.rows.clone() {
            let (lanes, base) = (tile.lanes(row), (row - tile.rows.start) * COLUMNS);
            d[base..lanes.start].fill(T::ZERO);
            d[lanes.end..base + COLUMNS].fill(T::ZERO);
        }
        for row in tile.rows.clone().step_by(STRIP) {
            let (lanes, local) = (tile.lanes(row), row - tile.rows.start);
            if lanes.is_empty() {
                continue;
            }
            let of_tile = lanes.start % COLUMNS..lanes.start % COLUMNS + lanes.len();
            let shape = ((tile.rows.end - row).min(STRIP), width, lanes.len());
            let left = View::row_major(&d[lanes.start..], COLUMNS);
            let right = (&key[of_tile.start * width..], width);
            product(shape, left, right, &mut d_query[local * width..], width, true);
        }
        for column in (0..COLUMNS).step_by(STRIP) {
            let count = (COLUMNS - column).min(STRIP);
            let meets = |s: &Range<usize>| s.start * LANE < column + count && column < s.end * LANE;
            let Some(from) = tile.lanes.iter().position(meets) else { continue };
            let to = tile.lanes.iter().rposition(meets).map_or(from, |s| s + 1);
            let rows = from * STRIP..(to * STRIP).min(tile.rows.len());
            let left = View { data: &d[rows.start * COLUMNS + column..], row_stride: 1, col_stride: COLUMNS };
            let right = (&query[rows.start * width..], width);
            product((count, width, rows.len()), left, right, &mut d_key[column * width..], width, true);
        }
    }
}

/// `keys [columns, width]` as `[size, 64]` for every 64 columns.
#[inline(always)]
fn transpose<T: Real>(keys: &[T], width: usize, size: usize, panels: &mut [T]) {
    if size == 0 {
        return;
    }
    for (keys, panel) in keys.chunks_exact(COLUMNS * width).zip(panels.chunks_exact_mut(COLUMNS * size)) {
        for (p, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
            for (column, x) in row.iter_mut().enumerate() {
                *x = keys[column * width + p];
            }
        }
    }
}

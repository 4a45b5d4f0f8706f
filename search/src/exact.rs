//! Exact search: every vector is looked at.
//!
//! Definition:  the k vectors of the largest inner product (f32, 8 bits) or the fewest bits that differ
//! Shapes:      queries [Q, D], parts of N vectors each -> [Q, k]
//! Numerics:    inner products of 8 bits are exact integers times two scales. Equal scores go by row number;
//!              the answer of a query depends neither on other queries nor on threads
//! Cost:        O(N Q D): a block of vectors that is in the cache meets a block of queries, so many queries
//!              together run at the speed of products of matrices, one alone at the speed of memory

use std::ops::Range;

use bert4rs_kernels::gemm::Packed;
use bert4rs_kernels::nearest::{bits, float, int8};
use rayon::prelude::*;

use crate::bits::Allowed;
use crate::codes;
use crate::top::{Hit, Top};

/// Vectors that lie together.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The row number of the first one.
    pub first: u32,
    /// How many.
    pub rows: usize,
    /// Their numbers.
    pub vectors: Vectors<'a>,
}

/// How numbers are kept.
#[derive(Clone, Copy, Debug)]
pub enum Vectors<'a> {
    /// `[N, D]`.
    Float(&'a [f32]),
    /// In blocks of 16 (see `kernels::nearest::int8`), with a scale each.
    Int8(&'a [i8], &'a [f32]),
    /// In blocks of 8 (see `kernels::nearest::bits`).
    Bits(&'a [u64]),
}

/// Queries that go over the vectors together.
const QUERIES: usize = 192;
/// Vectors looked at in one step: what they score fits the cache beside them.
const STEP: usize = 256;
/// Multiply-adds (of f32) that make a piece worth a thread.
const WORTH: usize = 1 << 20;

/// The best `k` of each query.
///
/// # Panics
/// When lengths do not fit `width`: of queries, or of a part.
pub fn search(parts: &[Part], width: usize, queries: &[f32], k: usize, allowed: Allowed) -> Vec<Vec<Hit>> {
    assert!(width > 0 && queries.len().is_multiple_of(width), "search: no whole queries");
    let rows: usize = parts.iter().map(|part| part.rows).sum();
    let mut answers = Vec::with_capacity(queries.len() / width);
    for queries in queries.chunks(QUERIES * width) {
        let ready = Ready::new(parts, width, queries);
        let count = queries.len() / width;
        let threads = rayon::current_num_threads();
        let most = (rows * width).saturating_mul(count) / WORTH + 1;
        let pieces = cut(parts, rows.div_ceil(if threads == 1 { 1 } else { most.min(4 * threads) }));
        let run = |piece: &Vec<(usize, Range<usize>)>| -> Vec<Top> {
            let mut tops: Vec<Top> = (0..count).map(|_| Top::new(k.min(rows))).collect();
            let mut room = Room::default();
            for (part, range) in piece {
                scan(&parts[*part], range.clone(), width, &ready, allowed, &mut tops, &mut room);
            }
            tops
        };
        let found: Vec<Vec<Top>> = if pieces.len() < 2 {
            pieces.iter().map(run).collect()
        } else {
            pieces.par_iter().map(run).collect()
        };
        let merged = found.into_iter().reduce(|mut all, more| {
            all.iter_mut().zip(more).for_each(|(top, more)| top.merge(more));
            all
        });
        match merged {
            Some(tops) => answers.extend(tops.into_iter().map(Top::into_hits)),
            None => answers.extend((0..count).map(|_| Vec::new())),
        }
    }
    answers
}

/// Pieces of about `target` rows: which part, and which of its rows; cuts lie between blocks.
fn cut(parts: &[Part], target: usize) -> Vec<Vec<(usize, Range<usize>)>> {
    let target = target.next_multiple_of(STEP).max(STEP);
    let (mut pieces, mut piece, mut size) = (Vec::new(), Vec::new(), 0);
    for (i, part) in parts.iter().enumerate() {
        let mut start = 0;
        while start < part.rows {
            let end = part.rows.min(start + (target - size).next_multiple_of(STEP));
            piece.push((i, start..end));
            size += end - start;
            start = end;
            if size >= target {
                pieces.push(std::mem::take(&mut piece));
                size = 0;
            }
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// Queries in the forms that the parts need.
struct Ready {
    float: Option<Packed>,
    int8: Option<(Vec<i8>, Vec<f32>)>,
    bits: Option<Vec<u64>>,
}

impl Ready {
    fn new(parts: &[Part], width: usize, queries: &[f32]) -> Self {
        let any = |kind: fn(&Vectors) -> bool| parts.iter().any(|part| kind(&part.vectors));
        let count = queries.len() / width;
        let eight = || {
            let bytes = int8::padded(width);
            let mut numbers = vec![0; count * bytes];
            let each = queries.chunks_exact(width).zip(numbers.chunks_exact_mut(bytes));
            let scales = each.map(|(x, q)| codes::to_int8(x, &mut q[..width])).collect();
            (numbers, scales)
        };
        let signs = || {
            let words = codes::words(width);
            let mut out = vec![0; count * words];
            queries
                .chunks_exact(width)
                .zip(out.chunks_exact_mut(words))
                .for_each(|(x, q)| codes::to_bits(x, q));
            out
        };
        Self {
            float: any(|v| matches!(v, Vectors::Float(_))).then(|| Packed::new(queries, count, width)),
            int8: any(|v| matches!(v, Vectors::Int8(..))).then(eight),
            bits: any(|v| matches!(v, Vectors::Bits(_))).then(signs),
        }
    }
}

/// Memory that a piece of work uses again.
#[derive(Default)]
struct Room {
    float: Vec<f32>,
    int: Vec<i32>,
    short: Vec<u16>,
}

fn scan(
    part: &Part,
    range: Range<usize>,
    width: usize,
    ready: &Ready,
    allowed: Allowed,
    tops: &mut [Top],
    room: &mut Room,
) {
    let count = tops.len();
    for start in range.clone().step_by(STEP) {
        let end = range.end.min(start + STEP);
        let rows = end - start;
        let first = part.first + start as u32;
        match (part.vectors, ready) {
            (Vectors::Float(all), Ready { float: Some(queries), .. }) => {
                room.float.resize(rows * count, 0.0);
                float::products(&all[start * width..end * width], queries, &mut room.float);
                for (n, scores) in room.float.chunks_exact(count).enumerate() {
                    let row = first + n as u32;
                    // One test for all queries: most vectors are among the best of none.
                    let any =
                        scores.iter().zip(tops.iter()).fold(false, |any, (s, top)| any | (*s >= top.bound()));
                    if any && allowed.contains(row) {
                        tops.iter_mut().zip(scores).for_each(|(top, &score)| top.offer(row, score));
                    }
                }
            }
            (Vectors::Int8(all, scales), Ready { int8: Some((queries, query_scales)), .. }) => {
                let bytes = int8::padded(width);
                let padded = rows.next_multiple_of(int8::BLOCK);
                room.int.resize(padded * count, 0);
                let blocks = &all[start * bytes..(start + padded) * bytes];
                int8::products(queries, blocks, width, &mut room.int);
                let each = room.int.chunks_exact(padded).zip(tops.iter_mut()).zip(query_scales);
                for ((sums, top), query_scale) in each {
                    for (n, (&sum, scale)) in sums.iter().zip(&scales[start..end]).enumerate() {
                        let score = sum as f32 * (scale * query_scale);
                        if score >= top.bound() && allowed.contains(first + n as u32) {
                            top.offer(first + n as u32, score);
                        }
                    }
                }
            }
            (Vectors::Bits(all), Ready { bits: Some(queries), .. }) => {
                let words = codes::words(width);
                let padded = rows.next_multiple_of(bits::BLOCK);
                room.short.resize(padded * count, 0);
                let blocks = &all[start * words..(start + padded) * words];
                bits::distances(queries, blocks, words, &mut room.short);
                for (distances, top) in room.short.chunks_exact(padded).zip(tops.iter_mut()) {
                    let alike = |distance: u16| 1.0 - 2.0 * f32::from(distance) / width as f32;
                    for (group, distances) in distances[..rows].chunks(32).enumerate() {
                        let least = distances.iter().fold(u16::MAX, |least, &d| least.min(d));
                        if alike(least) < top.bound() {
                            continue;
                        }
                        for (n, &distance) in distances.iter().enumerate() {
                            let row = first + (group * 32 + n) as u32;
                            if alike(distance) >= top.bound() && allowed.contains(row) {
                                top.offer(row, alike(distance));
                            }
                        }
                    }
                }
            }
            // `Ready` was made for these parts.
            (Vectors::Float(_) | Vectors::Int8(..) | Vectors::Bits(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests;

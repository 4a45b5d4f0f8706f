//! One head of one sequence: its rows, and which keys its queries see.

use std::ops::Range;

use super::{Attention, Mask, Rows};
use crate::Real;
use crate::cpu::simd;
use crate::gemm::{Factor, View};

/// One head of one sequence.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub attention: &'a Attention<'a>,
    pub sequence: usize,
    pub head: usize,
    /// Row of the first query, and how many there are.
    pub start: usize,
    pub len: usize,
    /// The same of keys.
    pub first_key: usize,
    pub keys: usize,
}

impl Head<'_> {
    /// The key that query `i` is.
    pub fn place(&self, i: usize) -> usize {
        i + self.keys.saturating_sub(self.len)
    }

    /// The keys that query `i` sees.
    pub fn visible(&self, i: usize) -> Range<usize> {
        let i = self.place(i);
        let end = match self.attention.mask {
            Mask::Full => self.keys,
            Mask::Causal => i + 1,
            Mask::Prefix(prefixes) => prefixes[self.sequence].min(self.keys).max(i + 1),
        };
        match self.attention.window {
            None => 0..end,
            Some(window) => i.saturating_sub(window)..end.min(i.saturating_add(window).saturating_add(1)),
        }
    }

    /// Keys that are scored for the queries `first..=last`: those visible, in whole steps of the product.
    pub fn seen(&self, first: usize, last: usize) -> Range<usize> {
        const STEP: usize = Factor::<f32>::STEP;
        let (start, end) = (self.visible(first).start, self.visible(last).end);
        start / STEP * STEP..end.next_multiple_of(STEP).min(self.keys)
    }

    /// Where this head's part of row `row` starts, rows being `stride` apart and heads `size` wide.
    pub fn at(&self, stride: usize, size: usize, row: usize) -> usize {
        row * stride + self.head * size
    }

    /// This head's part of the rows from query `i`, `[.., size]`.
    pub fn rows<'x, T>(&self, x: Rows<'x, T>, size: usize, i: usize) -> View<'x, T> {
        View::row_major(&x.data[self.at(x.stride, size, self.start + i)..], x.stride)
    }

    /// The same of all keys.
    pub fn key_rows<'x, T>(&self, x: Rows<'x, T>, size: usize) -> View<'x, T> {
        View::row_major(&x.data[self.at(x.stride, size, self.first_key)..], x.stride)
    }

    /// As [`Head::key_rows`], transposed: `[size, ..]`.
    pub fn key_columns<'x, T>(&self, x: Rows<'x, T>, size: usize) -> View<'x, T> {
        View::transposed(&x.data[self.at(x.stride, size, self.first_key)..], x.stride)
    }

    /// Multiplies a row of query `i`, its keys from `from`, by its dropout factors.
    pub fn drop<T: Real>(&self, i: usize, from: usize, row: &mut [T], factors: &mut Vec<T>) {
        if let Some(dropout) = self.attention.dropout {
            factors.resize(row.len(), T::ZERO);
            let query = ((self.start + i) * self.attention.heads + self.head) as u64;
            simd(
                #[inline(always)]
                || {
                    // 2^24 keys are more than a sequence has; 2^40 (token, head) pairs remain.
                    dropout.factors((query << 24) + from as u64, factors);
                    for (x, &factor) in row.iter_mut().zip(&*factors) {
                        *x *= factor;
                    }
                },
            );
        }
    }
}

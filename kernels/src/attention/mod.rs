//! Packed attention: sequence by sequence, head by head, a block of queries at a time; keys and values
//! of a head are packed once for all its blocks.
//!
//! Definition:  out_i = sum_j p_ij f_ij v_j, p_i = softmax_j(scale q_i . k_j) over the visible keys,
//!              f = dropout factors
//! Shapes:      q, k, v, out [T, H K]; lse [T, H]; sequence b owns tokens offsets[b]..offsets[b + 1]
//! Numerics:    the row maximum is subtracted; every row sees itself, so no sum is empty; a row
//!              depends neither on other sequences nor on threads, bit for bit
//! Cost:        O(sum over b of H L^2 K) time, O(BLOCK L) memory a thread: probabilities are computed
//!              again in the backward pass from `lse`, as in flash attention
//! Reference:   Vaswani et al., 2017; Dao et al., FlashAttention, 2022; prefix mask: Dong et al.,
//!              UniLM, 2019

mod backward;
mod row;

pub use backward::{Gradients, backward};

use crate::cpu::simd;
use crate::gemm::{Factor, View};
use crate::random::Dropout;
use crate::{Real, parallel};
use std::marker::PhantomData;

/// Queries of one block.
const BLOCK: usize = 64;

/// Which keys a query sees: itself and
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// every key of its sequence.
    Full,
    /// the keys before it.
    Causal,
    /// the keys before it and the first `p[b]` of sequence `b`.
    Prefix(&'a [usize]),
}

/// What to attend to.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub key_size: usize,
    /// Factor of the scores, usually `1 / sqrt(key_size)`.
    pub scale: f64,
    /// First token of every sequence, and the end.
    pub offsets: &'a [usize],
    /// Visible keys.
    pub mask: Mask<'a>,
    /// Dropout of the probabilities.
    pub dropout: Option<Dropout>,
}

/// Queries, keys or values: row `i` starts at `i * stride` and has `H K` numbers.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// The numbers, from the first of row 0.
    pub data: &'a [T],
    /// Distance of rows.
    pub stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Queries, keys and values side by side in `x [T, 3 width]`.
    pub fn joint(x: &'a [T], width: usize) -> [Self; 3] {
        [0, 1, 2].map(|i| Self { data: &x[(i * width).min(x.len())..], stride: 3 * width })
    }
}

/// One head of one sequence.
#[derive(Clone, Copy)]
struct Head<'a> {
    attention: &'a Attention<'a>,
    sequence: usize,
    head: usize,
    start: usize,
    len: usize,
}

impl<'a> Attention<'a> {
    fn width(&self) -> usize {
        self.heads * self.key_size
    }

    fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn check<T>(&self, operands: &[Rows<T>; 3], wide: &[&[T]], lse: Option<&[T]>) {
        for x in operands {
            let enough = self.tokens() == 0
                || x.stride >= self.width() && x.data.len() >= (self.tokens() - 1) * x.stride + self.width();
            assert!(enough, "attention: queries, keys or values have a wrong length");
        }
        assert!(self.offsets.is_sorted(), "attention: offsets decrease");
        assert!(self.offsets.first().is_none_or(|&first| first == 0), "attention: offsets do not start at 0");
        for x in wide {
            assert_eq!(
                x.len(),
                self.tokens() * self.width(),
                "attention: a [T, H K] slice has a wrong length"
            );
        }
        let one_a_row = lse.is_none_or(|lse| lse.len() == self.tokens() * self.heads);
        assert!(one_a_row, "attention: lse has a wrong length");
        if let Mask::Prefix(prefixes) = self.mask {
            assert_eq!(prefixes.len() + 1, self.offsets.len(), "attention: one prefix a sequence");
        }
    }

    /// All heads of all sequences that have tokens.
    fn all(&'a self) -> impl Iterator<Item = Head<'a>> {
        self.offsets.windows(2).enumerate().filter(|(_, ends)| ends[1] > ends[0]).flat_map(
            move |(sequence, ends)| {
                let (start, len) = (ends[0], ends[1] - ends[0]);
                (0..self.heads).map(move |head| Head { attention: self, sequence, head, start, len })
            },
        )
    }
}

impl Head<'_> {
    /// Query `i` sees the keys `0..visible(i)`.
    fn visible(&self, i: usize) -> usize {
        match self.attention.mask {
            Mask::Full => self.len,
            Mask::Causal => i + 1,
            Mask::Prefix(prefixes) => prefixes[self.sequence].min(self.len).max(i + 1),
        }
    }

    /// Keys that are scored for the queries up to `i`: those visible, in whole steps of the product.
    fn seen(&self, i: usize) -> usize {
        self.visible(i).next_multiple_of(Factor::<f32>::STEP).min(self.len)
    }

    /// Where row `i` of this head starts, rows being `stride` apart.
    fn at(&self, stride: usize, i: usize) -> usize {
        (self.start + i) * stride + self.head * self.attention.key_size
    }

    /// Rows from `i` of this head, `[.., K]`.
    fn rows<'x, T>(&self, x: Rows<'x, T>, i: usize) -> View<'x, T> {
        View::row_major(&x.data[self.at(x.stride, i)..], x.stride)
    }

    /// As [`Head::rows`], transposed: `[K, ..]`.
    fn columns<'x, T>(&self, x: Rows<'x, T>, i: usize) -> View<'x, T> {
        View::transposed(&x.data[self.at(x.stride, i)..], x.stride)
    }

    /// Multiplies a row of query `i` by its dropout factors, from key 0.
    fn drop<T: Real>(&self, i: usize, row: &mut [T], factors: &mut Vec<T>) {
        if let Some(dropout) = self.attention.dropout {
            factors.resize(row.len(), T::ZERO);
            let query = ((self.start + i) * self.attention.heads + self.head) as u64;
            simd(
                #[inline(always)]
                || {
                    // 2^24 keys are more than a sequence has; 2^40 (token, head) pairs remain.
                    dropout.factors(query << 24, factors);
                    for (x, &factor) in row.iter_mut().zip(&*factors) {
                        *x *= factor;
                    }
                },
            );
        }
    }
}

/// A `[T, H K]` or `[T, H]` output that many threads write, each its own rows of its own head.
struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    stride: usize,
    borrowed: PhantomData<&'a mut [T]>,
}
// SAFETY: the users of `row` write disjoint rows.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    fn new(x: &'a mut [T], stride: usize) -> Self {
        Self { start: x.as_mut_ptr(), len: x.len(), stride, borrowed: PhantomData }
    }

    /// Three outputs of `width` side by side in `x [T, 3 width]`.
    fn joint(x: &'a mut [T], width: usize) -> [Self; 3] {
        [0, 1, 2].map(|i| {
            let from = (i * width).min(x.len());
            let start = x.as_mut_ptr().wrapping_add(from);
            Self { start, len: x.len() - from, stride: 3 * width, borrowed: PhantomData }
        })
    }

    /// # Safety
    /// Nobody else uses these elements at the same time.
    #[allow(clippy::mut_from_ref)] // the elements are the caller's alone
    unsafe fn row(&self, at: usize, len: usize) -> &mut [T] {
        assert!(at + len <= self.len);
        // SAFETY: in bounds, and exclusive by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}

/// What a thread reuses from head to head.
struct Scratch<T> {
    scores: Vec<T>,   // [rows, seen]
    gathered: Vec<T>, // [rows, K]
    factors: Vec<T>,
}

/// The first `len` elements, whatever they hold.
fn room<T: Real>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::ZERO);
    }
    &mut memory[..len]
}

/// Sets `out [T, H K]`, and `lse [T, H]`, the logarithm of the sum of exponentials of every row, which
/// the backward pass needs; an empty `lse` is left alone.
pub fn forward<T: Real>(attention: &Attention, inputs: [Rows<T>; 3], out: &mut [T], lse: &mut [T]) {
    attention.check(&inputs, &[out], if lse.is_empty() { None } else { Some(lse) });
    let heads: Vec<Head> = attention.all().collect();
    let len = attention.tokens() / heads.len().max(1) * attention.heads;
    let (out, lse) = (Shared::new(out, attention.width()), Shared::new(lse, attention.heads));
    let cost = len * len * attention.key_size / 4;
    let scratch = || Scratch { scores: Vec::new(), gathered: Vec::new(), factors: Vec::new() };
    parallel::each_with(heads.len(), cost, scratch, |scratch, i| {
        forward_head(heads[i], inputs, &out, &lse, scratch);
    });
}

fn forward_head<T: Real>(
    head: Head,
    [q, k, v]: [Rows<T>; 3],
    out: &Shared<T>,
    lse: &Shared<T>,
    scratch: &mut Scratch<T>,
) {
    let size = head.attention.key_size;
    let scale = T::from_f64(head.attention.scale);
    let keys = Factor::new(head.columns(k, 0), size, head.len);
    let values = Factor::new(head.rows(v, 0), head.len, size);
    let Scratch { scores, gathered, factors } = scratch;
    let mut sums = [T::ONE; BLOCK];
    for first in (0..head.len).step_by(BLOCK) {
        let rows = BLOCK.min(head.len - first);
        let seen = head.seen(first + rows - 1);
        let scores = room(scores, rows * seen);
        keys.multiply(rows, seen, size, head.rows(q, first), scores, false);
        for (i, row) in scores.chunks_exact_mut(seen).enumerate() {
            let (row, hidden) = row.split_at_mut(head.visible(first + i));
            let (max, sum) = row::exponentials(row, scale);
            hidden.fill(T::ZERO);
            sums[i] = T::ONE / sum;
            if lse.len > 0 {
                let at = (head.start + first + i) * head.attention.heads + head.head;
                // SAFETY: this head alone writes this element.
                unsafe { lse.row(at, 1)[0] = max + sum.ln() };
            }
            head.drop(first + i, row, factors);
        }
        let gathered = room(gathered, rows * size);
        values.multiply(rows, size, seen, View::row_major(scores, seen), gathered, false);
        for (i, values) in gathered.chunks_exact(size.max(1)).enumerate() {
            // SAFETY: this head alone writes these rows of its own.
            let out = unsafe { out.row(head.at(out.stride, first + i), size) };
            simd(
                #[inline(always)]
                || {
                    for (out, &value) in out.iter_mut().zip(values) {
                        *out = value * sums[i];
                    }
                },
            );
        }
    }
}

#[cfg(test)]
mod tests;

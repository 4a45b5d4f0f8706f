//! Packed attention: sequence by sequence, head by head, a block of queries at a time; keys and values
//! of a head are packed once for all its blocks.
//!
//! Definition:  out_i = sum_j p_ij f_ij v_j, p_i = softmax_j(scale q_i . k_j + bias[h, j - i]) over the
//!              visible keys, f = dropout factors
//! Shapes:      q, k [T, H K]; v, out [T, H V]; lse [T, H]; sequence b owns tokens offsets[b]..offsets[b + 1],
//!              and keys and values keys[b]..keys[b + 1] where those are of other tokens;
//!              bias [H, 2 S - 1] for distances below S, the middle column is distance 0
//! Numerics:    the row maximum is subtracted; a row depends neither on other sequences nor on
//!              threads, bit for bit; one without keys is 0
//! Cost:        O(sum over b of H L W K) time, W = L or the keys of a window, O(BLOCK W) memory a thread: probabilities are computed
//!              again in the backward pass from `lse`, as in flash attention
//! Reference:   Vaswani et al., 2017; Dao et al., FlashAttention, 2022; prefix mask: Dong et al.,
//!              UniLM, 2019

mod backward;
mod head;
mod row;

pub use backward::{Gradients, backward};
use head::Head;

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
    /// Width of a head's queries and keys, `K`.
    pub key_size: usize,
    /// Width of a head's values, `V`.
    pub value_size: usize,
    /// Factor of the scores, usually `1 / sqrt(key_size)`.
    pub scale: f64,
    /// First token of every sequence, and the end.
    pub offsets: &'a [usize],
    /// The same of keys and values, where they are of other tokens than the queries. Masks, windows and biases
    /// take the queries of a sequence for the last of its keys.
    pub keys: Option<&'a [usize]>,
    /// Visible keys.
    pub mask: Mask<'a>,
    /// Largest distance of a visible key, if there is one.
    pub window: Option<usize>,
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
    /// Queries, keys and values side by side in `x`, of these widths.
    pub fn joint(x: &'a [T], widths: [usize; 3]) -> [Self; 3] {
        let stride = widths.iter().sum();
        let from = |i: usize| widths[..i].iter().sum::<usize>().min(x.len());
        [0, 1, 2].map(|i| Self { data: &x[from(i)..], stride })
    }
}

/// What is added to scaled scores: a number for each head and distance `j - i` of key and query.
#[derive(Clone, Copy, Debug)]
pub struct DistanceBias<'a, T> {
    /// `[H, 2 span - 1]`, the middle column is distance 0.
    pub values: &'a [T],
    /// Distances below it are there.
    pub span: usize,
}

impl<T> DistanceBias<'_, T> {
    /// What keys `from..` get for query `i` of `head`, key by key.
    fn row(&self, head: usize, i: usize, from: usize) -> &[T] {
        &self.values[head * (2 * self.span - 1) + self.span - 1 + from - i..]
    }

    fn check(&self, attention: &Attention) {
        assert!(
            attention.keys.is_none() || attention.queries_are_keys(),
            "attention: more queries than keys"
        );
        let longest = attention.key_offsets().windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
        assert!(self.span >= longest.max(1), "attention: the bias is for shorter sequences");
        let len = attention.heads * (2 * self.span - 1);
        assert_eq!(self.values.len(), len, "attention: the bias has a wrong length");
    }
}

impl<'a> Attention<'a> {
    /// Widths of queries, keys and values: `H K`, `H K`, `H V`.
    pub fn widths(&self) -> [usize; 3] {
        [self.key_size, self.key_size, self.value_size].map(|size| self.heads * size)
    }

    fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn key_offsets(&self) -> &'a [usize] {
        self.keys.unwrap_or(self.offsets)
    }

    /// Rows of queries, keys and values.
    fn counts(&self) -> [usize; 3] {
        let keys = self.key_offsets().last().copied().unwrap_or(0);
        [self.tokens(), keys, keys]
    }

    fn check<T>(&self, operands: &[Rows<T>; 3], wide: &[&[T]], lse: Option<&[T]>) {
        for ((x, width), rows) in operands.iter().zip(self.widths()).zip(self.counts()) {
            let enough = rows == 0 || x.stride >= width && x.data.len() >= (rows - 1) * x.stride + width;
            assert!(enough, "attention: queries, keys or values have a wrong length");
        }
        for offsets in [self.offsets, self.key_offsets()] {
            assert!(offsets.is_sorted(), "attention: offsets decrease");
            assert!(offsets.first().is_none_or(|&first| first == 0), "attention: offsets do not start at 0");
        }
        assert_eq!(self.offsets.len(), self.key_offsets().len(), "attention: keys of other sequences");
        let any_number = self.keys.is_none() || matches!(self.mask, Mask::Full) && self.window.is_none();
        assert!(any_number || self.queries_are_keys(), "attention: more queries than keys under a mask");
        for x in wide {
            assert_eq!(
                x.len(),
                self.tokens() * self.widths()[2],
                "attention: a [T, H V] slice has a wrong length"
            );
        }
        let one_a_row = lse.is_none_or(|lse| lse.len() == self.tokens() * self.heads);
        assert!(one_a_row, "attention: lse has a wrong length");
        if let Mask::Prefix(prefixes) = self.mask {
            assert_eq!(prefixes.len() + 1, self.offsets.len(), "attention: one prefix a sequence");
        }
    }

    /// Whether no sequence has more queries than keys.
    fn queries_are_keys(&self) -> bool {
        let mut pairs = self.offsets.windows(2).zip(self.key_offsets().windows(2));
        pairs.all(|(queries, keys)| queries[1] - queries[0] <= keys[1] - keys[0])
    }

    /// All heads of all sequences that have queries or keys.
    fn all(&'a self) -> impl Iterator<Item = Head<'a>> {
        let ends = self.offsets.windows(2).zip(self.key_offsets().windows(2)).enumerate();
        ends.filter(|(_, (queries, keys))| queries[1] > queries[0] || keys[1] > keys[0]).flat_map(
            move |(sequence, (queries, keys))| {
                let (start, len) = (queries[0], queries[1] - queries[0]);
                let (first_key, keys) = (keys[0], keys[1] - keys[0]);
                (0..self.heads).map(move |head| Head {
                    attention: self,
                    sequence,
                    head,
                    start,
                    len,
                    first_key,
                    keys,
                })
            },
        )
    }
}

/// A `[T, H K]`, `[T, H V]` or `[T, H]` output that many threads write, each its own rows of its own head.
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

    /// Three outputs of these widths side by side in `x`.
    fn joint(x: &'a mut [T], widths: [usize; 3]) -> [Self; 3] {
        let stride = widths.iter().sum();
        [0, 1, 2].map(|i| {
            let from = widths[..i].iter().sum::<usize>().min(x.len());
            let start = x.as_mut_ptr().wrapping_add(from);
            Self { start, len: x.len() - from, stride, borrowed: PhantomData }
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
    gathered: Vec<T>, // [rows, V]
    factors: Vec<T>,
}

/// The first `len` elements, whatever they hold.
fn room<T: Real>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::ZERO);
    }
    &mut memory[..len]
}

/// Sets `out [T, H V]`, and `lse [T, H]`, the logarithm of the sum of exponentials of every row, which
/// the backward pass needs; an empty `lse` is left alone.
pub fn forward<T: Real>(
    attention: &Attention,
    inputs: [Rows<T>; 3],
    bias: Option<DistanceBias<T>>,
    out: &mut [T],
    lse: &mut [T],
) {
    attention.check(&inputs, &[out], if lse.is_empty() { None } else { Some(lse) });
    bias.iter().for_each(|bias| bias.check(attention));
    let heads: Vec<Head> = attention.all().collect();
    let [queries, keys, _] = attention.counts().map(|rows| rows / heads.len().max(1) * attention.heads);
    let (out, lse) = (Shared::new(out, attention.widths()[2]), Shared::new(lse, attention.heads));
    let cost = queries * keys * attention.key_size.max(attention.value_size) / 4;
    let scratch = || Scratch { scores: Vec::new(), gathered: Vec::new(), factors: Vec::new() };
    parallel::each_with(heads.len(), cost, scratch, |scratch, i| {
        forward_head(heads[i], inputs, bias, &out, &lse, scratch);
    });
}

fn forward_head<T: Real>(
    head: Head,
    [q, k, v]: [Rows<T>; 3],
    bias: Option<DistanceBias<T>>,
    out: &Shared<T>,
    lse: &Shared<T>,
    scratch: &mut Scratch<T>,
) {
    let Attention { key_size, value_size, .. } = *head.attention;
    let scale = T::from_f64(head.attention.scale);
    if head.keys == 0 || head.len == 0 {
        for row in head.start..head.start + head.len {
            // SAFETY: this head alone writes this row of its own.
            unsafe { out.row(head.at(out.stride, value_size, row), value_size) }.fill(T::ZERO);
            if lse.len > 0 {
                // SAFETY: this head alone writes this element.
                unsafe { lse.row(head.at(head.attention.heads, 1, row), 1)[0] = T::ZERO };
            }
        }
        return;
    }
    let keys = Factor::new(head.key_columns(k, key_size), key_size, head.keys);
    let values = Factor::new(head.key_rows(v, value_size), head.keys, value_size);
    let Scratch { scores, gathered, factors } = scratch;
    let mut sums = [T::ONE; BLOCK];
    for first in (0..head.len).step_by(BLOCK) {
        let rows = BLOCK.min(head.len - first);
        let seen = head.seen(first, first + rows - 1);
        let scores = room(scores, rows * seen.len());
        keys.multiply(rows, seen.clone(), 0..key_size, head.rows(q, key_size, first), scores, false);
        for (i, row) in scores.chunks_exact_mut(seen.len()).enumerate() {
            let visible = head.visible(first + i);
            let (row, hidden) = row.split_at_mut(visible.end - seen.start);
            hidden.fill(T::ZERO);
            let (hidden, row) = row.split_at_mut(visible.start - seen.start);
            hidden.fill(T::ZERO);
            let (max, sum) = match bias {
                None => row::exponentials(row, scale),
                Some(bias) => {
                    row::add_bias(row, scale, bias.row(head.head, head.place(first + i), visible.start));
                    row::exponentials(row, T::ONE)
                }
            };
            sums[i] = T::ONE / sum;
            if lse.len > 0 {
                let at = head.at(head.attention.heads, 1, head.start + first + i);
                // SAFETY: this head alone writes this element.
                unsafe { lse.row(at, 1)[0] = max + sum.ln() };
            }
            head.drop(first + i, visible.start, row, factors);
        }
        let gathered = room(gathered, rows * value_size);
        let weights = View::row_major(scores, seen.len());
        values.multiply(rows, 0..value_size, seen, weights, gathered, false);
        for (i, values) in gathered.chunks_exact(value_size.max(1)).enumerate() {
            // SAFETY: this head alone writes these rows of its own.
            let out = unsafe { out.row(head.at(out.stride, value_size, head.start + first + i), value_size) };
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
mod other_keys_tests;
#[cfg(test)]
mod tests;

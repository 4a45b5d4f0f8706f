//! The product on machines without AVX-512, and in f64: blocks of rows through the `gemm` crate.
//!
//! Numerics:    the crate chooses its order of sums by the shape and the layout of a call. Blocks
//!              of rows are therefore copied by columns, two rows and two columns at least, and at most
//!              `DEPTH` terms are summed in one call: then it always takes its main path, one chain of
//!              multiply-adds per element. Tests compare row by row and column by column.

use super::View;
use crate::{Real, parallel};
use gemm::Parallelism;

/// Rows of one call.
const ROWS: usize = 128;
/// Terms of one call: below the block of the crate (512), so that it has no reason to cut.
const DEPTH: usize = 384;

/// Computes `a b (+ c)`, calling `finish(row, column, segment)` on every complete row.
pub(super) fn product<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    a: View<T>,
    b: View<T>,
    c: &mut [T],
    accumulate: bool,
    finish: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    a.check(m, k);
    b.check(k, n);
    assert_eq!(c.len(), m * n, "gemm: output has a wrong length");
    if !accumulate {
        c.fill(T::ZERO);
    }
    parallel::rows(c, n, n * k.max(1), |first, c| {
        for (i, c) in c.chunks_mut(ROWS * n).enumerate() {
            let row = first + i * ROWS;
            if n == 1 {
                column(k, a, b, row, c);
            } else {
                block(n, k, a, b, row, c);
            }
            for (i, segment) in c.chunks_exact_mut(n).enumerate() {
                finish(row + i, 0, segment);
            }
        }
    });
}

/// `c [rows, n] += a b` for the rows from `row`.
fn block<T: Real>(n: usize, k: usize, a: View<T>, b: View<T>, row: usize, c: &mut [T]) {
    let rows = c.len() / n;
    if rows == 1 {
        let mut twice = [&*c, &*c].concat();
        let once = View { data: &a.data[row * a.row_stride..], row_stride: 0, col_stride: a.col_stride };
        block(n, k, once, b, 0, &mut twice);
        return c.copy_from_slice(&twice[..n]);
    }
    let mut left = vec![T::ZERO; rows * k.min(DEPTH)];
    for first in (0..k).step_by(DEPTH) {
        let depth = (k - first).min(DEPTH);
        for i in 0..rows {
            for j in 0..depth {
                left[j * rows + i] = a.data[(row + i) * a.row_stride + (first + j) * a.col_stride];
            }
        }
        let right = &b.data[first * b.row_stride..];
        let (b_col, b_row) = (b.col_stride as isize, b.row_stride as isize);
        // SAFETY: c is [rows, n] row-major, left [depth, rows], right at least [depth, n] at its
        // strides (checked by the caller); T is f32 or f64, which the crate knows.
        unsafe {
            gemm::gemm(
                rows,
                n,
                depth,
                c.as_mut_ptr(),
                1,
                n as isize,
                true,
                left.as_ptr(),
                rows as isize,
                1,
                right.as_ptr(),
                b_col,
                b_row,
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

/// `c [rows, 1] += a b` for the rows from `row`: two equal columns, so that the sums have the order that
/// they have among more columns.
fn column<T: Real>(k: usize, a: View<T>, b: View<T>, row: usize, c: &mut [T]) {
    let right: Vec<T> = (0..k).flat_map(|i| [b.data[i * b.row_stride]; 2]).collect();
    let mut twice: Vec<T> = c.iter().flat_map(|&x| [x; 2]).collect();
    block(2, k, a, View::row_major(&right, 2), row, &mut twice);
    for (c, pair) in c.iter_mut().zip(twice.chunks_exact(2)) {
        *c = pair[0];
    }
}

//! Matrix products.
//!
//! Definition:  c [m, n] = a [m, k] b [k, n] (+ c); y = activation(x W^T + bias) + residual
//! Shapes:      any m, n, k, 0 included; x [N, inputs], W [outputs, inputs]
//! Numerics:    sums run over blocks of k that depend on k alone; a row of the result depends
//!              neither on the other rows nor on the threads, bit for bit
//! Cost:        O(m n k); `f32` with AVX-512 runs near the peak of the machine, everything else in
//!              the `gemm` crate

#[cfg(target_arch = "x86_64")]
mod avx512;
mod epilogue;
mod factor;
mod feed_forward;
mod linear;
#[cfg(target_arch = "x86_64")]
mod pack;
mod portable;
pub mod quantised;

use crate::Real;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Path;

pub use epilogue::Epilogue;
pub(crate) use factor::Factor;
pub use feed_forward::{FeedForward, FeedForwardGradients};
pub(crate) use linear::products_alone;
pub use linear::{Packed, linear, linear_packed};

/// A matrix in a slice: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// Distance of rows.
    pub row_stride: usize,
    /// Distance of columns.
    pub col_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// A row-major matrix of `cols` columns.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose of a row-major matrix of `cols` columns.
    pub fn transposed(data: &'a [T], cols: usize) -> Self {
        Self { data, row_stride: 1, col_stride: cols }
    }

    fn as_f32(self) -> Option<View<'a, f32>>
    where
        T: Real,
    {
        let Self { data, row_stride, col_stride } = self;
        T::as_f32(data).map(|data| View { data, row_stride, col_stride })
    }

    /// Asserts that a `[rows, cols]` matrix lies inside the slice.
    fn check(&self, rows: usize, cols: usize) {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
            assert!(last < self.data.len(), "gemm: a [{rows}, {cols}] matrix leaves its slice");
        }
    }
}

/// `c [m, n] = a [m, k] b [k, n]`, plus the old `c` if `accumulate`; `c` is row-major.
pub fn matmul<T: Real>(m: usize, n: usize, k: usize, a: View<T>, b: View<T>, c: &mut [T], accumulate: bool) {
    assert_eq!(c.len(), m * n, "gemm: output has a wrong length");
    #[cfg(target_arch = "x86_64")]
    if Path::detect() == Path::Avx512
        && let (Some(a), Some(b)) = (a.as_f32(), b.as_f32())
        && let Some(c) = T::as_f32_mut(c)
    {
        let b = avx512::Right::View(b);
        return avx512::product(avx512::Product { m, n, k, a, b, accumulate, shared: true }, c, |_, _, _| {});
    }
    portable::product(m, n, k, a, b, c, accumulate, |_, _, _| {});
}

#[cfg(test)]
mod tests;

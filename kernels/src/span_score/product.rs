//! Small products whose factors lie in the cache as they are: nothing is packed, nothing is shared out.
//!
//! Definition:  c [rows, columns] (+)= left [rows, depth] right [depth, columns]
//! Shapes:      columns a multiple of 16; the rows of `right` and of `c` are contiguous
//! Numerics:    an element is one chain over the depth, in order (`f32` with AVX-512: fused)
//! Cost:        with AVX-512, 6 rows x 64 columns in 24 registers: near the peak from a depth of 48 on

use crate::gemm::View;
use crate::{Real, cpu};

/// Numbers in a lane: every width is a multiple of it.
pub(super) const LANE: usize = 16;
/// Rows of the micro-kernel.
pub(super) const STRIP: usize = 6;
/// Lanes across the micro-kernel.
#[cfg(target_arch = "x86_64")]
const ACROSS: usize = 4;

/// A matrix with contiguous rows: the numbers, and the distance of its rows.
pub(super) type Rows<'a, T> = (&'a [T], usize);

/// `c [rows, columns] (+)= left [rows, depth] right [depth, columns]`; `c` has rows of `c_stride`.
pub(super) fn product<T: Real>(
    (rows, columns, depth): (usize, usize, usize),
    left: View<T>,
    right: Rows<T>,
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(columns.is_multiple_of(LANE), "whole lanes");
    assert!((rows - 1) * c_stride + columns <= c.len(), "c [rows, columns] leaves its slice");
    if depth > 0 {
        let last = (rows - 1) * left.row_stride + (depth - 1) * left.col_stride;
        assert!(last < left.data.len(), "left [rows, depth] leaves its slice");
        assert!((depth - 1) * right.1 + columns <= right.0.len(), "right [depth, columns] leaves its slice");
    }
    #[cfg(target_arch = "x86_64")]
    if cpu::Path::detect() == cpu::Path::Avx512
        && let (Some(a), Some(b)) = (T::as_f32(left.data), T::as_f32(right.0))
        && let Some(c) = T::as_f32_mut(c)
    {
        for row in (0..rows).step_by(STRIP) {
            for column in (0..columns).step_by(LANE * ACROSS) {
                let (a, b) = (a[row * left.row_stride..].as_ptr(), b[column..].as_ptr());
                let c = c[row * c_stride + column..].as_mut_ptr();
                let strides = [left.row_stride, left.col_stride, right.1, c_stride];
                let tile = avx512::Tile { a, b, c, strides, depth, accumulate };
                // SAFETY: AVX-512 is there, and the tile is inside the matrices asserted above.
                unsafe { tile.compute((rows - row).min(STRIP), ((columns - column) / LANE).min(ACROSS)) };
            }
        }
        return;
    }
    cpu::simd(
        #[inline(always)]
        || {
            let mut row = 0;
            while row + 4 <= rows {
                (0..columns)
                    .step_by(LANE)
                    .for_each(|j| plain::<T, 4>(row, j, depth, left, right, c, c_stride, accumulate));
                row += 4;
            }
            for row in row..rows {
                (0..columns)
                    .step_by(LANE)
                    .for_each(|j| plain::<T, 1>(row, j, depth, left, right, c, c_stride, accumulate));
            }
        },
    );
}

/// `M` rows of one lane.
#[inline(always)]
fn plain<T: Real, const M: usize>(
    row: usize,
    column: usize,
    depth: usize,
    left: View<T>,
    right: Rows<T>,
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
) {
    let mut sums = [[T::ZERO; LANE]; M];
    for p in 0..depth {
        let b = &right.0[p * right.1 + column..][..LANE];
        for r in 0..M {
            let a = left.data[(row + r) * left.row_stride + p * left.col_stride];
            for i in 0..LANE {
                sums[r][i] += a * b[i];
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let c = &mut c[(row + r) * c_stride + column..][..LANE];
        for i in 0..LANE {
            c[i] = if accumulate { c[i] + sums[i] } else { sums[i] };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    /// One call of the micro-kernel; strides are those of the rows and columns of `a` and of the rows
    /// of `b` and `c`.
    pub(super) struct Tile {
        pub a: *const f32,
        pub b: *const f32,
        pub c: *mut f32,
        pub strides: [usize; 4],
        pub depth: usize,
        pub accumulate: bool,
    }

    impl Tile {
        /// Computes `rows` rows (1 to 6) of `lanes` lanes (1 to 4).
        ///
        /// # Safety
        /// AVX-512F; the pointers hold `rows` rows of `depth` numbers, `depth` rows of `lanes` lanes and
        /// `rows` rows of `lanes` lanes at their strides.
        #[target_feature(enable = "avx512f")]
        pub unsafe fn compute(&self, rows: usize, lanes: usize) {
            // SAFETY: as the caller's.
            unsafe {
                match lanes {
                    4 => self.rows::<4>(rows),
                    3 => self.rows::<3>(rows),
                    2 => self.rows::<2>(rows),
                    _ => self.rows::<1>(rows),
                }
            }
        }

        /// # Safety
        /// As [`Tile::compute`], with `V` lanes.
        #[inline]
        #[target_feature(enable = "avx512f")]
        unsafe fn rows<const V: usize>(&self, rows: usize) {
            // SAFETY: as the caller's.
            unsafe {
                match rows {
                    6 => self.kernel::<6, V>(),
                    5 => self.kernel::<5, V>(),
                    4 => self.kernel::<4, V>(),
                    3 => self.kernel::<3, V>(),
                    2 => self.kernel::<2, V>(),
                    _ => self.kernel::<1, V>(),
                }
            }
        }

        /// # Safety
        /// As [`Tile::compute`], with `M` rows of `V` lanes.
        #[target_feature(enable = "avx512f")]
        unsafe fn kernel<const M: usize, const V: usize>(&self) {
            let [a_row, a_step, b_row, c_row] = self.strides;
            // SAFETY: all reads and writes are inside the rows and lanes the caller promised.
            unsafe {
                let mut sums = [[_mm512_setzero_ps(); V]; M];
                let (mut a, mut b) = (self.a, self.b);
                for _ in 0..self.depth {
                    let mut right = [_mm512_setzero_ps(); V];
                    for v in 0..V {
                        right[v] = _mm512_loadu_ps(b.add(16 * v));
                    }
                    for r in 0..M {
                        let left = _mm512_set1_ps(*a.add(r * a_row));
                        for v in 0..V {
                            sums[r][v] = _mm512_fmadd_ps(left, right[v], sums[r][v]);
                        }
                    }
                    a = a.wrapping_add(a_step);
                    b = b.wrapping_add(b_row);
                }
                for r in 0..M {
                    for v in 0..V {
                        let c = self.c.add(r * c_row + 16 * v);
                        let old = if self.accumulate { _mm512_loadu_ps(c) } else { _mm512_setzero_ps() };
                        _mm512_storeu_ps(c, _mm512_add_ps(sums[r][v], old));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    /// The definition, in f64.
    fn check<T: Real>(bound: f64) {
        for rows in [1, 2, 4, 5, 6, 7, 13] {
            for columns in [16, 32, 48, 64, 80] {
                for depth in [0, 1, 5, 48] {
                    // Strides beyond the sizes, both orders of `left`, untouched numbers around `c`.
                    let (a, b) = (noise::<T>(1, 20 * 60, 1.0), noise::<T>(2, 60 * 90, 1.0));
                    for (row_stride, col_stride) in [(60, 1), (1, 20)] {
                        for accumulate in [false, true] {
                            let mut c = noise::<T>(3, rows * 90, 1.0);
                            let old = c.clone();
                            let left = View { data: &a, row_stride, col_stride };
                            product((rows, columns, depth), left, (&b, 90), &mut c, 90, accumulate);
                            for (i, (&c, &old)) in c.iter().zip(&old).enumerate() {
                                let (row, column) = (i / 90, i % 90);
                                if column >= columns {
                                    assert_eq!(c, old);
                                    continue;
                                }
                                let mut want = if accumulate { T::to_f64(old) } else { 0.0 };
                                for p in 0..depth {
                                    let a: T = a[row * row_stride + p * col_stride];
                                    want += a.to_f64() * T::to_f64(b[p * 90 + column]);
                                }
                                assert!((c.to_f64() - want).abs() < bound, "{rows} {columns} {depth}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn products_are_the_definition() {
        check::<f64>(1e-13);
        check::<f32>(2e-5);
    }

    #[test]
    #[should_panic(expected = "leaves its slice")]
    fn a_short_factor_is_refused() {
        let left = View::row_major(&[1.0f32; 12], 6);
        product((2, 16, 6), left, (&[1.0; 95], 16), &mut [0.0; 32], 16, false);
    }
}

//! The gradients of the norms, in one pass over the rows.
//!
//! Definition:  with n = (x - mean) inverse and g = d_y gain:
//!              d_x = inverse (g - avg(g) - n avg(g n)), where without a mean (RMS norm) avg(g) is
//!              absent too; d_gain = sum of d_y n, d_shift = sum of d_y over the rows
//! Numerics:    rows are added in groups, so that the rounding error grows with the number of groups
//!              and nothing depends on threads

use super::{or_fill, row_count};
use crate::Real;
use crate::cpu::simd;
use crate::parallel::rows;
use crate::real::sum;

/// Rows whose gradients of gain and shift are summed together.
const GROUP: usize = 64;

/// Gradients of [`super::layer_norm_forward`]; every output is overwritten.
pub fn layer_norm_backward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    mean: &[T],
    inverse_deviation: &[T],
    d_y: &[T],
    d_x: &mut [T],
    d_gain: Option<&mut [T]>,
    d_shift: Option<&mut [T]>,
) {
    backward(x, width, gain, Some(mean), inverse_deviation, d_y, d_x, [d_gain, d_shift]);
}

/// Gradients of [`super::rms_norm_forward`]; every output is overwritten.
pub fn rms_norm_backward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    inverse_rms: &[T],
    d_y: &[T],
    d_x: &mut [T],
    d_gain: Option<&mut [T]>,
) {
    backward(x, width, gain, None, inverse_rms, d_y, d_x, [d_gain, None]);
}

fn backward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    mean: Option<&[T]>,
    inverse: &[T],
    d_y: &[T],
    d_x: &mut [T],
    sums: [Option<&mut [T]>; 2],
) {
    let count = row_count(x, width);
    assert_eq!((d_y.len(), d_x.len()), (x.len(), x.len()), "norm: gradients differ in length");
    assert!(inverse.len() == count && mean.is_none_or(|m| m.len() == count), "norm: one statistic a row");
    let gain = or_fill(gain, width, T::ONE);
    // Of every group: the sums for the gain, then those for the shift.
    let mut groups = vec![T::ZERO; count.div_ceil(GROUP) * 2 * width];
    let mut parts: Vec<_> = d_x.chunks_mut(GROUP * width).zip(groups.chunks_exact_mut(2 * width)).collect();
    rows(&mut parts, 1, 8 * GROUP * width, |first, parts| {
        simd(
            #[inline(always)]
            || {
                for (i, (d_x, sums)) in parts.iter_mut().enumerate() {
                    let start = (first + i) * GROUP;
                    for (j, d_x) in d_x.chunks_exact_mut(width).enumerate() {
                        let (row, at) = (start + j, (start + j) * width);
                        let row = Row { gain: &gain, centre: mean.map(|m| m[row]), inverse: inverse[row] };
                        row.pull_back(&x[at..at + width], &d_y[at..at + width], d_x, sums);
                    }
                }
            },
        )
    });
    for (i, out) in sums.into_iter().enumerate() {
        let Some(out) = out else { continue };
        assert_eq!(out.len(), width, "norm: gradient of gain or shift is not one row");
        out.fill(T::ZERO);
        for group in groups.chunks_exact(2 * width) {
            out.iter_mut().zip(&group[i * width..]).for_each(|(o, &s)| *o += s);
        }
    }
}

/// What the norm did to one row.
struct Row<'a, T> {
    gain: &'a [T],
    centre: Option<T>,
    inverse: T,
}

impl<T: Real> Row<'_, T> {
    /// Sets `d_x` and adds to `sums [2, D]`.
    #[inline(always)]
    fn pull_back(&self, x: &[T], d_y: &[T], d_x: &mut [T], sums: &mut [T]) {
        let (width, inverse) = (x.len(), self.inverse);
        let over_width = T::from_f64(1.0 / width as f64);
        let centre = self.centre.unwrap_or(T::ZERO);
        let (d_gain, d_shift) = sums.split_at_mut(width);
        let [mut all, mut along] = [[T::ZERO; 16]; 2]; // sums of g and of g n
        let (x16, x_rest) = x.as_chunks::<16>();
        let (d_y16, d_y_rest) = d_y.as_chunks::<16>();
        let (gain16, gain_rest) = self.gain.as_chunks::<16>();
        let (d_gain16, d_gain_rest) = d_gain.as_chunks_mut::<16>();
        let (d_shift16, d_shift_rest) = d_shift.as_chunks_mut::<16>();
        let wide = x16.iter().zip(d_y16).zip(gain16).zip(d_gain16).zip(d_shift16);
        for ((((x, d_y), gain), d_gain), d_shift) in wide {
            for j in 0..16 {
                let n = (x[j] - centre) * inverse;
                let g = d_y[j] * gain[j];
                all[j] += g;
                along[j] += g * n;
                d_gain[j] += d_y[j] * n;
                d_shift[j] += d_y[j];
            }
        }
        for (j, &x) in x_rest.iter().enumerate() {
            let (d_y, n) = (d_y_rest[j], (x - centre) * inverse);
            let g = d_y * gain_rest[j];
            all[j] += g;
            along[j] += g * n;
            d_gain_rest[j] += d_y * n;
            d_shift_rest[j] += d_y;
        }
        let average = if self.centre.is_some() { sum(&all) * over_width } else { T::ZERO };
        let slope = sum(&along) * over_width;
        for ((d_x, (&x, &d_y)), &gain) in d_x.iter_mut().zip(x.iter().zip(d_y)).zip(self.gain) {
            *d_x = inverse * (d_y * gain - average - (x - centre) * inverse * slope);
        }
    }
}

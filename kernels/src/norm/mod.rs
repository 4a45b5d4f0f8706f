//! Layer norm and RMS norm of rows.
//!
//! Definition:  layer norm: y = (x - mean) / sqrt(variance + eps) * gain + shift;
//!              RMS norm: y = x / sqrt(mean of x^2 + eps) * gain
//! Shapes:      x, y [N, D]; gain, shift [D]; mean, inverse deviation, inverse rms [N]
//! Numerics:    variance from centred values, and the mean corrected once, so that a constant row
//!              gives exactly the shift however large it is; a missing gain is 1, a missing shift 0
//! Reference:   Ba et al., Layer Normalization, 2016; Zhang, Sennrich, Root Mean Square Layer
//!              Normalization, 2019

mod backward;

use std::borrow::Cow;

use crate::Real;
use crate::cpu::simd;
use crate::parallel::rows2;
use crate::real::{dot, sum};

pub use backward::{layer_norm_backward, rms_norm_backward};

/// Layer norm; `mean` and `inverse_deviation` are kept for the backward pass.
pub fn layer_norm_forward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    shift: Option<&[T]>,
    eps: f64,
    y: &mut [T],
    mean: &mut [T],
    inverse_deviation: &mut [T],
) {
    let count = row_count(x, width);
    assert_eq!(y.len(), x.len(), "layer norm: input and output differ in length");
    assert_eq!((mean.len(), inverse_deviation.len()), (count, count), "layer norm: one mean a row");
    let (gain, shift) = (or_fill(gain, width, T::ONE), or_fill(shift, width, T::ZERO));
    let (over_width, eps) = (T::from_f64(1.0 / width as f64), T::from_f64(eps));
    let mut stats = vec![(T::ZERO, T::ZERO); count];
    rows2((y, width), (&mut stats, 1), 4 * width, |first, y, stats| {
        let x = &x[first * width..][..y.len()];
        simd(
            #[inline(always)]
            || {
                let all = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(stats);
                for ((x, y), stats) in all {
                    let rough = sum(x) * over_width;
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = x - rough;
                    }
                    let correction = sum(y) * over_width;
                    for y in y.iter_mut() {
                        *y -= correction;
                    }
                    let inverse = T::ONE / (dot(y, y) * over_width + eps).sqrt();
                    for ((y, &g), &s) in y.iter_mut().zip(&*gain).zip(&*shift) {
                        *y = *y * inverse * g + s;
                    }
                    *stats = (rough + correction, inverse);
                }
            },
        )
    });
    for (i, (m, inverse)) in stats.into_iter().enumerate() {
        mean[i] = m;
        inverse_deviation[i] = inverse;
    }
}

/// RMS norm; `inverse_rms` is kept for the backward pass.
pub fn rms_norm_forward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    eps: f64,
    y: &mut [T],
    inverse_rms: &mut [T],
) {
    let count = row_count(x, width);
    assert_eq!(y.len(), x.len(), "rms norm: input and output differ in length");
    assert_eq!(inverse_rms.len(), count, "rms norm: one inverse rms a row");
    let gain = or_fill(gain, width, T::ONE);
    let (over_width, eps) = (T::from_f64(1.0 / width as f64), T::from_f64(eps));
    rows2((y, width), (inverse_rms, 1), 2 * width, |first, y, inverse_rms| {
        let x = &x[first * width..][..y.len()];
        simd(
            #[inline(always)]
            || {
                let all = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse_rms);
                for ((x, y), inverse) in all {
                    let scale = T::ONE / (dot(x, x) * over_width + eps).sqrt();
                    for ((y, &x), &g) in y.iter_mut().zip(x).zip(&*gain) {
                        *y = x * scale * g;
                    }
                    *inverse = scale;
                }
            },
        )
    });
}

fn row_count<T>(x: &[T], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "norm: rows are not whole");
    x.len() / width
}

fn or_fill<T: Real>(values: Option<&[T]>, width: usize, missing: T) -> Cow<'_, [T]> {
    let values = values.map_or_else(|| Cow::Owned(vec![missing; width]), Cow::Borrowed);
    assert_eq!(values.len(), width, "norm: gain or shift is not one row");
    values
}

#[cfg(test)]
mod tests;

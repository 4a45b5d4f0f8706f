//! The softmax of one row of scores, and its gradient: where attention spends what products leave.
//!
//! Definition:  forward: p = e^(scale s - max);  backward: p = e^(scale s - lse),
//!              ds = scale p (ds - mean)
//! Numerics:    the same lanes of partial sums on every path; a row depends on nothing else

use crate::cpu::simd;
use crate::{Real, real};
#[cfg(target_arch = "x86_64")]
use crate::{cpu::Path, wide};

/// `row <- e^(scale row - max)`; the maximum of the scaled row and the sum of the result.
#[inline(always)]
pub(super) fn exponentials<T: Real>(row: &mut [T], scale: T) -> (T, T) {
    #[cfg(target_arch = "x86_64")]
    if Path::detect() == Path::Avx512
        && let Some(row) = T::as_f32_mut(row)
    {
        // SAFETY: the instructions are there.
        let (max, sum) = unsafe { wide_exponentials(row, scale.to_f64() as f32) };
        return (T::from_f64(f64::from(max)), T::from_f64(f64::from(sum)));
    }
    simd(
        #[inline(always)]
        || {
            for x in row.iter_mut() {
                *x *= scale;
            }
            let max = real::max(row);
            for x in row.iter_mut() {
                *x = (*x - max).exp();
            }
            (max, real::sum(row))
        },
    )
}

/// `row <- scale row + bias`
#[inline(always)]
pub(super) fn add_bias<T: Real>(row: &mut [T], scale: T, bias: &[T]) {
    simd(
        #[inline(always)]
        || {
            for (x, &b) in row.iter_mut().zip(bias) {
                *x = *x * scale + b;
            }
        },
    );
}

/// `p <- e^(scale p - lse)`, then `ds <- scale p (ds - mean)`.
#[inline(always)]
pub(super) fn slopes<T: Real>(p: &mut [T], ds: &mut [T], scale: T, lse: T, mean: T) {
    #[cfg(target_arch = "x86_64")]
    if Path::detect() == Path::Avx512
        && let (Some(p), Some(ds)) = (T::as_f32_mut(p), T::as_f32_mut(ds))
    {
        let [scale, lse, mean] = [scale, lse, mean].map(|x| x.to_f64() as f32);
        // SAFETY: the instructions are there.
        return unsafe { wide_slopes(p, ds, scale, lse, mean) };
    }
    simd(
        #[inline(always)]
        || {
            for (p, ds) in p.iter_mut().zip(ds.iter_mut()) {
                *p = (scale * *p - lse).exp();
                *ds = scale * *p * (*ds - mean);
            }
        },
    );
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn wide_exponentials(row: &mut [f32], scale: f32) -> (f32, f32) {
    use std::arch::x86_64::*;
    let (factor, lowest) = (_mm512_set1_ps(scale), _mm512_set1_ps(f32::NEG_INFINITY));
    let mut most = lowest;
    for i in (0..row.len()).step_by(16) {
        let mask = wide::first(row.len() - i);
        // SAFETY: the mask keeps the read inside the row.
        let x = unsafe { _mm512_maskz_loadu_ps(mask, row.as_ptr().add(i)) };
        most = _mm512_mask_max_ps(most, mask, most, _mm512_mul_ps(x, factor));
    }
    let max = _mm512_reduce_max_ps(most);
    let (shift, mut sums) = (_mm512_set1_ps(max), _mm512_setzero_ps());
    for i in (0..row.len()).step_by(16) {
        let mask = wide::first(row.len() - i);
        // SAFETY: the mask keeps both accesses inside the row.
        unsafe {
            let at = row.as_mut_ptr().add(i);
            let x = _mm512_maskz_loadu_ps(mask, at);
            // The product is rounded as it was for the maximum, so that its exponential is 1.
            let p = wide::exp(_mm512_sub_ps(_mm512_mul_ps(x, factor), shift));
            _mm512_mask_storeu_ps(at, mask, p);
            sums = _mm512_mask_add_ps(sums, mask, sums, p);
        }
    }
    (max, _mm512_reduce_add_ps(sums))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn wide_slopes(p: &mut [f32], ds: &mut [f32], scale: f32, lse: f32, mean: f32) {
    use std::arch::x86_64::*;
    assert_eq!(p.len(), ds.len(), "attention: rows differ in length");
    let [scale, lse, mean] = [scale, lse, mean].map(|x| _mm512_set1_ps(x));
    for i in (0..p.len()).step_by(16) {
        let mask = wide::first(p.len() - i);
        // SAFETY: the mask keeps the accesses inside the two rows of one length.
        unsafe {
            let (p, ds) = (p.as_mut_ptr().add(i), ds.as_mut_ptr().add(i));
            let x = wide::exp(_mm512_fmsub_ps(scale, _mm512_maskz_loadu_ps(mask, p), lse));
            let d = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, ds), mean);
            _mm512_mask_storeu_ps(p, mask, x);
            _mm512_mask_storeu_ps(ds, mask, _mm512_mul_ps(_mm512_mul_ps(scale, x), d));
        }
    }
}

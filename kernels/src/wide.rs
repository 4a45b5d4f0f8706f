//! Transcendental functions on 16 floats at once, for the loops where a layer spends its time.
//!
//! Definition:  as [`Real`](crate::Real) for `f32`, with fused multiply-adds
//! Numerics:    exp: 2 ulp, 0 below -87.3, infinity above 88.7; the normal distribution function:
//!              absolute error below 1.2e-7 (P and Q of degree 5, fitted by reweighted least squares
//!              to the largest error of GELU); NaN stays NaN
//! Cost:        about 15 instructions for `exp`, 20 for the distribution function
//! Reference:   coefficients of exp: Cephes expf

use std::arch::x86_64::*;

/// `e^x`
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn exp(x: __m512) -> __m512 {
    let c = |value: f32| _mm512_set1_ps(value);
    // The second operand comes back when one is NaN.
    let bounded = _mm512_max_ps(c(-104.0), _mm512_min_ps(c(89.0), x));
    let n = _mm512_roundscale_ps::<0>(_mm512_mul_ps(bounded, c(std::f32::consts::LOG2_E)));
    let r = _mm512_fnmadd_ps(n, c(0.693_359_4), bounded);
    let r = _mm512_fmadd_ps(n, c(2.121_944_4e-4), r);
    let p = c(1.987_569_1e-4);
    let p = _mm512_fmadd_ps(p, r, c(1.398_199_9e-3));
    let p = _mm512_fmadd_ps(p, r, c(8.333_452e-3));
    let p = _mm512_fmadd_ps(p, r, c(4.166_579_6e-2));
    let p = _mm512_fmadd_ps(p, r, c(1.666_666_6e-1));
    let p = _mm512_fmadd_ps(p, r, c(5e-1));
    let p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, _mm512_add_ps(r, c(1.0)));
    let normal = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, c(-87.3));
    _mm512_maskz_scalef_ps(normal, p, n)
}

/// `x Phi(x)`
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn gelu(x: __m512) -> __m512 {
    _mm512_mul_ps(x, normal_cdf(x))
}

/// `Phi(x) + x phi(x)`
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn gelu_derivative(x: __m512) -> __m512 {
    _mm512_fmadd_ps(x, normal_density(x), normal_cdf(x))
}

/// `y[i] = gelu(x[i])` and `d_y[i] *= gelu'(x[i])`, with one distribution function for both.
#[target_feature(enable = "avx512f")]
pub(crate) fn gelu_replay(x: &[f32], y: &mut [f32], d_y: &mut [f32]) {
    assert_eq!((x.len(), d_y.len()), (y.len(), y.len()), "wide: lengths differ");
    for i in (0..x.len()).step_by(16) {
        let mask = first(x.len() - i);
        // SAFETY: the mask keeps the accesses inside the three slices of one length.
        unsafe {
            let (y, d_y) = (y.as_mut_ptr().add(i), d_y.as_mut_ptr().add(i));
            let x = _mm512_maskz_loadu_ps(mask, x.as_ptr().add(i));
            let phi = normal_cdf(x);
            _mm512_mask_storeu_ps(y, mask, _mm512_mul_ps(x, phi));
            let slope = _mm512_fmadd_ps(x, normal_density(x), phi);
            _mm512_mask_storeu_ps(d_y, mask, _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, d_y), slope));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn normal_density(x: __m512) -> __m512 {
    let density = exp(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-0.5)));
    _mm512_mul_ps(density, _mm512_set1_ps(0.398_942_3)) // 1 / sqrt(2 pi)
}

/// `Phi(x) = 1/2 + x P(x^2) / Q(x^2)` up to where it is 0 or 1 to the last bit but one.
#[inline]
#[target_feature(enable = "avx512f")]
fn normal_cdf(x: __m512) -> __m512 {
    const LIMIT: f32 = 5.3;
    const P: [f32; 6] = [0.398_942_2, 0.033_697_475, 0.004_674_907, 1.681_680_3e-4, 6.436_65e-6, 2.345_59e-8];
    const Q: [f32; 6] = [1.0, 0.251_132_58, 0.028_575_568, 1.880_532_5e-3, 7.389_561_5e-5, 1.224_213_2e-6];
    let (limit, low) = (_mm512_set1_ps(LIMIT), _mm512_set1_ps(-LIMIT));
    let u = _mm512_mul_ps(x, x);
    let horner = |c: [f32; 6]| {
        let mut sum = _mm512_set1_ps(c[5]);
        for i in (0..5).rev() {
            sum = _mm512_fmadd_ps(sum, u, _mm512_set1_ps(c[i]));
        }
        sum
    };
    let (p, q) = (horner(P), horner(Q));
    // 14 bits of 1 / q, doubled by a step of Newton.
    let near = _mm512_rcp14_ps(q);
    let inverse = _mm512_mul_ps(near, _mm512_fnmadd_ps(q, near, _mm512_set1_ps(2.0)));
    let phi = _mm512_fmadd_ps(x, _mm512_mul_ps(p, inverse), _mm512_set1_ps(0.5));
    // NaN is on neither side.
    let phi = _mm512_mask_mov_ps(phi, _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, limit), _mm512_set1_ps(1.0));
    _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, low), phi)
}

/// The mask of the `count` first of 16 elements.
#[inline(always)]
pub(crate) fn first(count: usize) -> __mmask16 {
    if count >= 16 { 0xffff } else { (1u16 << count) - 1 }
}

/// The sum of squares, in f64: element `i` in lane `i % 32`.
#[target_feature(enable = "avx512f")]
pub(crate) fn squares(xs: &[f32]) -> f64 {
    let mut sums = [_mm512_setzero_pd(); 4];
    for at in (0..xs.len()).step_by(32) {
        for half in 0..2 {
            let left = xs.len().saturating_sub(at + 16 * half);
            // SAFETY: the mask keeps the read inside `xs`.
            let x = unsafe { _mm512_maskz_loadu_ps(first(left), xs.as_ptr().wrapping_add(at + 16 * half)) };
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
            let high = _mm512_cvtps_pd(_mm512_castps512_ps256(_mm512_shuffle_f32x4::<0x0e>(x, x)));
            sums[2 * half] = _mm512_fmadd_pd(low, low, sums[2 * half]);
            sums[2 * half + 1] = _mm512_fmadd_pd(high, high, sums[2 * half + 1]);
        }
    }
    let pairs = _mm512_add_pd(_mm512_add_pd(sums[0], sums[1]), _mm512_add_pd(sums[2], sums[3]));
    _mm512_reduce_add_pd(pairs)
}

/// `y[i] = gelu(y[i])`
#[target_feature(enable = "avx512f")]
pub(crate) fn gelu_all(y: &mut [f32]) {
    map_in_place(y, |y| gelu(y));
}

/// `y[i] = f(y[i])`
///
/// The function must be one of this module, called in a closure of the same instruction set.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn map_in_place(y: &mut [f32], f: impl Fn(__m512) -> __m512) {
    for i in (0..y.len()).step_by(16) {
        let mask = first(y.len() - i);
        // SAFETY: the mask keeps both accesses inside `y`.
        unsafe {
            let at = y.as_mut_ptr().add(i);
            _mm512_mask_storeu_ps(at, mask, f(_mm512_maskz_loadu_ps(mask, at)));
        }
    }
}

/// `y[i] = f(a[i], b[i])`; all of one length.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn map2(a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(__m512, __m512) -> __m512) {
    assert_eq!((a.len(), b.len()), (y.len(), y.len()), "wide: lengths differ");
    for i in (0..y.len()).step_by(16) {
        let mask = first(y.len() - i);
        // SAFETY: the mask keeps the accesses inside the three slices of one length.
        unsafe {
            let (a, b) = (a.as_ptr().add(i), b.as_ptr().add(i));
            let z = f(_mm512_maskz_loadu_ps(mask, a), _mm512_maskz_loadu_ps(mask, b));
            _mm512_mask_storeu_ps(y.as_mut_ptr().add(i), mask, z);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Path;

    /// `f` on a slice; nothing on machines without the instructions.
    fn run(x: &[f32], f: fn(&mut [f32])) -> Option<Vec<f32>> {
        (Path::detect() == Path::Avx512).then(|| {
            let mut y = x.to_vec();
            f(&mut y);
            y
        })
    }

    fn grid() -> Vec<f32> {
        (-120_003..120_000).map(|i| i as f32 * 1e-3 * 0.87).collect()
    }

    #[test]
    fn exp_is_within_two_ulp_and_its_ends_are_exact() {
        // SAFETY: `run` asks for the instructions first.
        let f = |y: &mut [f32]| unsafe { map_in_place(y, |x| exp(x)) };
        let mut x: Vec<f32> = grid().into_iter().filter(|x| (-87.0..88.0).contains(x)).collect();
        let count = x.len();
        x.extend([-1e4, 1e4, f32::NEG_INFINITY, f32::INFINITY, 0.0, f32::NAN, -100.0]);
        let Some(y) = run(&x, f) else { return };
        for (x, y) in x[..count].iter().zip(&y) {
            let want = f64::exp(f64::from(*x));
            assert!((f64::from(*y) / want - 1.0).abs() < 2.4e-7, "exp({x}) = {y}, want {want}");
        }
        assert_eq!(y[count..count + 5], [0.0, f32::INFINITY, 0.0, f32::INFINITY, 1.0]);
        assert!(y[count + 5].is_nan() && y[count + 6] == 0.0);
    }

    #[test]
    fn gelu_and_its_derivative_are_the_formulas() {
        let x: Vec<f32> = grid().into_iter().map(|x| x * 0.1).chain([1e4, -1e4, f32::NAN]).collect();
        // SAFETY: `run` asks for the instructions first.
        let value = |y: &mut [f32]| unsafe { map_in_place(y, |x| gelu(x)) };
        // SAFETY: as above.
        let slope = |y: &mut [f32]| unsafe { map_in_place(y, |x| gelu_derivative(x)) };
        let (Some(y), Some(d)) = (run(&x, value), run(&x, slope)) else { return };
        let count = x.len() - 3;
        for i in 0..count {
            let t = f64::from(x[i]);
            let phi = 0.5 * libm::erfc(-t / 2f64.sqrt());
            let density = (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((f64::from(y[i]) - t * phi).abs() < 1e-6, "gelu({t}) = {}", y[i]);
            assert!((f64::from(d[i]) - phi - t * density).abs() < 1e-6, "gelu'({t}) = {}", d[i]);
        }
        assert_eq!((y[count], y[count + 1], d[count], d[count + 1]), (1e4, 0.0, 1.0, 0.0));
        assert!(y[count + 2].is_nan() && d[count + 2].is_nan());
    }
}

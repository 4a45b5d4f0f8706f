//! Transcendental functions on 16 floats at once, for the loops where a layer spends its time.
//!
//! Definition:  as [`Real`](crate::Real) for `f32`, with fused multiply-adds
//! Numerics:    exp: 2 ulp, 0 below -87.3, infinity above 88.7; erf: absolute error below 2e-7; NaN
//!              stays NaN
//! Cost:        about 12 instructions for `exp`, 30 for `erf`
//! Reference:   coefficients of exp: Cephes expf; of erf: after N. Juffa's erff

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

/// The error function.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn erf(x: __m512) -> __m512 {
    let c = |value: f32| _mm512_set1_ps(value);
    let a = _mm512_abs_ps(x);
    // Away from 0: 1 - e^p(|x|).
    let t = _mm512_min_ps(c(4.0), a);
    let z = _mm512_mul_ps(t, t);
    let high = _mm512_fmadd_ps(c(-1.728_534_7e-5), t, c(3.831_971_3e-4));
    let low = _mm512_fmadd_ps(c(-3.883_964_4e-3), t, c(2.425_462_2e-2));
    let p = _mm512_fmadd_ps(high, z, low);
    let p = _mm512_fmadd_ps(p, t, c(-1.067_778_8e-1));
    let p = _mm512_fmadd_ps(p, t, c(-6.348_467e-1));
    let p = _mm512_fmadd_ps(p, t, c(-1.287_175_1e-1));
    let far = _mm512_sub_ps(c(1.0), exp(_mm512_fmsub_ps(p, t, t)));
    let sign = _mm512_castps_si512(and_bits(x, 0x8000_0000));
    let far = _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(far), sign));
    // Near 0: an odd polynomial.
    let z = _mm512_mul_ps(x, x);
    let q = c(-5.967_617e-4);
    let q = _mm512_fmadd_ps(q, z, c(4.991_194_2e-3));
    let q = _mm512_fmadd_ps(q, z, c(-2.676_813_5e-2));
    let q = _mm512_fmadd_ps(q, z, c(1.128_199_25e-1));
    let q = _mm512_fmadd_ps(q, z, c(-3.761_253_4e-1));
    let q = _mm512_fmadd_ps(q, z, c(1.283_791_7e-1));
    let near = _mm512_fmadd_ps(q, x, x);
    _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, c(0.927_734_4)), far, near)
}

/// The bits of `x` under a mask (the float `and` of the instruction set needs more than AVX-512F).
#[inline]
#[target_feature(enable = "avx512f")]
fn and_bits(x: __m512, bits: u32) -> __m512 {
    _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(bits.cast_signed())))
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

#[inline]
#[target_feature(enable = "avx512f")]
fn normal_cdf(x: __m512) -> __m512 {
    let half = _mm512_set1_ps(0.5);
    let e = erf(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::FRAC_1_SQRT_2)));
    _mm512_fmadd_ps(half, e, half)
}

/// The mask of the `count` first of 16 elements.
#[inline(always)]
pub(crate) fn first(count: usize) -> __mmask16 {
    if count >= 16 { 0xffff } else { (1u16 << count) - 1 }
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

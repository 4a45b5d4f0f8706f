//! The two number types of the kernels: `f32` (fast approximations that vectorise) and `f64`
//! (exact library functions, for gradient checks and golden vectors).

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// A floating-point type the kernels run on. Sealed: `f32` and `f64`.
pub trait Real:
    Copy
    + Default
    + Debug
    + Display
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + sealed::Sealed
    + 'static
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Negative infinity.
    const NEG_INFINITY: Self;
    /// Converts, rounding.
    fn from_f64(x: f64) -> Self;
    /// Converts, exactly.
    fn to_f64(self) -> f64;
    /// The larger; the other one if one is NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller; the other one if one is NaN.
    fn min(self, other: Self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// `e^x`. In `f32`: 2 ulp, 0 below -87.3, infinity above 88.7.
    fn exp(self) -> Self;
    /// Natural logarithm (library function in both types).
    fn ln(self) -> Self;
    /// `ln(1 + x)` (library function in both types).
    fn ln_1p(self) -> Self;
    /// Hyperbolic tangent. In `f32`: absolute error below 2e-7.
    fn tanh(self) -> Self;
    /// Error function. In `f32`: absolute error below 2e-7.
    fn erf(self) -> Self;
    /// Logistic function `1 / (1 + e^-x)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        // e^-|x| never overflows, and both branches are exact where the other one is used.
        let e = (-self.abs()).exp();
        let small = e / (Self::ONE + e);
        if self >= Self::ZERO { Self::ONE - small } else { small }
    }
    /// This slice as `f32`, when it is one: the door to `f32`-only instructions.
    fn as_f32(xs: &[Self]) -> Option<&[f32]>;
    /// As [`Real::as_f32`], mutable.
    fn as_f32_mut(xs: &mut [Self]) -> Option<&mut [f32]>;
    /// This slice as `f64`, when it is one.
    fn as_f64(xs: &[Self]) -> Option<&[f64]>;
    /// As [`Real::as_f64`], mutable.
    fn as_f64_mut(xs: &mut [Self]) -> Option<&mut [f64]>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        f32::max(self, other)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        f32::min(self, other)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts keeps r exact. Adding 1.5 * 2^23
        // rounds to the nearest integer and leaves it in the low bits. Coefficients: minimax on
        // that interval (Cephes expf).
        const ROUND: f32 = 12_582_912.0;
        let x = if self > 89.0 { 89.0 } else { self }; // keeps NaN
        let x = if x < -104.0 { -104.0 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
        let p = 1.987_569_1e-4f32;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_6e-1;
        let p = p * r + 5e-1;
        let p = p * r * r + r + 1.0;
        // 2^n in two halves, so that n = 128 and n = -127 do not leave the exponent's range.
        let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        let half = n >> 1;
        let scale_a = f32::from_bits(((half + 127) as u32) << 23);
        let scale_b = f32::from_bits(((n - half + 127) as u32) << 23);
        let y = p * scale_a * scale_b;
        if x < -87.3 { 0.0 } else { y }
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        f32::ln_1p(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        // Near 0 the quotient loses digits, there an odd polynomial (Cephes tanhf) is used.
        let a = f32::abs(self);
        let z = self * self;
        let p = -5.704_988_7e-3f32;
        let p = p * z + 2.063_909e-2;
        let p = p * z - 5.373_971_6e-2;
        let p = p * z + 1.333_144_2e-1;
        let p = p * z - 3.333_328e-1;
        let near = p * z * self + self;
        let e = Real::exp(-2.0 * a);
        let far = ((1.0 - e) / (1.0 + e)).copysign(self);
        if a < 0.625 { near } else { far }
    }
    #[inline(always)]
    fn erf(self) -> Self {
        // Two minimax polynomials: erf itself near 0, ln(1 - erf) elsewhere (after N. Juffa's erff).
        let a = f32::abs(self);
        let t = if a > 4.0 { 4.0 } else { a };
        let z = t * t;
        let p = (-1.728_534_7e-5f32 * t + 3.831_971_3e-4) * z + (-3.883_964_4e-3 * t + 2.425_462_2e-2);
        let p = p * t - 1.067_778_8e-1;
        let p = p * t - 6.348_467e-1;
        let p = p * t - 1.287_175_1e-1;
        let far = (1.0 - Real::exp(p * t - t)).copysign(self);
        let q = -5.967_617e-4f32;
        let q = q * z + 4.991_194_2e-3;
        let q = q * z - 2.676_813_5e-2;
        let q = q * z + 1.128_199_25e-1;
        let q = q * z - 3.761_253_4e-1;
        let q = q * z + 1.283_791_7e-1;
        let near = q * self + self;
        if a < 0.927_734_4 { near } else { far }
    }
    #[inline(always)]
    fn as_f32(xs: &[Self]) -> Option<&[f32]> {
        Some(xs)
    }
    #[inline(always)]
    fn as_f32_mut(xs: &mut [Self]) -> Option<&mut [f32]> {
        Some(xs)
    }
    #[inline(always)]
    fn as_f64(_: &[Self]) -> Option<&[f64]> {
        None
    }
    #[inline(always)]
    fn as_f64_mut(_: &mut [Self]) -> Option<&mut [f64]> {
        None
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        f64::max(self, other)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        f64::min(self, other)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    fn erf(self) -> Self {
        libm::erf(self)
    }
    #[inline(always)]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }
    #[inline(always)]
    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
    #[inline(always)]
    fn as_f64(xs: &[Self]) -> Option<&[f64]> {
        Some(xs)
    }
    #[inline(always)]
    fn as_f64_mut(xs: &mut [Self]) -> Option<&mut [f64]> {
        Some(xs)
    }
}

/// The sum, with 16 running partial sums so that it vectorises; the order is fixed.
#[inline(always)]
pub fn sum<T: Real>(xs: &[T]) -> T {
    let mut lanes = [T::ZERO; 16];
    let chunks = xs.chunks_exact(16);
    let rest = chunks.remainder();
    for c in chunks {
        for i in 0..16 {
            lanes[i] += c[i];
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    fold(lanes)
}

/// The inner product, with 16 running partial sums; the order is fixed.
#[inline(always)]
pub fn dot<T: Real>(xs: &[T], ys: &[T]) -> T {
    let mut lanes = [T::ZERO; 16];
    let (cx, cy) = (xs.chunks_exact(16), ys.chunks_exact(16));
    let (rx, ry) = (cx.remainder(), cy.remainder());
    for (x, y) in cx.zip(cy) {
        for i in 0..16 {
            lanes[i] += x[i] * y[i];
        }
    }
    for (lane, (&x, &y)) in lanes.iter_mut().zip(rx.iter().zip(ry)) {
        *lane += x * y;
    }
    fold(lanes)
}

/// The largest element, `-inf` for none.
#[inline(always)]
pub fn max<T: Real>(xs: &[T]) -> T {
    let mut lanes = [T::NEG_INFINITY; 16];
    let chunks = xs.chunks_exact(16);
    let rest = chunks.remainder();
    for c in chunks {
        for i in 0..16 {
            lanes[i] = if c[i] > lanes[i] { c[i] } else { lanes[i] };
        }
    }
    rest.iter().chain(&lanes).fold(T::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

#[inline(always)]
fn fold<T: Real>(mut lanes: [T; 16]) -> T {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> impl Iterator<Item = f32> {
        (-120_000..120_000).map(|i| i as f32 * 1e-3 * 0.87)
    }

    #[test]
    fn exp_is_within_two_ulp() {
        for x in grid().filter(|x| (-87.0..88.0).contains(x)) {
            let want = f64::exp(f64::from(x));
            let got = f64::from(Real::exp(x));
            assert!((got / want - 1.0).abs() < 2.4e-7, "exp({x}) = {got}, want {want}");
        }
        assert_eq!(Real::exp(-1e4f32), 0.0);
        assert_eq!(Real::exp(1e4f32), f32::INFINITY);
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Real::exp(0f32), 1.0);
        assert!(Real::exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_and_erf_and_sigmoid_are_close() {
        for x in grid().map(|x| x * 0.1) {
            let y = f64::from(x);
            assert!((f64::from(Real::tanh(x)) - y.tanh()).abs() < 2e-7, "tanh({x})");
            assert!((f64::from(Real::erf(x)) - libm::erf(y)).abs() < 3e-7, "erf({x})");
            assert!((f64::from(x.sigmoid()) - 1.0 / (1.0 + (-y).exp())).abs() < 2e-7, "sigmoid({x})");
        }
        assert_eq!((Real::tanh(1e4f32), Real::erf(-1e4f32), (-1e4f32).sigmoid()), (1.0, -1.0, 0.0));
    }

    #[test]
    fn reductions_agree_with_plain_loops() {
        for n in [0, 1, 15, 16, 17, 100] {
            let xs: Vec<f64> = (0..n).map(|i| ((i * 37) % 11) as f64 - 5.0).collect();
            assert_eq!(sum(&xs), xs.iter().sum::<f64>());
            assert_eq!(dot(&xs, &xs), xs.iter().map(|x| x * x).sum::<f64>());
            assert_eq!(max(&xs), xs.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }
    }
}

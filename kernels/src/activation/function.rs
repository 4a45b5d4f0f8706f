//! The functions and their derivatives, of one number and of a slice.

use crate::Real;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Path;
use crate::cpu::simd;
#[cfg(target_arch = "x86_64")]
use crate::wide;

/// The non-linearity of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`, with derivative 0 at 0.
    Relu,
    /// `max(x, 0)^2`
    ReluSquared,
    /// `x Phi(x)` with the normal distribution function, by `erf`.
    Gelu,
    /// The approximation of `Gelu` by `tanh`, as in the original BERT and GPT code.
    GeluTanh,
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
}

const SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const CUBIC: f64 = 0.044_715;

impl Activation {
    /// The value at `x`.
    #[inline(always)]
    pub fn apply<T: Real>(self, x: T) -> T {
        match self {
            Self::Relu => {
                if x < T::ZERO {
                    T::ZERO // and NaN stays NaN
                } else {
                    x
                }
            }
            Self::ReluSquared => {
                if x < T::ZERO {
                    T::ZERO
                } else {
                    x * x
                }
            }
            Self::Gelu => x * normal_cdf(x),
            Self::GeluTanh => {
                let half = T::from_f64(0.5);
                half * x * (T::ONE + cubic(x).tanh())
            }
            Self::Silu => x * x.sigmoid(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
        }
    }

    /// The derivative at `x`, the input of [`Activation::apply`].
    #[inline(always)]
    pub fn derivative<T: Real>(self, x: T) -> T {
        match self {
            Self::Relu => {
                if x > T::ZERO {
                    T::ONE
                } else {
                    T::ZERO
                }
            }
            Self::ReluSquared => {
                if x > T::ZERO {
                    x + x
                } else {
                    T::ZERO
                }
            }
            Self::Gelu => {
                let root = T::from_f64(0.5 * SQRT_2_OVER_PI); // 1 / sqrt(2 pi)
                let density = root * (T::from_f64(-0.5) * x * x).exp();
                normal_cdf(x) + x * density
            }
            Self::GeluTanh => {
                let half = T::from_f64(0.5);
                let t = cubic(x).tanh();
                let slope = T::from_f64(SQRT_2_OVER_PI) + T::from_f64(3.0 * CUBIC * SQRT_2_OVER_PI) * x * x;
                half * (T::ONE + t) + half * x * (T::ONE - t * t) * slope
            }
            Self::Silu => {
                let s = x.sigmoid();
                s * (T::ONE + x * (T::ONE - s))
            }
            Self::Tanh => {
                let t = x.tanh();
                T::ONE - t * t
            }
            Self::Sigmoid => {
                let s = x.sigmoid();
                s * (T::ONE - s)
            }
        }
    }

    /// `y[i] = f(y[i])`
    #[inline(always)]
    pub(crate) fn apply_all<T: Real>(self, y: &mut [T]) {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Gelu
            && Path::detect() == Path::Avx512
            && let Some(y) = T::as_f32_mut(y)
        {
            // SAFETY: the instructions are there.
            return unsafe { wide::gelu_all(y) };
        }
        simd(
            #[inline(always)]
            || {
                self.specialise(
                    #[inline(always)]
                    |f| {
                        for y in y.iter_mut() {
                            *y = f.apply(*y);
                        }
                    },
                );
            },
        );
    }

    /// `d_x[i] = d_y[i] f'(x[i])`; all of one length.
    #[inline(always)]
    pub(crate) fn pull_back<T: Real>(self, x: &[T], d_y: &[T], d_x: &mut [T]) {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Gelu
            && Path::detect() == Path::Avx512
            && let (Some(x), Some(d_y)) = (T::as_f32(x), T::as_f32(d_y))
            && let Some(d_x) = T::as_f32_mut(d_x)
        {
            // SAFETY: the instructions are there.
            return unsafe { wide_gelu_backward(x, d_y, d_x) };
        }
        simd(
            #[inline(always)]
            || {
                self.specialise(
                    #[inline(always)]
                    |f| {
                        for ((d_x, &x), &d_y) in d_x.iter_mut().zip(x).zip(d_y) {
                            *d_x = d_y * f.derivative(x);
                        }
                    },
                );
            },
        );
    }

    /// `y[i] = f(x[i])` and `d_y[i] *= f'(x[i])`; all of one length.
    pub(crate) fn replay_part<T: Real>(self, x: &[T], y: &mut [T], d_y: &mut [T]) {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Gelu
            && Path::detect() == Path::Avx512
            && let (Some(x), Some(y)) = (T::as_f32(x), T::as_f32_mut(y))
            && let Some(d_y) = T::as_f32_mut(d_y)
        {
            // SAFETY: the instructions are there.
            return unsafe { wide::gelu_replay(x, y, d_y) };
        }
        y.copy_from_slice(x);
        self.apply_all(y);
        simd(
            #[inline(always)]
            || {
                self.specialise(
                    #[inline(always)]
                    |f| {
                        for (d_y, &x) in d_y.iter_mut().zip(x) {
                            *d_y *= f.derivative(x);
                        }
                    },
                );
            },
        );
    }

    /// Runs `work` with `self` as a constant of the compiler, so that its loop has no branches.
    #[inline(always)]
    pub(crate) fn specialise(self, work: impl FnOnce(Self)) {
        match self {
            Self::Relu => work(Self::Relu),
            Self::ReluSquared => work(Self::ReluSquared),
            Self::Gelu => work(Self::Gelu),
            Self::GeluTanh => work(Self::GeluTanh),
            Self::Silu => work(Self::Silu),
            Self::Tanh => work(Self::Tanh),
            Self::Sigmoid => work(Self::Sigmoid),
        }
    }
}

#[inline(always)]
fn normal_cdf<T: Real>(x: T) -> T {
    let half = T::from_f64(0.5);
    half + half * (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf()
}

#[inline(always)]
fn cubic<T: Real>(x: T) -> T {
    T::from_f64(SQRT_2_OVER_PI) * (x + T::from_f64(CUBIC) * x * x * x)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn wide_gelu_backward(x: &[f32], d_y: &[f32], d_x: &mut [f32]) {
    wide::map2(x, d_y, d_x, |x, d_y| std::arch::x86_64::_mm512_mul_ps(d_y, wide::gelu_derivative(x)));
}

//! Functions of one element: all elementary. Cost O(elements).

use bert4rs_kernels::{Real, cpu::simd, parallel};

use crate::buffer::{Buffer, Pooled, unset};
use crate::gradient::Step;
use crate::storage::Storage;
use crate::{Element, Error, Result, Tensor};

impl Tensor {
    /// `-x`
    pub fn neg(&self) -> Result<Tensor> {
        unary("neg", self, |x| -x, |x| -x, |s| s.grad.neg())
    }

    /// `x^2`
    pub fn square(&self) -> Result<Tensor> {
        self.mul(self)
    }

    /// `x^exponent` for a constant exponent; the gradient at 0 is 0 for exponents above 1.
    pub fn powf(&self, exponent: f64) -> Result<Tensor> {
        unary(
            "powf",
            self,
            move |x| x.powf(exponent as f32),
            move |x| x.powf(exponent),
            move |s| {
                if exponent == 0.0 {
                    return Ok(s.grad.zeros_like());
                }
                s.grad.mul(&s.inputs[0].powf(exponent - 1.0)?.mul_scalar(exponent)?)
            },
        )
    }

    /// Square root.
    pub fn sqrt(&self) -> Result<Tensor> {
        unary("sqrt", self, f32::sqrt, f64::sqrt, |s| s.grad.div(&s.output.mul_scalar(2.0)?))
    }

    /// `e^x`
    pub fn exp(&self) -> Result<Tensor> {
        unary("exp", self, Real::exp, Real::exp, |s| s.grad.mul(&s.output))
    }

    /// Natural logarithm.
    pub fn ln(&self) -> Result<Tensor> {
        unary("ln", self, f32::ln, f64::ln, |s| s.grad.div(&s.inputs[0]))
    }

    /// Sine.
    pub fn sin(&self) -> Result<Tensor> {
        unary("sin", self, f32::sin, f64::sin, |s| s.grad.mul(&s.inputs[0].cos()?))
    }

    /// Cosine.
    pub fn cos(&self) -> Result<Tensor> {
        unary("cos", self, f32::cos, f64::cos, |s| s.grad.mul(&s.inputs[0].sin()?.neg()?))
    }

    /// Absolute value; the gradient at 0 is 0.
    pub fn abs(&self) -> Result<Tensor> {
        unary("abs", self, f32::abs, f64::abs, |s| s.grad.mul(&s.inputs[0].detach().sign()?))
    }

    /// -1, 0 or 1; no gradient.
    pub fn sign(&self) -> Result<Tensor> {
        self.refuse_gradient("sign")?;
        let rule = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
        unary("sign", self, move |x| rule(f64::from(x)) as f32, rule, |s| Ok(s.grad.zeros_like()))
    }

    /// Error function.
    pub fn erf(&self) -> Result<Tensor> {
        unary("erf", self, Real::erf, Real::erf, |s| {
            let bell = s.inputs[0].square()?.neg()?.exp()?.mul_scalar(std::f64::consts::FRAC_2_SQRT_PI)?;
            s.grad.mul(&bell)
        })
    }

    /// Hyperbolic tangent.
    pub fn tanh(&self) -> Result<Tensor> {
        unary("tanh", self, Real::tanh, Real::tanh, |s| {
            s.grad.mul(&s.output.square()?.neg()?.add_scalar(1.0)?)
        })
    }

    /// Logistic function.
    pub fn sigmoid(&self) -> Result<Tensor> {
        unary("sigmoid", self, Real::sigmoid, Real::sigmoid, |s| {
            s.grad.mul(&s.output.sub(&s.output.square()?)?)
        })
    }

    /// `ln(1 + e^x)`, finite for every finite x.
    pub fn softplus(&self) -> Result<Tensor> {
        fn rule<T: Real>(x: T) -> T {
            x.max(T::ZERO) + (-x.abs()).exp().ln_1p()
        }
        unary("softplus", self, rule, rule, |s| s.grad.mul(&s.inputs[0].sigmoid()?))
    }

    /// `max(x, slope * x)`; slope 0 is the rectifier. The gradient at 0 is the slope.
    pub fn leaky_relu(&self, slope: f64) -> Result<Tensor> {
        let single = slope as f32;
        let rule32 = move |x: f32| if x > 0.0 { x } else { single * x };
        let rule64 = move |x: f64| if x > 0.0 { x } else { slope * x };
        unary("leaky_relu", self, rule32, rule64, move |s| {
            let zero = Tensor::scalar(0.0, s.grad.dtype());
            let positive = s.inputs[0].detach().greater(&zero)?;
            Tensor::select(&positive, &s.grad, &s.grad.mul_scalar(slope)?)
        })
    }

    /// The derivative never passes through: the value as a constant.
    pub fn stop_gradient(&self) -> Tensor {
        self.detach()
    }
}

pub(super) fn unary(
    op: &'static str,
    x: &Tensor,
    f32_rule: impl Fn(f32) -> f32 + Sync + Send,
    f64_rule: impl Fn(f64) -> f64 + Sync + Send,
    backward: impl Fn(&Step) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let storage = match x.storage() {
        Storage::F32(v) => Storage::from(map(v, f32_rule)),
        Storage::F64(v) => Storage::from(map(v, f64_rule)),
        Storage::I64(_) => {
            return Err(Error::DType { op, expected: "a floating-point tensor", got: x.dtype() });
        }
    };
    Ok(Tensor::made(op, false, storage, x.shape().to_vec(), &[x], move |step| {
        Ok(vec![Some(backward(step)?)])
    }))
}

fn map<T: Element + Pooled>(x: &[T], f: impl Fn(T) -> T + Sync) -> Buffer<T> {
    let mut out = unset::<T>(x.len());
    parallel::rows(&mut out, 1, 8, |first, out| {
        simd(
            #[inline(always)]
            || {
                for (o, &v) in out.iter_mut().zip(&x[first..]) {
                    *o = f(v);
                }
            },
        );
    });
    out
}

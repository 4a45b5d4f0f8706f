//! Activations by name. Elementary; without `create_graph` the backward runs as one fused kernel.

use bert4rs_kernels::activation;
pub use bert4rs_kernels::activation::Activation;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor};

impl Tensor {
    /// `f(x)` for a named activation.
    pub fn activate(&self, f: Activation) -> Result<Tensor> {
        let storage = float!("activate", self, T => {
            let mut out = unset::<T>(self.elements());
            activation::forward(f, self.values::<T>()?, &mut out);
            Ok::<_, Error>(Storage::from(out))
        })?;
        Ok(Tensor::made("activate", false, storage, self.shape().to_vec(), &[self], move |step| {
            let (x, g) = (&step.inputs[0], &step.grad);
            if step.create_graph {
                return Ok(vec![Some(g.mul(&derivative(f, x)?)?)]);
            }
            let storage = float!("activate", x, T => {
                let mut out = unset::<T>(x.elements());
                activation::backward(f, x.values::<T>()?, g.values::<T>()?, &mut out);
                Ok::<_, Error>(Storage::from(out))
            })?;
            Ok(vec![Some(Tensor::constant(storage, x.shape().to_vec()))])
        }))
    }

    /// `max(x, 0)`
    pub fn relu(&self) -> Result<Tensor> {
        self.activate(Activation::Relu)
    }

    /// `x Phi(x)`, with the error function.
    pub fn gelu(&self) -> Result<Tensor> {
        self.activate(Activation::Gelu)
    }

    /// `x sigmoid(x)`
    pub fn silu(&self) -> Result<Tensor> {
        self.activate(Activation::Silu)
    }
}

/// `f'(x)` from elementary operations, so that it can be differentiated again.
fn derivative(f: Activation, x: &Tensor) -> Result<Tensor> {
    let one_minus = |y: &Tensor| y.neg()?.add_scalar(1.0);
    match f {
        Activation::Relu => x.detach().greater(&Tensor::scalar(0.0, x.dtype())),
        Activation::ReluSquared => x.relu()?.mul_scalar(2.0),
        Activation::Tanh => one_minus(&x.tanh()?.square()?),
        Activation::Sigmoid => {
            let s = x.sigmoid()?;
            s.mul(&one_minus(&s)?)
        }
        Activation::Silu => {
            let s = x.sigmoid()?;
            s.mul(&x.mul(&one_minus(&s)?)?.add_scalar(1.0)?)
        }
        Activation::Gelu => {
            let phi =
                x.mul_scalar(std::f64::consts::FRAC_1_SQRT_2)?.erf()?.add_scalar(1.0)?.mul_scalar(0.5)?;
            let bell = x
                .square()?
                .mul_scalar(-0.5)?
                .exp()?
                .mul_scalar((2.0 * std::f64::consts::PI).sqrt().recip())?;
            phi.add(&x.mul(&bell)?)
        }
        Activation::GeluTanh => {
            // 0.5 (1 + tanh u) + 0.5 x (1 - tanh^2 u) u',  u = c (x + 0.044715 x^3)
            let c = (2.0 / std::f64::consts::PI).sqrt();
            let square = x.square()?;
            let t = x.mul(&square.mul_scalar(0.044715)?.add_scalar(1.0)?)?.mul_scalar(c)?.tanh()?;
            let slope = square.mul_scalar(3.0 * 0.044715)?.add_scalar(1.0)?.mul_scalar(c)?;
            let tail = x.mul(&one_minus(&t.square()?)?)?.mul(&slope)?;
            t.add_scalar(1.0)?.add(&tail)?.mul_scalar(0.5)
        }
    }
}

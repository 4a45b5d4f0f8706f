//! Linear layer.
//! Definition:  y = f(x W^T + b) + r
//! Shapes:      x [T, K], W [N, K], b [N], y [T, N]

use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::{Parameter, ParameterKind, Tensor};

use crate::{Builder, Ctx, Init, Result};

/// A weight matrix and an optional bias.
#[derive(Clone)]
pub struct Linear {
    weight: Parameter,
    bias: Option<Parameter>,
}

impl Linear {
    /// `weight [outputs, inputs]` and, if wanted, `bias [outputs]` at 0.
    pub fn new(builder: &mut Builder, inputs: usize, outputs: usize, bias: bool, init: Init) -> Result<Self> {
        let weight = builder.parameter("weight", &[outputs, inputs], ParameterKind::Matrix, init)?;
        let bias = if bias {
            Some(builder.parameter("bias", &[outputs], ParameterKind::Bias, Init::Zeros)?)
        } else {
            None
        };
        Ok(Self { weight, bias })
    }

    /// `x W^T + b`
    pub fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        self.forward_with(ctx, x, None, None)
    }

    /// `f(x W^T + b) + r`, in one pass.
    pub fn forward_with(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        activation: Option<Activation>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let weight = ctx.value(&self.weight);
        let bias = self.bias.as_ref().map(|b| ctx.value(b));
        Ok(linear(x, &weight, After { bias: bias.as_ref(), activation, residual })?)
    }

    /// The weight matrix `[N, K]`.
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }

    /// The bias `[N]`, if there is one.
    pub fn bias(&self) -> Option<&Parameter> {
        self.bias.as_ref()
    }
}

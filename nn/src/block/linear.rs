//! Linear layer.
//! Definition:  y = f(x W^T + b) + r
//! Shapes:      x [T, K], W [N, K], b [N], y [T, N]

use std::sync::Arc;

use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::prepared::{PreparedMatrix, WeightPrecision, linear_twice};
use bert4rs_tensor::{Parameter, ParameterKind, Params, Tensor};

use crate::{Builder, Ctx, Error, Init, Result};

/// A weight matrix and an optional bias.
#[derive(Clone)]
pub struct Linear {
    weight: Weight,
    bias: Option<Parameter>,
    /// Factor of the trained weight, with the NTK parametrisation.
    scale: Option<f64>,
}

#[derive(Clone)]
enum Weight {
    /// As it is trained.
    Parameter(Parameter),
    /// Arranged for inference.
    Prepared(Arc<PreparedMatrix>),
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
        let scale = (init == Init::Ntk).then(|| (inputs.max(1) as f64).sqrt().recip());
        Ok(Self { weight: Weight::Parameter(weight), bias, scale })
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
        if let (Weight::Prepared(matrix), false) = (&self.weight, ctx.is_training()) {
            let bias = self.bias.as_ref().map(|b| ctx.value(b));
            return Ok(matrix.linear(x, After { bias: bias.as_ref(), activation, residual })?);
        }
        let (weight, bias) = self.values(ctx)?;
        let Some(half) = ctx.half() else {
            return Ok(linear(x, &weight, After { bias: bias.as_ref(), activation, residual })?);
        };
        let after = After { bias: bias.as_ref(), ..After::default() };
        let y = linear(&x.rounded(half)?, &weight.rounded(half)?, after)?.rounded(half)?;
        let y = activation.map_or(Ok(y.clone()), |f| y.activate(f))?;
        Ok(residual.map_or(Ok(y.clone()), |r| y.add(r))?)
    }

    /// Weight `[N, K]` and bias `[N]`, tracked in training; an error for a prepared layer.
    pub(super) fn values(&self, ctx: &Ctx) -> Result<(Tensor, Option<Tensor>)> {
        match &self.weight {
            Weight::Parameter(weight) => {
                Ok((self.scaled(ctx.value(weight))?, self.bias.as_ref().map(|bias| ctx.value(bias))))
            }
            Weight::Prepared(_) => {
                Err(Error::Config("a prepared model cannot be trained; open it again and train that".into()))
            }
        }
    }

    fn scaled(&self, weight: Tensor) -> Result<Tensor> {
        match self.scale {
            None => Ok(weight),
            Some(scale) => Ok(weight.mul_scalar(scale)?),
        }
    }

    /// Arranges the weight for inference and lets go of the trained one. Does nothing the second time.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        if let Weight::Parameter(weight) = &self.weight {
            let matrix = PreparedMatrix::new(&self.scaled(weight.value())?, precision)?;
            self.weight = Weight::Prepared(Arc::new(matrix));
        }
        Ok(())
    }

    /// One layer that gives the results of several, of one input, side by side, as they are now.
    pub(super) fn joined(layers: &[&Linear]) -> Result<Self> {
        let ctx = Ctx::inference();
        let values = layers.iter().map(|layer| layer.values(&ctx)).collect::<Result<Vec<_>>>()?;
        let join = |parts: Vec<&Tensor>| Tensor::concat(&parts, 0);
        let mut params = Params::new();
        let weight = join(values.iter().map(|(weight, _)| weight).collect())?;
        let weight = params.add("weight", &weight, ParameterKind::Matrix)?;
        let biases: Vec<&Tensor> = values.iter().filter_map(|(_, bias)| bias.as_ref()).collect();
        let bias = match biases.is_empty() {
            true => None,
            false => Some(params.add("bias", &join(biases)?, ParameterKind::Bias)?),
        };
        Ok(Self { weight: Weight::Parameter(weight), bias, scale: None })
    }

    /// `outer(f(self(x))) + r` in inference: where both are prepared, what is between them stays in cache.
    pub(super) fn forward_twice(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        activation: Activation,
        outer: &Linear,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        if let (Weight::Prepared(first), Weight::Prepared(second), false) =
            (&self.weight, &outer.weight, ctx.is_training())
        {
            let (b, c) =
                (self.bias.as_ref().map(|b| ctx.value(b)), outer.bias.as_ref().map(|b| ctx.value(b)));
            let one = After { bias: b.as_ref(), activation: Some(activation), residual: None };
            let two = After { bias: c.as_ref(), activation: None, residual };
            return Ok(linear_twice(x, (first, one), (second, two))?);
        }
        let between = self.forward_with(ctx, x, Some(activation), None)?; // [T, size]
        outer.forward_with(ctx, &between, None, residual)
    }

    /// The bias `[N]`, if there is one.
    pub fn bias(&self) -> Option<&Parameter> {
        self.bias.as_ref()
    }
}

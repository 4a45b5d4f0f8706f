//! Feed-forward part of a layer.
//! Definition:  dense: f(x W_1 + b_1) W_2 + b_2; gated: (f(x W_g + b_g) * (x W_1 + b_1)) W_2 + b_2
//! Shapes:      x [T, D], between [T, size] -> [T, D]
//! Reference:   Shazeer, GLU variants improve Transformer, 2020, for the gates.  Vectors: none

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::feed_forward::{Layer, feed_forward};
use bert4rs_tensor::op::prepared::WeightPrecision;

use super::Linear;
use crate::{Builder, Ctx, Init, Result};

/// Two products with an activation between, or three with a gate.
#[derive(Clone)]
pub struct FeedForward {
    gate: Option<Linear>,
    inner: Linear,
    outer: Linear,
    activation: Activation,
}

impl FeedForward {
    /// Named as in BERT's files: `intermediate.dense`, `output.dense`; the gate `intermediate.gate`.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        size: usize,
        activation: Activation,
        gated: bool,
        bias: bool,
        [into, out]: [Init; 2],
    ) -> Result<Self> {
        let mut inner = |name| Linear::new(&mut builder.at(name), width, size, bias, into);
        let gate = gated.then(|| inner("intermediate.gate")).transpose()?;
        let inner = inner("intermediate.dense")?;
        let outer = Linear::new(&mut builder.at("output.dense"), size, width, bias, out)?;
        Ok(Self { gate, inner, outer, activation })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        let products = [Some(&mut self.inner), Some(&mut self.outer), self.gate.as_mut()];
        products.into_iter().flatten().try_for_each(|product| product.prepare(precision))
    }

    /// The result plus `residual`.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        if let Some(gate) = &self.gate {
            let gate = gate.forward_with(ctx, x, Some(self.activation), None)?; // [T, size]
            return self.outer.forward_with(ctx, &gate.mul(&self.inner.forward(ctx, x)?)?, None, residual);
        }
        if ctx.is_training() && ctx.half().is_none() {
            // One operation keeps half of what two would.
            let (inner, outer) = (self.inner.values(ctx)?, self.outer.values(ctx)?);
            let [inner, outer] = [&inner, &outer].map(|(weight, bias)| Layer { weight, bias: bias.as_ref() });
            return Ok(feed_forward(x, inner, self.activation, outer, residual)?);
        }
        self.inner.forward_twice(ctx, x, self.activation, &self.outer, residual)
    }
}

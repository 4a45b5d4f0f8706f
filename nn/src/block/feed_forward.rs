//! Feed-forward part of a layer.
//! Definition:  f(x W_1 + b_1) W_2 + b_2
//! Shapes:      x [T, D], between [T, size] -> [T, D]

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::feed_forward::{Layer, feed_forward};
use bert4rs_tensor::op::prepared::WeightPrecision;

use super::Linear;
use crate::{Builder, Ctx, Init, Result};

/// Two products with an activation between.
#[derive(Clone)]
pub struct FeedForward {
    inner: Linear,
    outer: Linear,
    activation: Activation,
}

impl FeedForward {
    /// Named as in BERT's files: `intermediate.dense`, `output.dense`.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        size: usize,
        activation: Activation,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let inner = Linear::new(&mut builder.at("intermediate.dense"), width, size, bias, init)?;
        let outer = Linear::new(&mut builder.at("output.dense"), size, width, bias, init)?;
        Ok(Self { inner, outer, activation })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.inner.prepare(precision)?;
        self.outer.prepare(precision)
    }

    /// The result plus `residual`.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        if ctx.is_training() {
            // One operation keeps half of what two would.
            let (inner, outer) = (self.inner.values(ctx)?, self.outer.values(ctx)?);
            let [inner, outer] = [&inner, &outer].map(|(weight, bias)| Layer { weight, bias: bias.as_ref() });
            return Ok(feed_forward(x, inner, self.activation, outer, residual)?);
        }
        self.inner.forward_twice(ctx, x, self.activation, &self.outer, residual)
    }
}

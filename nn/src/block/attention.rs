//! Self-attention over a packed batch, with rotary positions where the encoder has them.
//! Definition:  softmax(Q K^T / sqrt(K)) V W_o, Q, K, V = x W_q, x W_k, x W_v
//! Shapes:      x [T, D] -> [T, D]; heads side by side in [T, H K]
//! Reference:   Vaswani et al., Attention is all you need, 2017.

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::attention::{Attention, attention};
use bert4rs_tensor::op::prepared::WeightPrecision;

use super::Linear;
use super::layer::Surroundings;
use crate::{Builder, Ctx, Init, Result};

/// The four products of attention.
#[derive(Clone)]
pub struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
    key_size: usize,
    dropout: f64,
}

impl SelfAttention {
    /// Named as in BERT's files: `self.query`, `self.key`, `self.value`, `output.dense`.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        heads: usize,
        key_size: usize,
        dropout: f64,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let inner = heads * key_size;
        Ok(Self {
            query: Linear::new(&mut builder.at("self.query"), width, inner, bias, init)?,
            key: Linear::new(&mut builder.at("self.key"), width, inner, bias, init)?,
            value: Linear::new(&mut builder.at("self.value"), width, inner, bias, init)?,
            output: Linear::new(&mut builder.at("output.dense"), inner, width, bias, init)?,
            heads,
            key_size,
            dropout,
        })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        let products = [&mut self.query, &mut self.key, &mut self.value, &mut self.output];
        products.into_iter().try_for_each(|product| product.prepare(precision))
    }

    /// What every token gathers from those it sees, plus `residual`.
    pub fn forward(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        around: &Surroundings,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut q = self.query.forward(ctx, x)?; // [T, H K]
        let mut k = self.key.forward(ctx, x)?;
        let v = self.value.forward(ctx, x)?;
        if let Some(rotation) = &around.rotation {
            q = rotation.turn_queries(&q, self.heads)?;
            k = rotation.turn(&k, self.heads)?;
        }
        let how = Attention {
            heads: self.heads,
            scale: 1.0 / (self.key_size as f64).sqrt(),
            mask: around.mask.clone(),
            dropout: ctx.seed(self.dropout).map(|seed| (self.dropout, seed)),
        };
        let gathered = attention(&q, &k, &v, around.batch, &how)?; // [T, H K]
        self.output.forward_with(ctx, &gathered, None, residual)
    }
}

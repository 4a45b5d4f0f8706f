//! Attention to another text.
//! Definition:  softmax(s Q K^T) V W_o, Q = x W_q, K, V = y W_k, y W_v; text b of x sees all of text b of y
//! Shapes:      x [T, D], y [M, S] -> [T, D]; keys [M, H K], values [M, H V]
//! Numerics:    a text that has nothing to read from gets 0 (and the output's bias)
//! Cost:        O(sum over texts of L M H K); keys and values of y are made once, for any number of steps
//! Reference:   Vaswani et al., Attention is all you need, 2017.          Checkpoint t5-tiny

use bert4rs_tensor::op::attention::{Attention, Mask, attention};
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Tensor};

use super::{AttentionScale, Past, sharpened};
use crate::block::{Linear, Surroundings};
use crate::encoder::{AttentionConfig, EncoderConfig, Role};
use crate::{Builder, Ctx, Error, Result};

/// Queries of one text, keys and values of another.
#[derive(Clone)]
pub struct CrossAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
    key_size: usize,
    scale: AttentionScale,
    dropout: f64,
}

impl CrossAttention {
    /// Named as in BERT's decoders: `self.query`, `self.key`, `self.value`, `output.dense`; `source` is the
    /// width of what is read.
    pub fn new(
        builder: &mut Builder,
        config: &EncoderConfig,
        attention: &AttentionConfig,
        source: usize,
    ) -> Result<Self> {
        let (width, heads, bias) = (config.hidden_size, attention.heads, config.bias);
        let [key_size, value_size] = attention.sizes(width).map(|size| heads * size);
        let query_role = Role::Query { key_size: key_size / heads };
        let mut linear = |name: &str, inputs, outputs, role| {
            Linear::new(&mut builder.at(name), inputs, outputs, bias, config.init_of(role))
        };
        Ok(Self {
            query: linear("self.query", width, key_size, query_role)?,
            key: linear("self.key", source, key_size, Role::Key)?,
            value: linear("self.value", source, value_size, Role::Branch)?,
            output: linear("output.dense", value_size, width, Role::Branch)?,
            heads,
            key_size: key_size / heads,
            scale: attention.scale,
            dropout: attention.dropout,
        })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        let all = [&mut self.query, &mut self.key, &mut self.value, &mut self.output];
        all.into_iter().try_for_each(|layer| layer.prepare(precision))
    }

    /// Keys `[M, H K]` and values `[M, H V]` of what is read.
    pub fn keys_and_values(&self, ctx: &Ctx, source: &Tensor) -> Result<[Tensor; 2]> {
        Ok([self.key.forward(ctx, source)?, self.value.forward(ctx, source)?])
    }

    /// What every token of `x [T, D]` reads from its source, plus `residual`.
    pub fn forward(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        around: &Surroundings,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let reading = around.reading.borrow();
        let Some(Reading { source: [k, v], batch, .. }) = reading.as_ref() else {
            return Err(Error::Input("decoder: nothing to read from; start it with a source".into()));
        };
        let q = self.query.forward(ctx, x)?; // [T, H K]
        let texts = around.batch.sequence_of_tokens();
        let visible = || texts.iter().map(|&b| batch.length(b)).collect();
        let q = sharpened(q, self.scale.factors(self.key_size, visible))?;
        let how = Attention {
            keys: Some(batch.clone()),
            dropout: ctx.seed(self.dropout).map(|seed| (self.dropout, seed)),
            ..Attention::new(self.heads, self.scale.constant(self.key_size)?, Mask::Full)
        };
        let gathered = attention(&q, k, v, around.batch, &how)?; // [T, H V]
        self.output.forward_with(ctx, &gathered, None, residual)
    }
}

/// What one layer of a decoder reads besides its input.
#[derive(Clone)]
pub struct Reading {
    /// Keys and values of the other text.
    pub source: [Tensor; 2],
    /// Where its sequences begin and end.
    pub batch: Packed,
    /// The tokens before of the layer's own text, where decoding goes step by step.
    pub past: Option<Past>,
}

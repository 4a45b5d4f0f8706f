//! The heads that published encoders were trained with.
//! Definition:  pooler: tanh(W h_first + b); masked language model: logits = norm(f(W h + b)) E^T + c
//!              with the word embeddings E
//! Shapes:      hidden [T, D] -> pooled [B, D], logits [T, V].  Cost of the logits O(T D V)
//! Reference:   Devlin et al., BERT, 2018.

use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::{self, Activation};
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use super::model::Encoder;
use super::parts::FeedForward;
use crate::block::pooling::{Pooling, pool};
use crate::block::{Linear, Norm};
use crate::{Builder, Ctx, Init, Result};

/// BERT's pooler: `pooler.dense`.
pub struct Pooler {
    dense: Linear,
}

impl Pooler {
    /// The pooler of an encoder.
    pub fn new(builder: &mut Builder, encoder: &Encoder) -> Result<Self> {
        let (width, init) = (encoder.output_size(), encoder.config().init.matrix());
        Ok(Self { dense: Linear::new(&mut builder.at("pooler.dense"), width, width, true, init)? })
    }

    /// One vector per text.
    pub fn forward(&self, ctx: &Ctx, hidden: &Tensor, batch: &Packed) -> Result<Tensor> {
        let first = pool(hidden, batch, Pooling::Cls)?; // [B, D]
        self.dense.forward_with(ctx, &first, Some(Activation::Tanh), None)
    }
}

/// The head of masked language models: `cls.predictions`, its decoder tied to the word embeddings.
pub struct MaskedLanguageHead {
    dense: Linear,
    norm: Norm,
    activation: op::Activation,
    table: Parameter,
    bias: Parameter,
}

impl MaskedLanguageHead {
    /// The head of an encoder.
    pub fn new(builder: &mut Builder, encoder: &Encoder) -> Result<Self> {
        let config = encoder.config();
        let (width, size, init) = (config.hidden_size, config.embedding_size(), config.init.matrix());
        let mut at = builder.at("cls.predictions");
        let dense = Linear::new(&mut at.at("transform.dense"), width, size, config.bias, init)?;
        let norm = Norm::new(&mut at.at("transform.LayerNorm"), size, config.norm, config.bias)?;
        let activation = match config.feed_forward {
            FeedForward::Dense { activation, .. } => activation.into(),
            FeedForward::None => Activation::Gelu,
        };
        let bias = at.parameter("bias", &[config.vocab_size], ParameterKind::Bias, Init::Zeros)?;
        Ok(Self { dense, norm, activation, table: encoder.word_embeddings().clone(), bias })
    }

    /// Scores of every id for every row of `hidden`; pass only the rows that are asked for.
    pub fn forward(&self, ctx: &Ctx, hidden: &Tensor) -> Result<Tensor> {
        let x = self.dense.forward_with(ctx, hidden, Some(self.activation), None)?;
        let x = self.norm.forward(ctx, &x)?; // [T, size]
        let bias = ctx.value(&self.bias);
        Ok(linear(&x, &ctx.value(&self.table), After { bias: Some(&bias), ..After::default() })?) // [T, V]
    }
}

//! The heads that published encoders were trained with.
//! Definition:  pooler: tanh(W h_first + b); masked language model: logits = norm(f(W h + b)) E^T + c
//!              with the word embeddings E
//! Shapes:      hidden [T, D] -> pooled [B, D], logits [T, V].  Cost of the logits O(T D V)
//! Numerics:    prepared in f32 both give the bits of the trained heads; see `prepare.rs`
//! Reference:   Devlin et al., BERT, 2018.

use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::op::{self, Activation};
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use super::model::Encoder;
use super::parts::FeedForward;
use super::weight_init::Role;
use crate::block::pooling::{Pooling, pool};
use crate::block::{Linear, Norm, Vocabulary};
use crate::{Builder, Ctx, Error, Init, Result};

/// BERT's pooler: `pooler.dense`.
pub struct Pooler {
    dense: Linear,
}

impl Pooler {
    /// The pooler of an encoder.
    pub fn new(builder: &mut Builder, encoder: &Encoder) -> Result<Self> {
        let (width, init) = (encoder.output_size(), encoder.config().init_of(Role::Other));
        Ok(Self { dense: Linear::new(&mut builder.at("pooler.dense"), width, width, true, init)? })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.dense.prepare(precision)
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
    table: Vocabulary,
    bias: Parameter,
}

impl MaskedLanguageHead {
    /// The head of an encoder.
    pub fn new(builder: &mut Builder, encoder: &Encoder) -> Result<Self> {
        let config = encoder.config();
        let (width, size, init) = (config.hidden_size, config.embedding_size(), config.init_of(Role::Other));
        let mut at = builder.at("cls.predictions");
        let dense = Linear::new(&mut at.at("transform.dense"), width, size, config.bias, init)?;
        let norm = Norm::new(&mut at.at("transform.LayerNorm"), size, config.norm, config.bias)?;
        let activation = match config.feed_forward {
            FeedForward::Dense { activation, .. } | FeedForward::Gated { activation, .. } => {
                activation.into()
            }
            FeedForward::None => Activation::Gelu,
        };
        let bias = at.parameter("bias", &[config.vocab_size], ParameterKind::Bias, Init::Zeros)?;
        let table = Vocabulary::new(encoder.word_embeddings().clone());
        Ok(Self { dense, norm, activation, table, bias })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`]. The word embeddings are held a
    /// second time, `V x size` numbers in the precision, because the encoder looks rows of them up.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.dense.prepare(precision)?;
        self.table.prepare(precision)
    }

    /// Scores of every id for every row of `hidden`; pass only the rows that are asked for.
    pub fn forward(&self, ctx: &Ctx, hidden: &Tensor) -> Result<Tensor> {
        let x = self.transform(ctx, hidden)?; // [T, size]
        self.table.scores(ctx, &x, Some(&ctx.value(&self.bias)))
    }

    /// Mean cross entropy of the rows of `hidden [T, D]` that have a target (`targets [T]`, negative = none),
    /// without the `[T, V]` array of scores. Other rows cost nothing.
    pub fn loss(&self, ctx: &Ctx, hidden: &Tensor, targets: &[i64], label_smoothing: f64) -> Result<Tensor> {
        if targets.len() != hidden.shape()[0] {
            let message =
                format!("{} targets for hidden {:?}: expected one a row", targets.len(), hidden.shape());
            return Err(Error::Input(message));
        }
        let asked: Vec<usize> = (0..targets.len()).filter(|&i| targets[i] >= 0).collect();
        let targets: Vec<i64> = asked.iter().map(|&i| targets[i]).collect();
        let x = self.transform(ctx, &hidden.rows(&asked)?)?; // [N, size]
        self.table.loss(ctx, &x, Some(&ctx.value(&self.bias)), &targets, label_smoothing)
    }

    /// What the word embeddings are compared with.
    fn transform(&self, ctx: &Ctx, hidden: &Tensor) -> Result<Tensor> {
        let x = self.dense.forward_with(ctx, hidden, Some(self.activation), None)?;
        self.norm.forward(ctx, &x)
    }
}

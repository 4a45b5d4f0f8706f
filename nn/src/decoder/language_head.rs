//! Scores of the next word.
//! Definition:  logits = s h E^T, E the table of tokens or one of its own
//! Shapes:      hidden [T, D] -> [T, V].  Cost O(T D V)
//! Reference:   Raffel et al., T5, 2019.                          Checkpoint t5-tiny

use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{ParameterKind, Tensor};

use super::config::EncoderDecoderConfig;
use crate::block::Vocabulary;
use crate::encoder::{Encoder, Role};
use crate::{Builder, Ctx, Result};

/// The head of a decoder.
pub struct LanguageHead {
    table: Vocabulary,
    scale: f64,
}

impl LanguageHead {
    /// With the table of `encoder`, or `lm_head.weight [V, D]`.
    pub fn new(builder: &mut Builder, config: &EncoderDecoderConfig, encoder: &Encoder) -> Result<Self> {
        let table = if config.tied {
            encoder.word_embeddings().clone()
        } else {
            let shape = [config.decoder.vocab_size, config.decoder.hidden_size];
            let init = config.decoder.init_of(Role::Other);
            builder.at("lm_head").parameter("weight", &shape, ParameterKind::Matrix, init)?
        };
        Ok(Self { table: Vocabulary::new(table), scale: config.output_scale })
    }

    /// Arranges the table for inference.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.table.prepare(precision)
    }

    /// Scores of every token for every row of `hidden`; pass only the rows that are asked for.
    pub fn forward(&self, ctx: &Ctx, hidden: &Tensor) -> Result<Tensor> {
        self.table.scores(ctx, &self.scaled(hidden)?, None)
    }

    /// Mean cross entropy of the rows of `hidden [T, D]` that have a target (`targets [T]`, negative = none),
    /// without the `[T, V]` array of scores.
    pub fn loss(&self, ctx: &Ctx, hidden: &Tensor, targets: &[i64], label_smoothing: f64) -> Result<Tensor> {
        self.table.loss(ctx, &self.scaled(hidden)?, None, targets, label_smoothing)
    }

    fn scaled(&self, hidden: &Tensor) -> Result<Tensor> {
        if self.scale == 1.0 { Ok(hidden.clone()) } else { Ok(hidden.mul_scalar(self.scale)?) }
    }
}

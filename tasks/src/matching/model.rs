//! A cross-encoder: encoder, pooler, classifier.

use std::path::Path;

use bert4rs_nn::block::Linear;
use bert4rs_nn::encoder::{Encoder, EncoderConfig, EncoderInput, Pooler, Precision};
use bert4rs_nn::{Builder, Ctx, Init};
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor};
use bert4rs_text::{Encoding, Tokenizer};
use rayon::prelude::*;
use serde::Serialize;

use super::config::{MatchingConfig, Objective};
use super::data;
use crate::sentence::Options;
use crate::{Error, Result, scheduler};

/// A model that reads two texts together.
pub struct MatchingModel {
    pub(super) task: MatchingConfig,
    pub(super) encoder_config: EncoderConfig,
    pub(super) tokenizer: Tokenizer,
    pub(super) params: Params,
    encoder: Encoder,
    pooler: Pooler,
    classifier: Linear,
}

/// What a model says of a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The likeliest class; none for a model of scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How alike the texts are, 0 to 1; none when classes have no order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The probability of each class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<f64>,
    /// Whether ends of the texts were not looked at.
    pub truncated: bool,
}

/// A candidate in the order of its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Which candidate, from 0.
    pub index: usize,
    /// How well it answers, 0 to 1.
    pub score: f64,
    /// Whether its end was not looked at.
    pub truncated: bool,
}

impl MatchingModel {
    /// A model with new weights; `task.labels` must be filled in for classes.
    pub(super) fn new(
        task: MatchingConfig,
        encoder_config: EncoderConfig,
        tokenizer: Tokenizer,
        seed: u64,
    ) -> Result<Self> {
        let mut params = Params::new();
        let mut rng = Rng::new(seed).fork("initialisation");
        let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
        let encoder = Encoder::new(&mut builder, &encoder_config)?;
        if let Some(limit) = encoder.max_length()
            && task.max_tokens > limit
        {
            return Err(Error::Config(format!(
                "[task]: max_tokens = {}, but the encoder has positions for {limit} tokens; set max_tokens = {limit} or less",
                task.max_tokens
            )));
        }
        let pooler = Pooler::new(&mut builder, &encoder)?;
        let outputs = match task.objective {
            Objective::Classification => task.labels.len(),
            Objective::Regression => 1,
        };
        let init = Init::Normal { deviation: 0.02 };
        let width = encoder.output_size();
        let classifier = Linear::new(&mut builder.at("classifier"), width, outputs, true, init)?;
        Ok(Self { task, encoder_config, tokenizer, params, encoder, pooler, classifier })
    }

    /// Makes the model ready to answer in a precision; it can no longer be trained or saved.
    pub fn prepare(mut self, precision: Precision) -> Result<Self> {
        self.encoder.prepare(precision)?;
        self.pooler.prepare(precision.weights())?;
        self.classifier.prepare(precision.weights())?;
        self.params = Params::new();
        Ok(self)
    }

    /// The settings.
    pub fn config(&self) -> &MatchingConfig {
        &self.task
    }

    /// The architecture of the encoder.
    pub fn encoder_config(&self) -> &EncoderConfig {
        &self.encoder_config
    }

    /// All parameters; none once the model is prepared.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Two texts as the encoder reads them.
    pub(super) fn read(&self, first: &str, second: &str) -> Result<Encoding> {
        Ok(self.tokenizer.encode_pair(first, second, Some(self.task.max_tokens))?)
    }

    /// `[B, C]`
    pub(super) fn logits(&self, ctx: &mut Ctx, pairs: &[&Encoding]) -> Result<Tensor> {
        let batch = Packed::from_lengths(&pairs.iter().map(|p| p.len()).collect::<Vec<_>>());
        let ids: Vec<usize> = pairs.iter().flat_map(|p| &p.ids).map(|&id| id as usize).collect();
        // An encoder without second segments reads the pair by its separators.
        let most = self.encoder_config.embedding.segments.saturating_sub(1);
        let segments: Vec<usize> =
            pairs.iter().flat_map(|p| &p.type_ids).map(|&s| (s as usize).min(most)).collect();
        let input = EncoderInput { ids: &ids, segments: Some(&segments), batch: &batch };
        let hidden = self.encoder.forward(ctx, input, &self.encoder.mask())?;
        let pooled = self.pooler.forward(ctx, &hidden, &batch)?; // [B, D]
        let pooled = ctx.dropout(&pooled, self.task.dropout)?;
        Ok(self.classifier.forward(ctx, &pooled)?)
    }

    /// What the model says of pairs; answers do not depend on the other pairs, threads or batches.
    pub fn predict(&self, pairs: &[(&str, &str)], options: &Options) -> Result<Vec<Answer>> {
        let order = data::order(&self.task.labels);
        let mut answers = Vec::with_capacity(pairs.len());
        for chunk in pairs.chunks(scheduler::CHUNK) {
            let read = chunk.par_iter().map(|(a, b)| self.read(a, b)).collect::<Result<Vec<_>>>()?;
            let lengths: Vec<usize> = read.iter().map(Encoding::len).collect();
            let batches = scheduler::batches(&lengths, options.batch_tokens);
            let run = |batch: &[usize]| -> Result<Vec<Vec<f64>>> {
                let pairs: Vec<&Encoding> = batch.iter().map(|&i| &read[i]).collect();
                let logits = self.logits(&mut Ctx::inference(), &pairs)?;
                let scores = match self.task.objective {
                    Objective::Classification => logits.softmax()?,
                    Objective::Regression => logits.sigmoid()?,
                };
                let width = scores.shape()[1];
                Ok(scores.to_f64_vec().chunks(width).map(<[f64]>::to_vec).collect())
            };
            let results = scheduler::run(&batches, run)?;
            let mut rows = vec![Vec::new(); chunk.len()];
            for (&i, row) in batches.iter().flatten().zip(results.into_iter().flatten()) {
                rows[i] = row;
            }
            let decide =
                |(row, read): (Vec<f64>, &Encoding)| self.decide(row, order.as_deref(), read.truncated);
            answers.extend(rows.into_iter().zip(&read).map(decide));
        }
        Ok(answers)
    }

    fn decide(&self, row: Vec<f64>, order: Option<&[f64]>, truncated: bool) -> Answer {
        if self.task.objective == Objective::Regression {
            return Answer { label: None, score: row.first().copied(), probabilities: Vec::new(), truncated };
        }
        let best = (1..row.len()).fold(0, |best, j| if row[j] > row[best] { j } else { best });
        let score = order.map(|order| {
            let low = order.iter().copied().fold(f64::INFINITY, f64::min);
            let high = order.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let place = |x: f64| if high > low { (x - low) / (high - low) } else { 1.0 };
            row.iter().zip(order).map(|(p, x)| p * place(*x)).sum()
        });
        Answer { label: self.task.labels.get(best).cloned(), score, probabilities: row, truncated }
    }

    /// Candidates by how well they answer a query, the best first; equal ones in their order.
    pub fn rank(&self, query: &str, candidates: &[&str], options: &Options) -> Result<Vec<Ranked>> {
        let pairs: Vec<(&str, &str)> = candidates.iter().map(|c| (query, *c)).collect();
        let ranked = self.predict(&pairs, options)?.into_iter().enumerate();
        let one = |(index, answer): (usize, Answer)| match answer.score {
            Some(score) => Ok(Ranked { index, score, truncated: answer.truncated }),
            None => Err(Error::Input(format!(
                "the model's classes ({}) have no order, so they rank nothing; train with numbers as labels",
                self.task.labels.join(", ")
            ))),
        };
        let mut ranked = ranked.map(one).collect::<Result<Vec<_>>>()?;
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(ranked)
    }

    /// Whether a folder holds such a model.
    pub fn is_folder(dir: &Path) -> bool {
        crate::config::TaskKind::of(dir) == Some(crate::config::TaskKind::Matching)
    }
}

//! What tag heads share: their settings and the choice between them.
//! Definition:  one tag per token from emissions f = W h + b, with or without scores between tags
//! Shapes:      hidden [T, D], emissions [T, C], labels [T]
//! Reference:   CRF, 2001; MEMM, 2000.                 Vectors: memm-crf.json

use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Tensor};
use serde::{Deserialize, Serialize};

use super::tags::Constraints;
use super::{Crf, Memm, Softmax};
use crate::block::Linear;
use crate::{Builder, Ctx, Error, Init, Result};

/// Which tag head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagHeadKind {
    /// Normalised over all tag sequences.
    #[default]
    Crf,
    /// Normalised per token, given the tag before it.
    Memm,
    /// Every token by itself.
    Softmax,
}

/// How a MEMM finds the best tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemmDecoding {
    /// Viterbi on emissions and transitions, as for a CRF (bert4keras); no label bias.
    #[default]
    Unnormalised,
    /// Viterbi on the probabilities the model was trained with.
    Exact,
}

/// Settings of a [`TagHead`]; a head ignores what it has no use for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TagHeadConfig {
    /// Which head.
    pub kind: TagHeadKind,
    /// Tags `C`.
    pub tags: usize,
    /// CRF: scores for the first and the last tag.
    pub start_end: bool,
    /// CRF and MEMM: the transitions are stored divided by this and multiplied on use, so Adam
    /// moves them this much faster than the encoder.
    pub lr_multiplier: f64,
    /// MEMM: also predict each tag from the one after it, with the same transitions.
    pub bidirectional: bool,
    /// MEMM: factor of emission plus transition; 0.5 in bert4keras, 1 in the article.
    pub scale: f64,
    /// MEMM: transitions as a product of two `[C, rank]` matrices.
    pub rank: Option<usize>,
    /// MEMM: how tags are found.
    pub decode: MemmDecoding,
}

impl Default for TagHeadConfig {
    /// A CRF as in bert4keras; `tags` is to be filled in.
    fn default() -> Self {
        Self {
            kind: TagHeadKind::Crf,
            tags: 0,
            start_end: false,
            lr_multiplier: 1.0,
            bidirectional: true,
            scale: 0.5,
            rank: None,
            decode: MemmDecoding::Unnormalised,
        }
    }
}

impl TagHeadConfig {
    pub(super) fn check(&self, constraints: Option<&Constraints>) -> Result<()> {
        if self.tags == 0 || self.rank == Some(0) {
            return Err(Error::Config("tag head: tags and rank must be at least 1".into()));
        }
        if !(self.lr_multiplier > 0.0 && self.lr_multiplier.is_finite() && self.scale > 0.0) {
            return Err(Error::Config(format!(
                "tag head: lr_multiplier {} and scale {} must be positive",
                self.lr_multiplier, self.scale
            )));
        }
        let c = self.tags;
        if constraints.is_some_and(|k| k.between.len() != c * c || k.start.len() != c || k.end.len() != c) {
            return Err(Error::Config(format!("tag head: the constraints are not for {c} tags")));
        }
        Ok(())
    }
}

/// `dense`: emissions from hidden states.
pub(super) fn emission_layer(builder: &mut Builder, hidden_size: usize, tags: usize) -> Result<Linear> {
    Linear::new(&mut builder.at("dense"), hidden_size, tags, true, Init::LeCun)
}

/// `-inf` where a move is not allowed, `scores` elsewhere; forbidden scores get gradient 0.
pub(super) fn restrict(scores: &Tensor, allowed: &[bool]) -> Result<Tensor> {
    let mask = allowed.iter().map(|&a| f64::from(u8::from(a))).collect();
    let mask = Tensor::new(mask, scores.shape())?.cast(scores.dtype())?;
    Ok(Tensor::select(&mask, scores, &Tensor::scalar(f64::NEG_INFINITY, scores.dtype()))?)
}

/// Labels have the length of the batch and are below the number of tags.
pub(super) fn check_labels(labels: &[usize], tags: usize, batch: &Packed) -> Result<()> {
    if labels.len() != batch.tokens() {
        return Err(Error::Input(format!("{} labels for {} tokens", labels.len(), batch.tokens())));
    }
    match labels.iter().position(|&l| l >= tags) {
        Some(t) => Err(Error::Input(format!("label {} at token {t} of {tags} tags", labels[t]))),
        None => Ok(()),
    }
}

/// Any tag head.
pub enum TagHead {
    /// Normalised over all tag sequences.
    Crf(Crf),
    /// Normalised per token, given the tag before it.
    Memm(Memm),
    /// Every token by itself.
    Softmax(Softmax),
}

impl TagHead {
    /// The head of a configuration. With `constraints` decoding gives only legal sequences; the CRF
    /// also trains on them alone.
    pub fn new(
        builder: &mut Builder,
        hidden_size: usize,
        config: &TagHeadConfig,
        constraints: Option<Constraints>,
    ) -> Result<Self> {
        Ok(match config.kind {
            TagHeadKind::Crf => TagHead::Crf(Crf::new(builder, hidden_size, config, constraints)?),
            TagHeadKind::Memm => TagHead::Memm(Memm::new(builder, hidden_size, config, constraints)?),
            TagHeadKind::Softmax => {
                TagHead::Softmax(Softmax::new(builder, hidden_size, config, constraints)?)
            }
        })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        match self {
            TagHead::Crf(head) => head.prepare(precision),
            TagHead::Memm(head) => head.prepare(precision),
            TagHead::Softmax(head) => head.prepare(precision),
        }
    }

    /// The loss of a batch with gold `labels [T]`: CRF mean over sequences, others mean over tokens.
    pub fn loss(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed, labels: &[usize]) -> Result<Tensor> {
        match self {
            TagHead::Crf(head) => head.loss(ctx, hidden, batch, labels),
            TagHead::Memm(head) => head.loss(ctx, hidden, batch, labels),
            TagHead::Softmax(head) => head.loss(ctx, hidden, batch, labels),
        }
    }

    /// The best tags of every sequence.
    pub fn decode(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed) -> Result<Vec<Vec<usize>>> {
        match self {
            TagHead::Crf(head) => head.decode(ctx, hidden, batch),
            TagHead::Memm(head) => head.decode(ctx, hidden, batch),
            TagHead::Softmax(head) => head.decode(ctx, hidden, batch),
        }
    }

    /// The probability of every tag at every token, `[T, C]`; no gradient. A MEMM gives it along
    /// its own chain from left to right.
    pub fn marginals(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed) -> Result<Tensor> {
        match self {
            TagHead::Crf(head) => head.marginals(ctx, hidden, batch),
            TagHead::Memm(head) => head.marginals(ctx, hidden, batch),
            TagHead::Softmax(head) => head.marginals(ctx, hidden, batch),
        }
    }
}

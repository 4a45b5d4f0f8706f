//! Settings of sentence similarity: sections `[task]` and `[loss]`.

use std::path::PathBuf;

use bert4rs_nn::block::pooling::Pooling;
use bert4rs_nn::loss::Distance;
use serde::{Deserialize, Serialize};

use crate::config::TaskKind;
use crate::{Error, Result};

/// What sentence similarity does with its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimilarityConfig {
    /// Always `similarity`.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// How tokens become one vector; that of the folder when not given, the mean without a folder.
    #[serde(default)]
    pub pooling: Option<Pooling>,
    /// Whether vectors get length 1; as in the folder when not given, no without a folder.
    #[serde(default)]
    pub normalize: Option<bool>,
    /// Tokens of a text that are read, special tokens included; those of the folder when not given,
    /// 128 without a folder.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// What labels of pairs are.
    #[serde(default)]
    pub labels: LabelScale,
}

/// What labels of pairs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelScale {
    /// Told by the file; two scales in one file are an error.
    #[default]
    Auto,
    /// 0 and 1.
    Binary,
    /// Any numbers.
    Graded,
}

/// What vectors learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// The loss.
    #[serde(rename = "type")]
    pub kind: LossKind,
    /// Factor of cosines, one over the temperature (CoSENT, SimCSE, multiple negatives).
    pub scale: f64,
    /// Labels above this are positive: makes two classes of graded labels.
    pub positive_above: Option<f64>,
    /// Hard negatives of a query that are used, at most (multiple negatives).
    pub hard_negatives: usize,
    /// Logarithm of the weight of a query's own hard negatives (multiple negatives).
    pub hard_negative_log_weight: f64,
    /// Positives look for their query, too (multiple negatives).
    pub symmetric: bool,
    /// By how much the positive must be nearer (triplet).
    pub margin: f64,
    /// What near means (triplet).
    pub distance: Distance,
    /// The model whose vectors are learned (distillation).
    pub teacher: Option<PathBuf>,
    /// What of it is learned (distillation).
    pub distill: Distill,
    /// Factor of the loss of similarities (distillation).
    pub weight: f64,
    /// Widths at which the first numbers of a vector are to be a vector, too.
    pub matryoshka: Vec<usize>,
    /// Tokens that are encoded at once: a batch of any size in the memory of these, for another
    /// forward pass (GradCache).
    pub cache_tokens: Option<usize>,
}

/// The losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Ranks the cosines of pairs by their labels.
    #[default]
    Cosent,
    /// Sentence-BERT: classes of pairs from `[u; v; |u - v|]`.
    Softmax,
    /// Cosines become labels, scaled to 0..1.
    Cosine,
    /// A query finds its positive among those of the batch and its hard negatives.
    MultipleNegatives,
    /// SimCSE: a text finds itself under another dropout; needs no labels.
    Simcse,
    /// The positive is nearer than the negative.
    Triplet,
    /// A teacher's vectors or similarities.
    Distillation,
}

/// What is learned from a teacher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distill {
    /// The cosines within a batch (RoFormer-Sim); vectors may be of another width.
    #[default]
    Similarities,
    /// The vectors themselves.
    Vectors,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            kind: LossKind::default(),
            scale: 20.0, // CoSENT and SimCSE
            positive_above: None,
            hard_negatives: 7, // BGE's groups of 8
            hard_negative_log_weight: 0.0,
            symmetric: false,
            margin: 0.5,
            distance: Distance::default(),
            teacher: None,
            distill: Distill::default(),
            weight: 100.0, // RoFormer-Sim
            matryoshka: Vec::new(),
            cache_tokens: None,
        }
    }
}

impl SimilarityConfig {
    /// Checks what does not depend on data.
    pub fn validate(&self) -> Result<()> {
        match self.max_tokens {
            Some(n) if n < 4 => Err(Error::Config(format!(
                "[task]: max_tokens = {n}: expected at least 4, usually 64 to 256"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

impl LossConfig {
    /// Checks what does not depend on data.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Config(format!("[loss]: {message}")));
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return fail(format!("scale = {}: expected a positive number, usually 20", self.scale));
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return fail(format!("weight = {}: expected a positive number, usually 100", self.weight));
        }
        if !(self.margin.is_finite() && self.margin >= 0.0) {
            return fail(format!("margin = {}: expected 0 or more", self.margin));
        }
        if !self.hard_negative_log_weight.is_finite() {
            return fail("hard_negative_log_weight: expected a number, usually 0".into());
        }
        if self.cache_tokens == Some(0) {
            return fail("cache_tokens = 0: expected at least 1, usually 2048".into());
        }
        match (self.kind, &self.teacher) {
            (LossKind::Distillation, None) => {
                return fail(
                    "distillation needs a teacher: teacher = \"FOLDER\" of a sentence encoder".into(),
                );
            }
            (LossKind::Distillation, Some(_)) | (_, None) => {}
            (_, Some(_)) => return fail("a teacher is for type = \"distillation\" only; remove it".into()),
        }
        if !self.matryoshka.is_empty() {
            let of_vectors = self.kind == LossKind::Distillation && self.distill == Distill::Vectors;
            if self.kind == LossKind::Softmax || of_vectors {
                return fail(
                    "matryoshka goes with losses on cosines and distances, not with this one".into(),
                );
            }
            if self.matryoshka.contains(&0) {
                return fail("matryoshka: 0 is no width; expected numbers such as [384, 128]".into());
            }
        }
        Ok(())
    }
}

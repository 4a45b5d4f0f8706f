//! Settings of entity recognition.

use bert4rs_nn::head::{
    EfficientGlobalPointerConfig, GlobalPointerConfig, SpanHeadConfig, TagHeadConfig, TagHeadKind,
};
use serde::{Deserialize, Serialize};

use crate::config::TaskKind;
use crate::{Error, Result};

/// What entity recognition does with its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NerConfig {
    /// Always `ner`.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Entity types; taken from the training data, sorted, when not given.
    #[serde(default)]
    pub labels: Vec<String>,
    /// What happens to a text of more than `max_tokens` tokens.
    #[serde(default)]
    pub overflow: OverflowKind,
    /// Tokens that the encoder sees at once, special tokens included.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Tokens that neighbouring windows share.
    #[serde(default = "default_overlap")]
    pub overlap: usize,
}

/// What happens to a text that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverflowKind {
    /// It is refused.
    Error,
    /// Its end is not looked at, and the answer says so.
    Truncate,
    /// It is read in overlapping windows whose answers are merged.
    #[default]
    Window,
}

fn default_max_tokens() -> usize {
    256
}

fn default_overlap() -> usize {
    64
}

impl NerConfig {
    /// Checks what does not depend on data.
    pub fn validate(&self) -> Result<()> {
        if self.max_tokens < 8 || self.overlap + 4 > self.max_tokens {
            return Err(Error::Config(format!(
                "[task]: max_tokens = {}, overlap = {}: expected at least 8 tokens and an overlap at least 4 below that",
                self.max_tokens, self.overlap
            )));
        }
        for (i, label) in self.labels.iter().enumerate() {
            if label.is_empty() || self.labels[..i].contains(label) {
                return Err(Error::Config(format!(
                    "[task]: labels has {label:?} twice or empty; expected every name once"
                )));
            }
        }
        Ok(())
    }
}

/// How spans are scored and decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// The kind of head.
    pub decoder: Decoder,
    /// Channels of queries and keys (GlobalPointer).
    pub key_size: usize,
    /// Rotary positions on queries and keys (GlobalPointer).
    pub rotary: bool,
    /// Longest entity in tokens (GlobalPointer); none = no limit.
    pub max_span_width: Option<usize>,
    /// Spans that score above this are entities (GlobalPointer).
    pub threshold: f64,
    /// Keep only the best of overlapping entities (GlobalPointer).
    pub flat: bool,
    /// Learning rate of transition scores relative to the rest of the head (CRF, MEMM).
    pub transition_lr_multiplier: f64,
    /// Dropout before the head.
    pub dropout: f64,
}

/// The kinds of head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decoder {
    /// A score for every (start, end) pair and type.
    GlobalPointer,
    /// As GlobalPointer, with one span detector shared by all types.
    EfficientGlobalPointer,
    /// BIO tags, normalised over whole sequences.
    Crf,
    /// BIO tags, normalised per step given the previous tag.
    Memm,
    /// BIO tags, each by itself.
    Softmax,
}

impl Decoder {
    /// Whether entities may overlap.
    pub fn is_nested(self) -> bool {
        match self {
            Decoder::GlobalPointer | Decoder::EfficientGlobalPointer => true,
            Decoder::Crf | Decoder::Memm | Decoder::Softmax => false,
        }
    }
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            decoder: Decoder::GlobalPointer,
            key_size: 64,
            rotary: true,
            max_span_width: None,
            threshold: 0.0,
            flat: false,
            transition_lr_multiplier: 1.0,
            dropout: 0.1,
        }
    }
}

impl HeadConfig {
    /// Checks what does not depend on data.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Config(format!("[head]: {message}")));
        if !(0.0..1.0).contains(&self.dropout) {
            return fail(format!("dropout = {}: expected 0 or more and less than 1", self.dropout));
        }
        if self.rotary && (self.key_size == 0 || !self.key_size.is_multiple_of(2)) {
            return fail(format!(
                "key_size = {}: rotary positions need an even number of channels",
                self.key_size
            ));
        }
        if self.transition_lr_multiplier.is_nan() || self.transition_lr_multiplier <= 0.0 {
            return fail(format!(
                "transition_lr_multiplier = {}: expected a positive number",
                self.transition_lr_multiplier
            ));
        }
        if !self.threshold.is_finite() {
            return fail(format!("threshold = {}: expected a number, usually 0", self.threshold));
        }
        if self.max_span_width == Some(0) {
            return fail("max_span_width = 0: expected at least 1".into());
        }
        Ok(())
    }

    /// The tokens an entity may have: `max_span_width` where the head has it.
    pub(super) fn span_limit(&self) -> Option<usize> {
        match self.decoder {
            Decoder::GlobalPointer | Decoder::EfficientGlobalPointer => self.max_span_width,
            Decoder::Crf | Decoder::Memm | Decoder::Softmax => None,
        }
    }

    /// The head's own settings for so many entity types.
    pub(super) fn settings(&self, types: usize) -> HeadSettings {
        let tag = |kind| {
            let tags = bert4rs_nn::head::tags::bio_tags(types);
            HeadSettings::Tag(TagHeadConfig {
                kind,
                tags,
                lr_multiplier: self.transition_lr_multiplier,
                ..TagHeadConfig::default()
            })
        };
        let (key_size, rotary, max_span_width) = (self.key_size, self.rotary, self.max_span_width);
        match self.decoder {
            Decoder::GlobalPointer => {
                HeadSettings::Span(SpanHeadConfig::GlobalPointer(GlobalPointerConfig {
                    types,
                    key_size,
                    rotary,
                    max_span_width,
                    ..GlobalPointerConfig::default()
                }))
            }
            Decoder::EfficientGlobalPointer => {
                HeadSettings::Span(SpanHeadConfig::EfficientGlobalPointer(EfficientGlobalPointerConfig {
                    types,
                    key_size,
                    rotary,
                    max_span_width,
                    ..EfficientGlobalPointerConfig::default()
                }))
            }
            Decoder::Crf => tag(TagHeadKind::Crf),
            Decoder::Memm => tag(TagHeadKind::Memm),
            Decoder::Softmax => tag(TagHeadKind::Softmax),
        }
    }
}

/// Settings of either family of heads.
pub(super) enum HeadSettings {
    Span(SpanHeadConfig),
    Tag(TagHeadConfig),
}

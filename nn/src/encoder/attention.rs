//! Attention as a value: what the members of its family differ in.

use serde::{Deserialize, Serialize};

use crate::block::attention::AttentionScale;

/// Scaled dot-product attention of several heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionConfig {
    /// Heads `H`.
    pub heads: usize,
    /// Width of a head's queries and keys, `K`; without it `head_size`.
    #[serde(default)]
    pub key_size: Option<usize>,
    /// Width of a head's values, `V`; without it `hidden_size / heads`.
    #[serde(default)]
    pub head_size: Option<usize>,
    /// Dropout of probabilities.
    #[serde(default)]
    pub dropout: f64,
    /// The factor of scores.
    #[serde(default)]
    pub scale: AttentionScale,
    /// Whether scores are added up from layer to layer (RealFormer).
    #[serde(default)]
    pub residual_scores: ResidualScores,
    /// Whether heads exchange what they see.
    #[serde(default)]
    pub talking_heads: TalkingHeads,
    /// Layers that see a window only (ModernBERT).
    #[serde(default)]
    pub local: Option<LocalAttention>,
}

/// What a layer does with the scores of the layers before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResidualScores {
    /// Nothing.
    #[default]
    Off,
    /// Adds them to its own.
    RunningSum,
    /// Adds them and divides by the number of layers so far.
    RunningMean,
}

/// Where heads exchange scores or weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TalkingHeads {
    /// Nowhere.
    #[default]
    None,
    /// Before the softmax.
    Before,
    /// After it.
    After,
    /// On both sides.
    Both,
}

impl TalkingHeads {
    /// Whether scores are mixed.
    pub fn before(self) -> bool {
        match self {
            TalkingHeads::Before | TalkingHeads::Both => true,
            TalkingHeads::None | TalkingHeads::After => false,
        }
    }

    /// Whether weights are mixed.
    pub fn after(self) -> bool {
        match self {
            TalkingHeads::After | TalkingHeads::Both => true,
            TalkingHeads::None | TalkingHeads::Before => false,
        }
    }
}

/// Layers that see keys near by only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalAttention {
    /// Largest distance of a key that is seen.
    pub radius: usize,
    /// Every so many layers, from the first, one sees everything; 0 for none.
    #[serde(default)]
    pub global_every: usize,
    /// Base of the local layers' rotary frequencies; without it that of the others.
    #[serde(default)]
    pub theta: Option<f64>,
}

impl Default for AttentionConfig {
    /// As in BERT base.
    fn default() -> Self {
        Self {
            heads: 12,
            key_size: None,
            head_size: None,
            dropout: 0.1,
            scale: AttentionScale::Standard,
            residual_scores: ResidualScores::Off,
            talking_heads: TalkingHeads::None,
            local: None,
        }
    }
}

impl AttentionConfig {
    /// Plain attention.
    pub fn plain(heads: usize, dropout: f64) -> Self {
        Self { heads, dropout, ..Self::default() }
    }

    /// `K` and `V` in an encoder of this width.
    pub(crate) fn sizes(&self, width: usize) -> [usize; 2] {
        let value = self.head_size.unwrap_or(width / self.heads.max(1));
        [self.key_size.unwrap_or(value), value]
    }

    /// The largest distance that layer `layer` sees, where there is one.
    pub(crate) fn window(&self, layer: usize) -> Option<usize> {
        let is_global =
            |local: &LocalAttention| local.global_every > 0 && layer.is_multiple_of(local.global_every);
        self.local.filter(|local| !is_global(local)).map(|local| local.radius)
    }
}

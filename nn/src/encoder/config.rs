//! An architecture as a value: orthogonal axes, each an enum, strict when read from a file.

use serde::{Deserialize, Serialize};

use super::attention::AttentionConfig;
use super::parts::{Activation, DropoutMask, FeedForward, Mixer, Position, Sharing, TextMask};
use super::weight_init::WeightInit;
use super::wiring::{Norm, ResidualScale, Wiring};

/// What an encoder is made of. The default is BERT base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    /// Number of token ids `V`.
    pub vocab_size: usize,
    /// Width of hidden states `D`.
    pub hidden_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Which layers have the same parameters.
    pub sharing: Sharing,
    /// Whether products and layer norms add a bias.
    pub bias: bool,
    /// Dropout of what a layer's parts put out, before the residual sum.
    pub dropout: f64,
    /// What one dropout decision covers.
    pub dropout_mask: DropoutMask,
    /// How the parts of a layer are joined.
    pub wiring: Wiring,
    /// The factor of what a part adds to the residual stream.
    pub residual_scale: ResidualScale,
    /// The normalisation, of the embedding and in layers.
    pub norm: Norm,
    /// How new weights start.
    pub init: WeightInit,
    /// How ids become vectors.
    pub embedding: EmbeddingConfig,
    /// How the model knows the order of tokens.
    pub position: Position,
    /// The part of a layer in which tokens see each other.
    pub mixer: Mixer,
    /// The part of a layer that sees one token at a time.
    pub feed_forward: FeedForward,
    /// Which tokens see each other, where a task does not say otherwise.
    pub mask: TextMask,
}

impl Default for EncoderConfig {
    /// BERT base: Devlin et al., 2018.
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            layers: 12,
            sharing: Sharing::None,
            bias: true,
            dropout: 0.1,
            dropout_mask: DropoutMask::Element,
            wiring: Wiring::PostNorm,
            residual_scale: ResidualScale::None,
            norm: Norm::Layer { eps: 1e-12, gain: true },
            init: WeightInit::Normal { deviation: 0.02 },
            embedding: EmbeddingConfig::default(),
            position: Position::Learned { max_positions: 512, first: 0 },
            mixer: Mixer::Attention(AttentionConfig::plain(12, 0.1)),
            feed_forward: FeedForward::Dense { size: 3072, activation: Activation::Gelu },
            mask: TextMask::Full,
        }
    }
}

/// How ids become vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingConfig {
    /// Width of the tables; without it `hidden_size`. Another width is projected to `hidden_size`,
    /// except by recurrent layers, whose first layer reads it as it is.
    pub size: Option<usize>,
    /// Number of segment ids (BERT: 2); 0 for no segment table.
    pub segments: usize,
    /// Factor of the token vectors (the first Transformer: the root of the width).
    pub scale: f64,
    /// Whether the sum is normalised (GPT-2, T5: not).
    pub norm: bool,
    /// Whether that norm stands in for the one of the first layer's mixer, with norms before the parts
    /// (ModernBERT).
    pub norm_is_first: bool,
    /// Dropout of the normalised sum.
    pub dropout: f64,
    /// Adds rows for the hashed pairs (previous id, id) and (id, next id): helps character models
    /// that are trained from little text.
    pub bigram_buckets: Option<usize>,
    /// In training a token's id becomes `unk_id` with this probability, so that the vector of
    /// unknown tokens is trained.
    pub token_dropout: f64,
    /// The id of unknown tokens, for `token_dropout`.
    pub unk_id: usize,
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        Self {
            size: None,
            segments: 2,
            scale: 1.0,
            norm: true,
            norm_is_first: false,
            dropout: 0.1,
            bigram_buckets: None,
            token_dropout: 0.0,
            unk_id: 100,
        }
    }
}

impl EncoderConfig {
    /// Width of the embedding tables.
    pub fn embedding_size(&self) -> usize {
        self.embedding.size.unwrap_or(self.hidden_size)
    }

    /// How many sets of layer parameters there are.
    pub(crate) fn groups(&self) -> usize {
        match self.sharing {
            Sharing::None => self.layers,
            Sharing::AllLayers => self.layers.min(1),
            Sharing::Groups { groups } => groups.min(self.layers),
        }
    }

    /// Which of them layer `index` uses.
    pub(crate) fn group(&self, index: usize) -> usize {
        index * self.groups() / self.layers.max(1)
    }

    /// Whether the embedding is projected to `hidden_size`.
    pub(crate) fn projects_embedding(&self) -> bool {
        let reads_any_width =
            matches!((&self.mixer, self.wiring), (Mixer::Lstm { .. } | Mixer::Gru { .. }, Wiring::Stack))
                && self.layers > 0
                && self.sharing == Sharing::None;
        self.embedding_size() != self.hidden_size && !reads_any_width
    }
}

//! The axes of an architecture: one enum each.

use bert4rs_tensor::op;
use serde::{Deserialize, Serialize};

use super::attention::AttentionConfig;
use crate::block::position::Scaling;

/// Which tokens of a text see each other, where a task does not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextMask {
    /// All (BERT).
    #[default]
    Full,
    /// Each sees itself and those before it (GPT-2).
    Causal,
}

impl From<TextMask> for op::attention::Mask {
    fn from(mask: TextMask) -> Self {
        match mask {
            TextMask::Full => op::attention::Mask::Full,
            TextMask::Causal => op::attention::Mask::Causal,
        }
    }
}

/// How the model knows the order of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Position {
    /// It does not, or the mixer does (recurrence, convolution).
    None,
    /// A learned row per position, added to the embedding (BERT).
    Learned {
        /// Rows of the table: the longest sequence, and what `first` leaves out.
        max_positions: usize,
        /// The row of a text's first token (RoBERTa: 2).
        #[serde(default)]
        first: usize,
    },
    /// Queries and keys turned by their position (RoFormer); any length.
    Rotary {
        /// Base of the frequencies.
        #[serde(default = "rotary_theta")]
        theta: f64,
        /// Which channels form a pair.
        #[serde(default)]
        layout: RotaryLayout,
        /// Channels of each head that turn; without it all.
        #[serde(default)]
        size: Option<usize>,
        /// Extension to longer texts than the model was trained on.
        #[serde(default)]
        scaling: Scaling,
        /// The training length, to sharpen attention by `ln(position) / ln(this)` beyond it.
        #[serde(default)]
        log_n: Option<usize>,
    },
    /// Sines and cosines of the position, added to the embedding (the first Transformer); any length.
    Sinusoidal,
    /// Fixed vectors of the distance, added to keys and values (NEZHA); any length.
    RelativeKeys {
        /// Distances beyond count as this one.
        max_distance: usize,
    },
    /// A learned bias of scores for each head and bucket of distances (T5); any length.
    Buckets {
        /// Number of buckets.
        buckets: usize,
        /// Distances from this one on share the last bucket.
        max_distance: usize,
        /// Whether keys before and behind have buckets of their own; decoders have not.
        #[serde(default = "yes")]
        both_ways: bool,
    },
    /// Scores from a table of distances beside those of contents (DeBERTa); any length.
    Disentangled {
        /// Buckets in each direction.
        buckets: usize,
        /// The length for which buckets were made.
        max_positions: usize,
    },
    /// Scores that fall with the distance, faster in some heads (ALiBi); any length.
    Alibi,
}

impl Position {
    /// Rotary positions as in RoFormer.
    pub fn rotary() -> Self {
        Position::Rotary {
            theta: rotary_theta(),
            layout: RotaryLayout::default(),
            size: None,
            scaling: Scaling::None,
            log_n: None,
        }
    }
}

impl Position {
    /// Rotary positions whose pairs are the halves of a head (ModernBERT).
    pub fn rotary_half(theta: f64) -> Self {
        let (layout, scaling) = (RotaryLayout::Half, Scaling::None);
        Position::Rotary { theta, layout, size: None, scaling, log_n: None }
    }
}

fn rotary_theta() -> f64 {
    10_000.0 // RoFormer, section 3.2
}

/// Which channels form pair `i` of a rotation; the same weights give different functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotaryLayout {
    /// `2 i` and `2 i + 1`: RoFormer.
    #[default]
    Interleaved,
    /// `i` and `i + size / 2`: LLaMA, ModernBERT.
    Half,
}

impl From<RotaryLayout> for op::rotary::Layout {
    fn from(layout: RotaryLayout) -> Self {
        match layout {
            RotaryLayout::Interleaved => op::rotary::Layout::Interleaved,
            RotaryLayout::Half => op::rotary::Layout::Half,
        }
    }
}

/// The part of a layer in which tokens see each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mixer {
    /// Scaled dot-product attention of several heads.
    Attention(AttentionConfig),
    /// Long short-term memory; each direction makes its share of `hidden_size`.
    Lstm {
        /// Read backwards too, and join both halves.
        #[serde(default = "yes")]
        bidirectional: bool,
    },
    /// Gated recurrent unit; each direction makes its share of `hidden_size`.
    Gru {
        /// Read backwards too, and join both halves.
        #[serde(default = "yes")]
        bidirectional: bool,
    },
    /// `x (1 - g) + conv(x) g` with a gate `g` from a second convolution (DGCNN).
    DilatedGatedConvolution {
        /// Tokens in a window, odd.
        #[serde(default = "three")]
        window: usize,
        /// Distance between the window's tokens: layer `i` uses `dilations[i % len]`.
        dilations: Vec<usize>,
    },
    /// One head between gates, in place of attention and feed-forward part (GAU, FLASH).
    GatedAttention {
        /// Width of the gates.
        size: usize,
        /// Width of queries and keys.
        key_size: usize,
        /// How scores become weights.
        #[serde(default)]
        weights: GatedWeights,
        /// Tokens of a chunk: scores inside chunks, sums between them (FLASH). Without it every token
        /// scores every other.
        #[serde(default)]
        chunk: Option<usize>,
        /// Dropout of weights.
        #[serde(default)]
        dropout: f64,
    },
    /// A gate between halves that mixes tokens with one weight per pair of positions (gMLP).
    SpatialGate {
        /// Width before the halves part, even.
        size: usize,
        /// The longest text.
        max_length: usize,
        /// Width of a small attention added to the gate (aMLP: 64).
        #[serde(default)]
        attention: Option<usize>,
    },
    /// Two products over positions, the same for all channels (MLP-Mixer).
    MlpMixer {
        /// Width between the products.
        size: usize,
        /// The longest text.
        max_length: usize,
    },
    /// One product over positions (ResMLP).
    ResMlp {
        /// The longest text.
        max_length: usize,
    },
    /// Two products over positions, normalised over positions, after the feed-forward part.
    FeedForwardOnly {
        /// Width between the products.
        size: usize,
        /// The longest text; shorter ones count as filled up with zeros.
        max_length: usize,
    },
    /// Attention to a memory that is the same for all texts.
    ExternalAttention {
        /// Rows of the memory.
        slots: usize,
        /// Softmax over the memory, so that no token sees another, instead of over tokens and then
        /// the memory.
        #[serde(default)]
        row_softmax: bool,
    },
    /// The Fourier transform over tokens and channels; no parameters (FNet).
    Fourier,
    /// Attention weights that are learned for pairs of positions (random synthesizer).
    Synthesizer {
        /// Heads.
        heads: usize,
        /// The longest text.
        max_length: usize,
    },
    /// Weighted sums over a window, the weights shared by the channels of a head.
    LightConvolution {
        /// Tokens in a window, odd.
        #[serde(default = "three")]
        window: usize,
        /// Heads.
        heads: usize,
        /// Weights made from the token in the middle, instead of learned ones.
        #[serde(default)]
        dynamic: bool,
    },
}

impl Mixer {
    /// Gated attention as in GAU-alpha, with gates and keys of these widths.
    pub fn gated_attention(size: usize, key_size: usize) -> Self {
        let weights = GatedWeights::SoftmaxPlus;
        Mixer::GatedAttention { size, key_size, weights, chunk: None, dropout: 0.0 }
    }
}

/// How the scores of gated attention become weights; `l` is the number of tokens that are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GatedWeights {
    /// `relu(a)^2 / l`
    SquaredRelu,
    /// `relu(a)^2 / length`, the same for all texts.
    SquaredReluFixed {
        /// The length (bert4keras: 512).
        length: usize,
    },
    /// `relu(a)^2` over its sum.
    SquaredReluSum,
    /// `softmax(a)`
    Softmax,
    /// `softmax(a ln(max(l, 16)) / ln 512)` (GAU-alpha).
    #[default]
    SoftmaxPlus,
}

fn yes() -> bool {
    true
}

fn three() -> usize {
    3
}

/// The part of a layer that sees one token at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FeedForward {
    /// None.
    None,
    /// Two products with an activation between.
    Dense {
        /// Width between the products.
        size: usize,
        /// The activation.
        #[serde(default)]
        activation: Activation,
    },
    /// `(f(x W_g) * x W_u) W_o`: gated linear units.
    Gated {
        /// Width between the products.
        size: usize,
        /// The activation of the gate.
        #[serde(default)]
        activation: Activation,
    },
}

/// A non-linearity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0)^2`
    ReluSquared,
    /// With the error function (BERT).
    #[default]
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function: the gate of the first gated linear unit.
    Sigmoid,
}

impl From<Activation> for op::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Relu => op::Activation::Relu,
            Activation::ReluSquared => op::Activation::ReluSquared,
            Activation::Gelu => op::Activation::Gelu,
            Activation::GeluTanh => op::Activation::GeluTanh,
            Activation::Silu => op::Activation::Silu,
            Activation::Tanh => op::Activation::Tanh,
            Activation::Sigmoid => op::Activation::Sigmoid,
        }
    }
}

/// Which layers have the same parameters. A file of shared layers is read into unshared ones too:
/// each layer then starts as its group, and learns by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Sharing {
    /// None: each has its own.
    None,
    /// All (ALBERT).
    AllLayers,
    /// Layer `i` of `L` is of group `i groups / L`, rounded down.
    Groups {
        /// Groups of layers that share.
        groups: usize,
    },
}

/// What one dropout decision covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropoutMask {
    /// One element.
    Element,
    /// One channel of a whole sequence: variational dropout, for recurrent layers (Gal,
    /// Ghahramani, 2016).
    Sequence,
}

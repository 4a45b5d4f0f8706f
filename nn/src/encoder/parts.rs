//! The axes of an architecture: one enum each.

use bert4rs_tensor::op;
use serde::{Deserialize, Serialize};

use crate::Init;
use crate::block::position::Scaling;

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
    Attention {
        /// Heads.
        heads: usize,
        /// Width of a head; without it `hidden_size / heads`.
        #[serde(default)]
        key_size: Option<usize>,
        /// Dropout of probabilities.
        #[serde(default)]
        dropout: f64,
    },
    /// Long short-term memory; each direction makes its share of `hidden_size`.
    Lstm {
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

/// Normalisation of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Norm {
    /// None.
    None,
    /// Mean 0 and variance 1, then a learned gain, and a shift where the encoder has biases.
    Layer {
        /// Added to the variance.
        eps: f64,
    },
    /// Mean square 1.
    Rms {
        /// Added to the mean square.
        eps: f64,
        /// Whether a learned gain follows (RoFormerV2: not).
        gain: bool,
    },
}

/// How the parts of a layer are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wiring {
    /// `norm(x + part(x))` (BERT).
    PostNorm,
    /// `x + part(norm(x))`, one norm at the end (GPT-2).
    PreNorm,
    /// `norm(part(x))`, no residual: recurrent and gated layers.
    Stack,
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

/// How new weights start. Recurrent weights start orthogonal, biases at 0, gains at 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WeightInit {
    /// Normal, everywhere the same deviation (BERT: 0.02).
    Normal {
        /// Standard deviation.
        deviation: f64,
    },
    /// Products uniform with variance `2 / (in + out)`, embeddings normal with variance `1 / size`.
    Xavier,
    /// Everything normal with variance `1 / in`.
    LeCun,
    /// 0, where a file's weights take their place.
    #[serde(skip)]
    Zeros,
}

impl WeightInit {
    pub(crate) fn matrix(self) -> Init {
        match self {
            WeightInit::Normal { deviation } => Init::Normal { deviation },
            WeightInit::Xavier => Init::Xavier,
            WeightInit::LeCun => Init::LeCun,
            WeightInit::Zeros => Init::Zeros,
        }
    }

    pub(crate) fn embedding(self) -> Init {
        match self {
            WeightInit::Xavier => Init::LeCun, // the fan of a table is its row, not its length
            WeightInit::Normal { .. } | WeightInit::LeCun | WeightInit::Zeros => self.matrix(),
        }
    }

    pub(crate) fn recurrent(self) -> Init {
        match self {
            WeightInit::Normal { .. } | WeightInit::Xavier | WeightInit::LeCun => Init::Orthogonal,
            WeightInit::Zeros => Init::Zeros,
        }
    }
}

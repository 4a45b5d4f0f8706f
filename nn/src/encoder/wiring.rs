//! The axes that join the parts of a layer: norm, wiring, scale of residual branches.

use serde::{Deserialize, Serialize};

/// Normalisation of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Norm {
    /// None.
    None,
    /// Mean 0 and variance 1.
    Layer {
        /// Added to the variance.
        eps: f64,
        /// Whether a learned gain follows, and a shift where the encoder has biases.
        #[serde(default = "yes")]
        gain: bool,
    },
    /// Mean square 1.
    Rms {
        /// Added to the mean square.
        eps: f64,
        /// Whether a learned gain follows (RoFormerV2: not).
        #[serde(default = "yes")]
        gain: bool,
    },
    /// One learned length for all vectors: `g x / max(|x|, eps)`.
    Scale {
        /// The smallest length that is divided by.
        eps: f64,
    },
    /// A learned gain and shift alone (ResMLP).
    Affine,
}

fn yes() -> bool {
    true
}

/// How the parts of a layer are joined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wiring {
    /// `norm(x + part(x))` (BERT).
    PostNorm,
    /// `x + part(norm(x))`, one norm at the end (GPT-2).
    PreNorm,
    /// As `PreNorm`, with dropout after the norm at the end.
    T5,
    /// `x + norm(part(norm(x)))`, one norm at the end: no branch grows with the depth (CogView, Gemma).
    Sandwich,
    /// `norm(alpha x + part(x))`, for post norm in many layers.
    DeepNorm {
        /// The factor; without it `(2 layers)^(1/4)`, as for encoders.
        #[serde(default)]
        alpha: Option<f64>,
    },
    /// `norm(omega x + part(x))` with a learned `omega` per channel, which starts at 1 or by
    /// [`Encoder::profile`](super::Encoder::profile).
    Admin,
    /// `norm(part(x))`, no residual: recurrent and gated layers.
    Stack,
}

impl Wiring {
    /// Whether the parts read what is normalised, so that one norm more stands at the end.
    pub(crate) fn reads_normed(self) -> bool {
        match self {
            Wiring::PreNorm | Wiring::T5 | Wiring::Sandwich => true,
            Wiring::PostNorm | Wiring::DeepNorm { .. } | Wiring::Admin | Wiring::Stack => false,
        }
    }
}

/// The factor of what a part adds to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ResidualScale {
    /// 1.
    None,
    /// One number for all parts, not learned.
    Fixed {
        /// The number.
        factor: f64,
    },
    /// One learned number per part (ReZero: from 0).
    Scalar {
        /// Where it starts.
        start: f64,
    },
    /// One learned number per channel and part (LayerScale: from 0.1 for 12 layers, 1e-5 for 24).
    Channels {
        /// Where they start.
        start: f64,
    },
}

/// The factor of the residual stream in DeepNorm, for encoders.
pub(crate) fn deep_norm_alpha(layers: usize) -> f64 {
    (2.0 * layers as f64).powf(0.25)
}

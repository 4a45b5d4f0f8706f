//! How new weights start, by what they are for.
//! Reference:   Su, on initialisation, parametrisation and normalisation, 2021; Wang et al., DeepNet,
//!              2022; Raffel et al., T5, 2019.

use serde::{Deserialize, Serialize};

use super::config::EncoderConfig;
use crate::Init;

/// How new weights start. Recurrent weights start orthogonal, biases at 0, gains at 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WeightInit {
    /// Normal, everywhere the same deviation (BERT in PyTorch: 0.02).
    Normal {
        /// Standard deviation.
        deviation: f64,
    },
    /// Normal, cut at two `sigma`: the numbers deviate by 0.88 `sigma` (BERT in TensorFlow: 0.02).
    TruncatedNormal {
        /// The deviation before the cut.
        sigma: f64,
    },
    /// As `TruncatedNormal`, with the deviation that the numbers have.
    TruncatedNormalExact {
        /// Standard deviation.
        deviation: f64,
    },
    /// Uniform, everywhere the same deviation.
    Uniform {
        /// Standard deviation.
        deviation: f64,
    },
    /// Products uniform with variance `2 / (in + out)`, embeddings normal with variance `1 / size`.
    Xavier,
    /// Everything normal with variance `1 / in`.
    LeCun,
    /// Products normal with variance `2 / in`, for rectifiers; embeddings with `1 / size`.
    He,
    /// Everything normal with deviation 1, and products divided by the root of their inputs: the same
    /// function as `LeCun`, which an optimizer sees otherwise.
    Ntk,
    /// T5: `LeCun` with queries smaller by the root of the key size, in place of the scale of scores;
    /// embeddings with deviation 1.
    T5,
    /// DeepNorm: normal with variance `2 / (in + out)`; values, outputs and feed-forward parts smaller by
    /// `(8 layers)^(-1/4)`. Goes with the wiring `deep_norm`.
    DeepNorm,
    /// Truncated normal of deviation `layers^(-1 / order) / sqrt(in)` (RoFormerV2: 2, GAU-alpha: 3).
    DepthScaled {
        /// The root of the number of layers.
        order: f64,
    },
}

/// What a matrix is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Makes queries of heads this wide.
    Query { key_size: usize },
    /// Makes keys.
    Key,
    /// Makes values, puts a part's result out, or stands in a feed-forward part.
    Branch,
    /// Any other product.
    Other,
}

impl WeightInit {
    /// The start of a matrix.
    pub(crate) fn matrix(self, role: Role, layers: usize) -> Init {
        match self {
            WeightInit::Normal { deviation } => Init::Normal { deviation },
            WeightInit::TruncatedNormal { sigma } => Init::TruncatedNormal { sigma },
            WeightInit::TruncatedNormalExact { deviation } => {
                Init::TruncatedNormal { sigma: deviation / Init::TRUNCATED_RATIO }
            }
            WeightInit::Uniform { deviation } => Init::Uniform { limit: deviation * 3f64.sqrt() },
            WeightInit::Xavier => Init::Xavier,
            WeightInit::LeCun => Init::LeCun,
            WeightInit::He => Init::FanIn { gain: 2f64.sqrt() },
            WeightInit::Ntk => Init::Ntk,
            WeightInit::T5 => match role {
                Role::Query { key_size } => Init::FanIn { gain: (key_size as f64).sqrt().recip() },
                Role::Key | Role::Branch | Role::Other => Init::LeCun,
            },
            WeightInit::DeepNorm => match role {
                Role::Branch => Init::XavierNormal { gain: (8.0 * layers as f64).powf(-0.25) },
                Role::Query { .. } | Role::Key | Role::Other => Init::XavierNormal { gain: 1.0 },
            },
            WeightInit::DepthScaled { order } => {
                Init::TruncatedFanIn { gain: (layers.max(1) as f64).powf(-1.0 / order) }
            }
        }
    }

    /// The start of a table of rows; its fan is the row, not the length.
    pub(crate) fn table(self, layers: usize) -> Init {
        match self {
            WeightInit::Xavier | WeightInit::He | WeightInit::DeepNorm => Init::LeCun,
            WeightInit::Ntk | WeightInit::T5 => Init::Normal { deviation: 1.0 },
            WeightInit::Normal { .. }
            | WeightInit::TruncatedNormal { .. }
            | WeightInit::TruncatedNormalExact { .. }
            | WeightInit::Uniform { .. }
            | WeightInit::LeCun
            | WeightInit::DepthScaled { .. } => self.matrix(Role::Other, layers),
        }
    }
}

impl EncoderConfig {
    /// The start of a matrix.
    pub(crate) fn init_of(&self, role: Role) -> Init {
        self.init.matrix(role, self.layers)
    }
}

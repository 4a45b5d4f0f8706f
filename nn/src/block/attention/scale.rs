//! The factor of attention scores, and how it follows the number of visible keys.
//! Definition:  1 / sqrt(K) times: 1 (standard); sqrt(K) (none); ln(max(n, floor)) / ln(T)
//!              (entropy-invariant, `log_base`); kappa ln(n) / sqrt(K); max(1, ln(n) / ln(T)) (afterwards,
//!              `log_dagger`); a*(n) = sqrt(W(n sqrt(e) / 2) - 1/2) (gradient-maximising)
//! Shapes:      n [T]: visible keys of each token -> factors [T]
//! Numerics:    n counts the keys that the mask leaves, so neighbours in a batch change nothing; the
//!              factor acts on queries, before biases and masks
//! Reference:   Su, 2021-12-21, 2022-04-11 (entropy), 2023-10-22 (gradient).
//!              Vectors: entropy-invariant-softmax.json, attention-scale-gradient-max.json

use serde::{Deserialize, Serialize};

use super::gradient_scale::optimal_scale_normal;
use crate::{Error, Result};

/// What scores are multiplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AttentionScale {
    /// `1 / sqrt(K)`
    #[default]
    Standard,
    /// 1 (T5, whose initialisation contains the scale).
    None,
    /// Entropy-invariant: `ln(max(n, floor)) / ln(train_length) / sqrt(K)`.
    LogBase {
        /// The length at which it is the standard scale (512).
        train_length: usize,
        /// Fewer keys count as so many: 16 for bert4keras' `softmax_plus`, as in GAU-alpha.
        #[serde(default = "one")]
        floor: usize,
    },
    /// Entropy-invariant with a free constant: `kappa ln(n) / K`.
    Kappa {
        /// The constant.
        kappa: f64,
    },
    /// For a model trained with the standard scale: `max(1, ln(n) / ln(train_length)) / sqrt(K)`.
    LogDagger {
        /// The training length.
        train_length: usize,
    },
    /// The scale at which the softmax of `keys` normal scores passes most gradient, over `sqrt(K)`.
    GradientMaximising {
        /// Candidates, such as half the longest text of a causal model.
        keys: usize,
    },
}

fn one() -> usize {
    1
}

impl AttentionScale {
    /// The factor that is the same for all tokens.
    pub fn constant(self, key_size: usize) -> Result<f64> {
        let standard = 1.0 / (key_size as f64).sqrt();
        Ok(match self {
            Self::Standard | Self::LogBase { .. } | Self::Kappa { .. } | Self::LogDagger { .. } => standard,
            Self::None => 1.0,
            Self::GradientMaximising { keys } => optimal_scale_normal(keys as f64)? * standard,
        })
    }

    /// The factor of queries that see `visible` keys, where it is not 1 for all; only then they are counted.
    pub fn factors(self, key_size: usize, visible: impl FnOnce() -> Vec<usize>) -> Option<Vec<f64>> {
        let each = |f: &dyn Fn(f64) -> f64| Some(visible().into_iter().map(|n| f(n.max(1) as f64)).collect());
        match self {
            Self::Standard | Self::None | Self::GradientMaximising { .. } => None,
            Self::LogBase { train_length, floor } => {
                let base = (train_length as f64).ln();
                each(&|n| n.max(floor as f64).ln() / base)
            }
            Self::Kappa { kappa } => each(&|n| kappa * n.ln() / (key_size as f64).sqrt()),
            Self::LogDagger { train_length } => {
                let base = (train_length as f64).ln();
                each(&|n| (n.ln() / base).max(1.0))
            }
        }
    }

    /// An error where a constant makes no sense.
    pub fn validate(self) -> Result<()> {
        let wrong = |what: String| Err(Error::Config(format!("encoder.mixer.attention.scale: {what}")));
        match self {
            Self::LogBase { train_length, .. } | Self::LogDagger { train_length } if train_length < 2 => {
                wrong(format!("train_length {train_length} has no logarithm to divide by; use 512"))
            }
            Self::LogBase { floor: 0, .. } => wrong("floor 0: expected at least 1".into()),
            Self::Kappa { kappa } if !(kappa > 0.0 && kappa.is_finite()) => {
                wrong(format!("kappa {kappa}: expected a number above 0"))
            }
            Self::GradientMaximising { keys } if keys < 2 => {
                wrong(format!("{keys} keys: a softmax needs at least 2"))
            }
            Self::Standard
            | Self::None
            | Self::LogBase { .. }
            | Self::Kappa { .. }
            | Self::LogDagger { .. }
            | Self::GradientMaximising { .. } => Ok(()),
        }
    }
}

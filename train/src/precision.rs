//! In which numbers the products of a training run are computed.

use bert4rs_tensor::op::rounding::Half;
use serde::{Deserialize, Serialize};

/// `train.precision`. Weights, moments, losses, norms and sums are f32 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Products of f32.
    #[default]
    F32,
    /// Factors and results of linear layers, and their gradients, are held by bf16.
    Bf16,
    /// The same with f16, and a factor of the loss so that small gradients are not lost.
    F16,
}

impl Precision {
    /// The format that factors are rounded to.
    pub fn half(self) -> Option<Half> {
        match self {
            Precision::F32 => None,
            Precision::Bf16 => Some(Half::Bf16),
            Precision::F16 => Some(Half::F16),
        }
    }
}

//! Losses: functions on tensors.

mod cross_entropy;
mod expected_overlap;
mod zlpr;

pub use cross_entropy::{cross_entropy, linear_cross_entropy};
pub use expected_overlap::expected_overlap;
pub use zlpr::{zlpr, zlpr_probability, zlpr_sparse, zlpr_with_threshold};

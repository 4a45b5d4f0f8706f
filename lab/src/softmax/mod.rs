//! Attention weights: scales and their entropy.

pub mod entropy_invariant;
pub mod gradient_max_scale;

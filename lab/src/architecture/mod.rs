//! What encoders are made of.

pub mod albert_unshared;
pub mod gated_attention;
pub mod low_rank_heads;
pub mod residual_scores;

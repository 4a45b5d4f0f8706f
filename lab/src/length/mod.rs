//! Texts longer than those of training.

mod distances;
pub mod extension;

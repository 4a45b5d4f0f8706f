//! Development helpers: golden vectors, finite differences.
//!
//! Only tests use this crate, so its functions panic with a message instead of returning errors.
#![allow(clippy::unwrap_used)]

mod finite_difference;
mod golden;

pub use finite_difference::assert_gradients;
pub use golden::{Case, golden, tensor_of};

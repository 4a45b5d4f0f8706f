//! Model parts: encoders, decoders, heads, losses and the loading of published checkpoints.
//!
//! Layers are values that hold [`Parameter`](bert4rs_tensor::Parameter)s; every forward takes a
//! [`Ctx`] first, which says training or inference and owns the random numbers. Hidden states are
//! packed: `[T, D]` with a [`Packed`](bert4rs_tensor::Packed) batch beside them.

pub mod block;
mod builder;
mod ctx;
pub mod decoder;
pub mod doctor;
pub mod encoder;
pub mod entropy_normalization;
mod error;
pub mod head;
pub mod loss;
pub mod signal;
pub mod weights;

pub use builder::{Builder, Init, Start};
pub use ctx::Ctx;
pub use error::{Error, Result};

//! Nearest neighbours among vectors: what makes cosines comparable, exact search, an index on disk.
//!
//! This crate knows slices of numbers, ids and bytes; it does not know models, texts or tensors.
//! Axis letters: `N` vectors, `D` numbers of a vector, `Q` queries, `k` neighbours of each.

pub mod binary_code;
pub mod bio_hash;
pub mod bio_word;
pub mod bits;
pub mod codes;
mod error;
pub mod exact;
pub mod fusion;
pub mod store;
mod top;
pub mod whitening;

pub use error::{Error, Result};
pub use top::Hit;

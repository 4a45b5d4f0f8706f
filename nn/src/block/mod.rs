//! Layers.

pub mod attention;
mod dropout;
mod embedding;
mod feed_forward;
mod gated_convolution;
mod gru;
mod junction;
mod layer;
mod linear;
mod lstm;
pub mod mixer;
mod norm;
pub mod pooling;
pub mod position;
mod recompute;
mod sight;
mod vocabulary;

pub use attention::SelfAttention;
pub use dropout::dropout;
pub use embedding::Embedding;
pub use feed_forward::FeedForward;
pub use gated_convolution::GatedConvolution;
pub use gru::Gru;
pub(crate) use junction::plus;
pub use junction::{Junction, Part};
pub use layer::{Layer, Surroundings};
pub use linear::Linear;
pub use lstm::Lstm;
pub use norm::Norm;
pub use recompute::forward_recomputed;
pub use sight::{CellKind, PartKind, Recurrence, Sight, Watch};
pub(crate) use vocabulary::Vocabulary;

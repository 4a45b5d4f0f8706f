//! Encoders: from token ids to hidden states.

mod abilities;
mod attention;
mod config;
mod embedding;
pub mod huggingface;
mod model;
mod parts;
mod positions;
mod prepare;
mod presets;
mod pretraining;
mod stack;
mod validate;
mod weight_init;
mod wiring;

pub use attention::{AttentionConfig, LocalAttention, ResidualScores, TalkingHeads};
pub use config::{EmbeddingConfig, EncoderConfig};
pub(crate) use embedding::TokenEmbedding;
pub use model::{Encoder, EncoderInput};
pub use parts::{
    Activation, DropoutMask, FeedForward, GatedWeights, Mixer, Position, RotaryLayout, Sharing, TextMask,
};
pub use prepare::Precision;
pub use presets::*;
pub use pretraining::{MaskedLanguageHead, Pooler};
pub(crate) use stack::Stack;
pub(crate) use weight_init::Role;
pub use weight_init::WeightInit;
pub(crate) use wiring::deep_norm_alpha;
pub use wiring::{Norm, ResidualScale, Wiring};

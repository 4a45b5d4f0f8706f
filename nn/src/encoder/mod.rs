//! Encoders: from token ids to hidden states.

mod config;
mod embedding;
pub mod huggingface;
mod model;
mod parts;
mod prepare;
mod presets;
mod pretraining;
mod validate;

pub use config::{EmbeddingConfig, EncoderConfig};
pub use model::{Encoder, EncoderInput};
pub use parts::{
    Activation, DropoutMask, FeedForward, Mixer, Norm, Position, RotaryLayout, Sharing, WeightInit, Wiring,
};
pub use prepare::Precision;
pub use presets::{
    albert, albert_unshared, bert, dgcnn, electra, lstm, preset, preset_names, preset_with, roberta,
    roformer, roformer_small,
};
pub use pretraining::{MaskedLanguageHead, Pooler};

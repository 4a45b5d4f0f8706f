//! Encoders: from token ids to hidden states.

mod abilities;
mod config;
mod embedding;
pub mod huggingface;
mod model;
mod parts;
mod prepare;
mod presets;
mod pretraining;
mod validate;
mod weight_init;
mod wiring;

pub use config::{EmbeddingConfig, EncoderConfig};
pub use model::{Encoder, EncoderInput};
pub use parts::{Activation, DropoutMask, FeedForward, GatedWeights, Mixer, Position, RotaryLayout, Sharing};
pub use prepare::Precision;
pub use presets::{
    albert, albert_unshared, bert, dgcnn, electra, fnet, gau_alpha, gmlp, gru, lstm, mlp_mixer, preset,
    preset_names, preset_with, roberta, roformer, roformer_small,
};
pub use pretraining::{MaskedLanguageHead, Pooler};
pub(crate) use weight_init::Role;
pub use weight_init::WeightInit;
pub(crate) use wiring::deep_norm_alpha;
pub use wiring::{Norm, ResidualScale, Wiring};

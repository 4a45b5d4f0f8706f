//! Decoders: a text that is written while another is read.

mod config;
mod encoder_decoder;
mod language_head;
mod memory;
mod model;

pub use config::EncoderDecoderConfig;
pub use encoder_decoder::{EncoderDecoder, Pairs};
pub use language_head::LanguageHead;
pub use memory::Memory;
pub use model::Decoder;

//! Where text meets models: one module per goal of a user, the model folder and the predictor.
//!
//! A task says four things: how text is encoded, what the loss is, how scores are decoded and how
//! answers are scored. Training, prediction and serving use the same four.

pub mod bench;
pub mod calibration;
pub mod config;
pub mod convert;
pub mod doctor;
mod error;
mod examples;
pub mod export;
pub mod matching;
pub mod ner;
pub mod retrieval;
mod run_folder;
mod scheduler;
pub mod sentence;
pub mod settings;
pub mod similarity;
mod source;
pub mod vectors;
pub mod verify;
pub mod whitening;

pub use bert4rs_nn::encoder::Precision;
pub use config::RunConfig;
pub use error::{Error, Result};
pub use examples::{Examples, read_examples, stream_examples};

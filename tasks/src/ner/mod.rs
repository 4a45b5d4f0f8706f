//! Entity recognition, flat and nested: annotated text in, exact character spans out.

mod build;
mod config;
mod encode;
mod folder;
mod model;
mod objective;
mod predictor;
mod run;
mod score;

pub(crate) use build::build;
pub use config::{Decoder, HeadConfig, NerConfig, OverflowKind};
pub use encode::Piece;
pub(crate) use encode::pieces;
pub use model::NerModel;
pub use predictor::{Answer, Entity, PredictOptions};
pub use run::{TrainReport, train};
pub use score::{Evaluation, evaluate, evaluate_stream};

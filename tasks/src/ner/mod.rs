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

pub use config::{Decoder, HeadConfig, NerConfig, OverflowKind, TaskKind};
pub use encode::Piece;
pub use model::NerModel;
pub use predictor::{Answer, Entity, PredictOptions};
pub use run::{TrainReport, train};
pub use score::{Evaluation, evaluate, evaluate_stream};

//! Matching: two texts in one sequence, read together; slower than comparing vectors, and closer.
//! Definition:  [CLS] a [SEP] b [SEP] -> first token -> tanh dense -> classes, or one score in 0..1

mod config;
mod data;
mod folder;
mod model;
mod objective;
mod run;
mod score;

pub use config::{MatchingConfig, Objective};
pub use data::read_pairs;
pub use model::{Answer, MatchingModel, Ranked};
pub use run::{TrainReport, train};
pub use score::{Evaluation, evaluate};

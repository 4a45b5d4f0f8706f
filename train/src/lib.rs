//! Optimizers, training steps, the trainer, checkpoints and metrics.
//!
//! A task implements [`Objective`]; [`train`] does the rest: batches by token budget, schedule,
//! clipping, AdamW, evaluation, the best model, early stopping, checkpoints. A run that was killed
//! and resumed ends with the bytes of the run that was not.

mod batches;
mod checkpoint;
mod config;
mod error;
mod gradient;
mod log;
pub mod metric;
mod objective;
pub mod optim;
mod run_folder;
mod trained;
mod trainer;

pub use config::TrainConfig;
pub use error::{BoxedError, Error, Result};
pub use objective::{Evaluated, Objective, Progress, Score, Silent, Watch};
pub use optim::Schedule;
pub use trainer::{Report, train};

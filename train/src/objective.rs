//! The two borders of the trainer: what a task implements, and who watches.

use std::path::Path;

use bert4rs_nn::Ctx;
use bert4rs_tensor::{Params, Tensor};
use serde::{Deserialize, Serialize};

use crate::BoxedError;

/// What is trained: a model with its task.
pub trait Objective {
    /// One training example, encoded.
    type Example;
    /// The task's error.
    type Error: Into<BoxedError>;

    /// The parameters of the model. Names that start with `head` learn at `head_lr`.
    fn params(&self) -> &Params;

    /// The number of tokens of an example, for the token budget.
    fn tokens(&self, example: &Self::Example) -> usize;

    /// The mean loss of a batch, a scalar. All randomness comes from `ctx`.
    fn loss(&self, ctx: &mut Ctx, batch: &[&Self::Example]) -> Result<Tensor, Self::Error>;

    /// What the mean of [`Objective::loss`] divides by: examples, unless the task says otherwise
    /// (tokens, say). Accumulated batches are weighted by it, so that together they are one batch.
    fn weight(&self, batch: &[&Self::Example]) -> f64 {
        batch.len() as f64
    }

    /// The score of the current parameters on held-out data.
    fn evaluate(&self) -> Result<Score, Self::Error>;

    /// Writes the model folder of the current parameters into the empty folder `dir`.
    fn save(&self, dir: &Path) -> Result<(), Self::Error>;

    /// What else a resumed run must have in common with its first part (labels, data files); the
    /// trainer itself compares settings, parameter shapes and the lengths of the examples.
    fn fingerprint(&self) -> String {
        String::new()
    }
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The number that decides which model is the best; higher is better. NaN never is.
    pub main: f64,
    /// Its name: `f1`, `accuracy`, `spearman`.
    pub name: String,
    /// Everything else worth a line in the log.
    pub details: serde_json::Value,
}

/// Where a run stands after a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// Mean loss of this step.
    pub loss: f64,
    /// Learning rate of the body.
    pub lr: f64,
    /// Norm of the gradient before clipping; not finite when the step was skipped.
    pub grad_norm: f64,
    /// Tokens of this step.
    pub tokens: u64,
    /// Training speed since the start (of this process), evaluations excluded.
    pub tokens_per_second: f64,
}

/// An evaluation, as the watcher sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluated {
    /// Steps done.
    pub step: u64,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The score.
    pub score: Score,
    /// Whether it is the best so far and its model was kept.
    pub is_best: bool,
    /// Seconds it took.
    pub seconds: f64,
}

/// Follows a run: progress bars, Ctrl-C.
pub trait Watch {
    /// A step was done.
    fn step(&mut self, _progress: &Progress) {}

    /// An evaluation starts, after this many steps.
    fn evaluating(&mut self, _step: u64) {}

    /// An evaluation was done.
    fn evaluated(&mut self, _evaluated: &Evaluated) {}

    /// Something the user should know: a skipped step, a resumed run.
    fn note(&mut self, _message: &str) {}

    /// Asked after every step; true keeps a checkpoint and ends the run.
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// Watches nothing.
pub struct Silent;

impl Watch for Silent {}

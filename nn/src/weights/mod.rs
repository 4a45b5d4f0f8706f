//! Reading and writing the weights of models.

mod checkpoint;
mod names;

pub use checkpoint::{Allow, Checkpoint, LoadReport, save};
pub(crate) use names::nearest;

//! One file per verb.

pub mod eval;
pub mod predict;
pub mod train;

use bert4rs_tasks::ner::{OverflowKind, PredictOptions};

use crate::args::{Overflow, Reading};

impl Reading {
    /// The reading options as the predictor takes them.
    pub fn options(&self) -> PredictOptions {
        let overflow = self.overflow.map(|o| match o {
            Overflow::Error => OverflowKind::Error,
            Overflow::Truncate => OverflowKind::Truncate,
            Overflow::Window => OverflowKind::Window,
        });
        PredictOptions { batch_tokens: self.batch_tokens.max(1), overflow }
    }
}

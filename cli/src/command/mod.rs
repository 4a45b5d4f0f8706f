//! One file per verb.

pub mod bench;
pub mod calibrate;
pub mod convert;
pub mod doctor;
pub mod embed;
pub mod eval;
pub mod export;
pub mod index;
pub mod info;
pub mod lab;
pub mod predict;
pub mod rerank;
pub mod search;
pub mod train;
pub mod verify;
pub mod whiten;

use bert4rs_tasks::ner::{OverflowKind, PredictOptions};

use crate::args::{Overflow, Reading};

/// A command line that asks for nothing we could do; exit code 2.
#[derive(Debug)]
pub struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error of usage.
pub fn usage(message: &str) -> anyhow::Error {
    Usage(message.to_string()).into()
}

impl Reading {
    /// The reading options as the predictor takes them.
    pub fn options(&self) -> PredictOptions {
        let overflow = self.overflow.map(|o| match o {
            Overflow::Error => OverflowKind::Error,
            Overflow::Truncate => OverflowKind::Truncate,
            Overflow::Window => OverflowKind::Window,
        });
        PredictOptions { batch_tokens: self.batch_tokens as usize, overflow }
    }
}

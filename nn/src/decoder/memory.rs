//! What a decoder keeps from step to step.

use bert4rs_tensor::Packed;

use crate::Result;
use crate::block::attention::{Past, Reading, rows_of_texts, selected};

/// The sources of a batch of texts and what was written so far, as keys and values of every layer.
#[derive(Clone)]
pub struct Memory {
    pub(super) layers: Vec<Reading>,
    /// The tokens so far.
    pub(super) written: Packed,
}

impl Memory {
    /// The tokens that were decoded so far.
    pub fn written(&self) -> &Packed {
        &self.written
    }

    /// The texts of these numbers, in this order: without those that have ended, or with the one that a search
    /// goes on with in several ways.
    pub fn select(&self, texts: &[usize]) -> Result<Self> {
        let one = |layer: &Reading| {
            Ok(Reading {
                source: rows_of_texts(&layer.source, &layer.batch, texts)?,
                batch: selected(&layer.batch, texts)?,
                past: layer.past.as_ref().map(|past: &Past| past.select(texts)).transpose()?,
            })
        };
        let layers = self.layers.iter().map(one).collect::<Result<_>>()?;
        Ok(Self { layers, written: selected(&self.written, texts)? })
    }
}

//! Rotary positions of the queries and keys of a span head.

use std::sync::{PoisonError, RwLock};

use bert4rs_tensor::op::rotary::{Layout, RotaryTable};
use bert4rs_tensor::{Packed, Tensor};

use crate::Result;

/// Base of the frequencies `base^(-2 j / K)`, as in the article.
const BASE: f64 = 10_000.0;

/// The table of one key size; it grows with the longest sequence seen.
pub(super) struct Rotation {
    frequencies: Vec<f64>,
    table: RwLock<RotaryTable>,
}

impl Rotation {
    /// For keys of an even size.
    pub(super) fn new(key_size: usize) -> Self {
        let frequency = |j: usize| BASE.powf(-2.0 * j as f64 / key_size as f64);
        let frequencies: Vec<f64> = (0..key_size / 2).map(frequency).collect();
        let table = RwLock::new(RotaryTable::new(&frequencies, 0, 1.0));
        Self { frequencies, table }
    }

    /// Rotates every vector of `qk [T, G, 2, K]` by its position in its sequence.
    pub(super) fn apply(&self, qk: &Tensor, batch: &Packed) -> Result<Tensor> {
        let shape = qk.shape().to_vec();
        let heads = qk.reshape(&[shape[0], shape[1] * 2, shape[3]])?;
        let table = self.table(batch.longest());
        Ok(heads.rotate(&table, &batch.positions(), Layout::Interleaved)?.reshape(&shape)?)
    }

    fn table(&self, positions: usize) -> RotaryTable {
        let known = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.positions() >= positions {
            return known;
        }
        let table = RotaryTable::new(&self.frequencies, positions.next_power_of_two(), 1.0);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table.clone();
        table
    }
}

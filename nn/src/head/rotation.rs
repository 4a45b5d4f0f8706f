//! Rotary positions of the queries and keys of a span head.

use std::sync::{PoisonError, RwLock};

use bert4rs_tensor::op::span_score::SpanRotation;

/// Base of the frequencies `base^(-2 j / K)`, as in the article.
const BASE: f64 = 10_000.0;

/// The table of one key size; it grows with the longest sequence seen.
pub(super) struct Rotation {
    frequencies: Vec<f64>,
    table: RwLock<SpanRotation>,
}

impl Rotation {
    /// For keys of an even size.
    pub(super) fn new(key_size: usize) -> Self {
        let frequency = |j: usize| BASE.powf(-2.0 * j as f64 / key_size as f64);
        let frequencies: Vec<f64> = (0..key_size / 2).map(frequency).collect();
        let table = RwLock::new(SpanRotation::new(&frequencies, 0));
        Self { frequencies, table }
    }

    /// The table, for at least so many positions.
    pub(super) fn table(&self, positions: usize) -> SpanRotation {
        let known = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.positions() >= positions {
            return known;
        }
        let table = SpanRotation::new(&self.frequencies, positions.next_power_of_two());
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table.clone();
        table
    }
}

//! Rotary positions of an encoder's queries and keys.
//! Definition:  pair (a, b) at position m -> (a cos m t - b sin m t, b cos m t + a sin m t)
//! Shapes:      x [T, H K] -> [T, H K]
//! Numerics:    one table for all layers, from f64 angles; it grows with the longest text seen
//! Reference:   RoFormer, 2021.                       Vectors: rope-roformer.json

use std::sync::{Mutex, PoisonError};

use bert4rs_tensor::op::rotary::{Layout, RotaryTable};
use bert4rs_tensor::{DType, Packed, Tensor};

use super::frequency::{Frequencies, Scaling, inverse_frequencies, log_n_factors};
use crate::Result;

/// The rotation of an encoder, for texts of any length.
pub struct Rotary {
    frequencies: Frequencies,
    /// What long texts have of their own, where frequencies follow the length.
    dynamic: Option<Dynamic>,
    layout: Layout,
    log_n: Option<usize>,
    table: Mutex<RotaryTable>,
}

impl Rotary {
    /// A rotation with these frequencies; `log_n` is the training length for sharper queries.
    pub fn new(frequencies: Frequencies, layout: Layout, log_n: Option<usize>) -> Self {
        let table = Mutex::new(RotaryTable::new(&frequencies.inverse, 0, frequencies.factor));
        Self { frequencies, dynamic: None, layout, log_n, table }
    }

    /// The rotation of a config; texts longer than the training length get frequencies of their own with
    /// [`Scaling::NtkDynamic`].
    pub fn scaled(
        size: usize,
        theta: f64,
        scaling: &Scaling,
        layout: Layout,
        log_n: Option<usize>,
    ) -> Result<Self> {
        let fixed = Self::new(inverse_frequencies(size, theta, scaling, 0)?, layout, log_n);
        let dynamic =
            scaling.trained_length().map(|length| Dynamic { size, theta, scaling: *scaling, length });
        Ok(Self { dynamic, ..fixed })
    }

    /// The rotation of one batch.
    pub fn of(&self, batch: &Packed, dtype: DType) -> Result<Rotation> {
        let positions = batch.positions();
        let query_factors = match self.log_n {
            None => None,
            Some(n) => {
                let factors = log_n_factors(&positions, n)?;
                Some(Tensor::new(factors, &[positions.len(), 1])?.cast(dtype)?)
            }
        };
        let (table, positions) = match &self.dynamic {
            Some(dynamic) if batch.longest() > dynamic.length => self.by_text(dynamic, batch)?,
            Some(_) | None => (self.table(batch.longest()), positions),
        };
        Ok(Rotation { table, positions, layout: self.layout, query_factors })
    }

    /// A table with rows of their own for long texts, and the row of each token.
    fn by_text(&self, dynamic: &Dynamic, batch: &Packed) -> Result<(RotaryTable, Vec<usize>)> {
        let mut table = RotaryTable::new(&self.frequencies.inverse, dynamic.length, self.frequencies.factor);
        let mut rows = Vec::with_capacity(batch.tokens());
        for length in (0..batch.sequences()).map(|b| batch.length(b)) {
            let first = if length > dynamic.length { table.positions() } else { 0 };
            if length > dynamic.length {
                let own = inverse_frequencies(dynamic.size, dynamic.theta, &dynamic.scaling, length)?;
                table.append(&RotaryTable::new(&own.inverse, length, own.factor))?;
            }
            rows.extend(first..first + length);
        }
        Ok((table, rows))
    }

    fn table(&self, length: usize) -> RotaryTable {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.positions() < length {
            let (inverse, factor) = (&self.frequencies.inverse, self.frequencies.factor);
            *table = RotaryTable::new(inverse, length.next_power_of_two(), factor);
        }
        table.clone()
    }
}

/// Frequencies that follow the length of a text.
struct Dynamic {
    size: usize,
    theta: f64,
    scaling: Scaling,
    /// Longer texts have frequencies of their own.
    length: usize,
}

/// The rotation of the tokens of one batch.
#[derive(Clone)]
pub struct Rotation {
    table: RotaryTable,
    positions: Vec<usize>,
    layout: Layout,
    query_factors: Option<Tensor>,
}

impl Rotation {
    /// Turns `x [T, H K]`.
    pub fn turn(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let &[tokens, width] = x.shape() else {
            return Ok(x.rotate(&self.table, &self.positions, self.layout)?);
        };
        let split = x.reshape(&[tokens, heads, width / heads.max(1)])?; // [T, H, K]
        Ok(split.rotate(&self.table, &self.positions, self.layout)?.reshape(&[tokens, width])?)
    }

    /// Turns the queries and keys of `x [T, 3 H K]`, which holds queries, keys and values side by side;
    /// none where queries get more than a rotation.
    pub(crate) fn turn_joint(&self, x: &Tensor, heads: usize) -> Result<Option<Tensor>> {
        let (&[tokens, width], None) = (x.shape(), &self.query_factors) else { return Ok(None) };
        let split = x.reshape(&[tokens, 3 * heads, width / (3 * heads).max(1)])?; // [T, 3 H, K]
        let turned = split.rotate_first(2 * heads, &self.table, &self.positions, self.layout)?;
        Ok(Some(turned.reshape(&[tokens, width])?))
    }

    /// As [`Rotation::turn`], and sharper beyond the training length where the encoder asks for it.
    pub fn turn_queries(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let x = self.turn(x, heads)?;
        match &self.query_factors {
            None => Ok(x),
            Some(factors) => Ok(x.mul(factors)?),
        }
    }
}

/// Channels of the half layout in the interleaved one: `half[j] = interleaved[permutation[j]]`.
/// Permuting the output rows of the query and key weights (and biases) of each head by it converts
/// a checkpoint.
pub fn layout_permutation(size: usize) -> Vec<usize> {
    (0..size).step_by(2).chain((1..size).step_by(2)).collect()
}

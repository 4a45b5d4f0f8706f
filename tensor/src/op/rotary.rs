//! Rotary positions: rotates pairs of channels by an angle that grows with the position.
//! Definition:  pair (a, b) at position m -> (a cos mt - b sin mt, b cos mt + a sin mt)
//! Shapes:      x [T, H, K]; one table row per token.  Cost O(T H K)
//! Gradient:    the rotation by the opposite angle; linear, so of any order
//! Reference:   RoFormer, 2021.                        Vectors: rope-roformer.json

use std::sync::Arc;

use bert4rs_kernels::rotary;
pub use bert4rs_kernels::rotary::Layout;

use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor};

/// Cosines and sines of every position up to a limit, in both float types.
#[derive(Clone)]
pub struct RotaryTable {
    single: Arc<rotary::Table<f32>>,
    double: Arc<rotary::Table<f64>>,
    positions: usize,
    size: usize,
}

impl RotaryTable {
    /// Positions `0..positions`; `factor` multiplies cosines and sines (1, or YaRN's temperature).
    pub fn new(inverse_frequencies: &[f64], positions: usize, factor: f64) -> Self {
        Self {
            single: Arc::new(rotary::Table::new(inverse_frequencies, positions, factor)),
            double: Arc::new(rotary::Table::new(inverse_frequencies, positions, factor)),
            positions,
            size: 2 * inverse_frequencies.len(),
        }
    }

    /// Arbitrary real positions: row `i` of the table is position `positions[i]`.
    pub fn at(inverse_frequencies: &[f64], positions: &[f64], factor: f64) -> Self {
        Self {
            single: Arc::new(rotary::Table::at(inverse_frequencies, positions, factor)),
            double: Arc::new(rotary::Table::at(inverse_frequencies, positions, factor)),
            positions: positions.len(),
            size: 2 * inverse_frequencies.len(),
        }
    }

    /// The rows of `other` after its own.
    pub fn append(&mut self, other: &Self) -> Result<()> {
        if self.size != other.size {
            let message = format!("a table of {} channels after one of {}", other.size, self.size);
            return Error::shape("rotary", message);
        }
        Arc::make_mut(&mut self.single).append(&other.single);
        Arc::make_mut(&mut self.double).append(&other.double);
        self.positions += other.positions;
        Ok(())
    }

    /// The number of positions it holds.
    pub fn positions(&self) -> usize {
        self.positions
    }
}

impl Tensor {
    /// Rotates the first channels of every head of `x [T, H, K]`, as many as the table has;
    /// `positions[t]` is the table row of token `t`.
    pub fn rotate(&self, table: &RotaryTable, positions: &[usize], layout: Layout) -> Result<Tensor> {
        self.rotate_first(self.shape().get(1).copied().unwrap_or(0), table, positions, layout)
    }

    /// As [`Tensor::rotate`], the first `turned` heads only; the rest stay.
    pub fn rotate_first(
        &self,
        turned: usize,
        table: &RotaryTable,
        positions: &[usize],
        layout: Layout,
    ) -> Result<Tensor> {
        let &[tokens, heads, size] = self.shape() else {
            return Error::shape("rotate", format!("expected [T, H, K], got {:?}", self.shape()));
        };
        if positions.len() != tokens || table.size > size || turned > heads {
            return Error::shape(
                "rotate",
                format!(
                    "{} positions, {turned} heads and {} rotary channels for x {:?}",
                    positions.len(),
                    table.size,
                    self.shape()
                ),
            );
        }
        if let Some(p) = positions.iter().find(|p| **p >= table.positions) {
            return Error::value(
                "rotate",
                format!("position {p} in a table of {} positions", table.positions),
            );
        }
        let sizes = [heads, turned, size];
        turn(self, sizes, table.clone(), Arc::new(positions.to_vec()), layout, false)
    }
}

fn turn(
    x: &Tensor,
    [heads, turned, size]: [usize; 3],
    table: RotaryTable,
    positions: Arc<Vec<usize>>,
    layout: Layout,
    back: bool,
) -> Result<Tensor> {
    let storage = match x.storage() {
        Storage::F32(v) => {
            let mut y = (**v).clone();
            rotary::rotate_first(
                &mut y,
                heads,
                turned,
                size,
                table.size,
                &table.single,
                &positions,
                layout,
                back,
            );
            Storage::from(y)
        }
        _ => float!("rotate", x, T => {
            let x = x.cast(crate::DType::F64)?;
            let mut y = x.values::<f64>()?.to_vec();
            rotary::rotate_first(&mut y, heads, turned, size, table.size, &table.double, &positions, layout, back);
            debug_assert_eq!(size_of::<T>(), 8);
            Ok::<_, Error>(Storage::from(y))
        })?,
    };
    Ok(Tensor::made("rotate", false, storage, x.shape().to_vec(), &[x], move |step| {
        Ok(vec![Some(turn(
            &step.grad,
            [heads, turned, size],
            table.clone(),
            positions.clone(),
            layout,
            !back,
        )?)])
    }))
}

//! Scores of every token by a table of vectors, often the one that the model reads its tokens from.
//! Definition:  y = x E^T (+ b)
//! Shapes:      x [T, D], E [V, D], b [V] -> [T, V].  Cost O(T D V)
//! Numerics:    prepared in f32 the bits of the trained table

use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::prepared::{PreparedMatrix, WeightPrecision};
use bert4rs_tensor::{Parameter, Tensor};

use crate::loss::linear_cross_entropy;
use crate::{Ctx, Result};

/// A table that scores.
pub(crate) struct Vocabulary {
    table: Parameter,
    /// Arranged for products; whoever looks rows up still reads the parameter.
    prepared: Option<PreparedMatrix>,
}

impl Vocabulary {
    pub(crate) fn new(table: Parameter) -> Self {
        Self { table, prepared: None }
    }

    /// Arranges the table for inference. Where the model reads tokens from it, it is held a second time,
    /// `V x D` numbers in the precision.
    pub(crate) fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        if self.prepared.is_none() {
            self.prepared = Some(PreparedMatrix::new(&self.table.value(), precision)?);
        }
        Ok(())
    }

    /// Scores of every token for every row of `x`.
    pub(crate) fn scores(&self, ctx: &Ctx, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let after = After { bias, ..After::default() };
        match &self.prepared {
            Some(table) if !ctx.is_training() => Ok(table.linear(x, after)?), // [T, V]
            Some(_) | None => {
                let (x, table) = self.factors(ctx, x)?;
                Ok(linear(&x, &table, after)?)
            }
        }
    }

    /// Mean cross entropy of the scores, without the `[T, V]` array of them.
    pub(crate) fn loss(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        bias: Option<&Tensor>,
        targets: &[i64],
        label_smoothing: f64,
    ) -> Result<Tensor> {
        let (x, table) = self.factors(ctx, x)?;
        linear_cross_entropy(&x, &table, bias, targets, label_smoothing)
    }

    /// Rows and table as their product takes them.
    fn factors(&self, ctx: &Ctx, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let table = ctx.value(&self.table);
        match ctx.half() {
            None => Ok((x.clone(), table)),
            Some(half) => Ok((x.rounded(half)?, table.rounded(half)?)),
        }
    }
}

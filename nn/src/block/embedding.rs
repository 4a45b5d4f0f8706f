//! Embedding: a row of a table for every id.
//! Shapes:      table [V, D], ids [T] -> [T, D].  Cost O(T D)

use bert4rs_tensor::{Parameter, ParameterKind, Tensor};

use crate::{Builder, Ctx, Init, Result};

/// A table of rows.
#[derive(Clone)]
pub struct Embedding {
    table: Parameter,
}

impl Embedding {
    /// `weight [rows, width]`
    pub fn new(builder: &mut Builder, rows: usize, width: usize, init: Init) -> Result<Self> {
        Ok(Self { table: builder.parameter("weight", &[rows, width], ParameterKind::Embedding, init)? })
    }

    /// The rows of `ids`; an id outside the table is an error.
    pub fn forward(&self, ctx: &Ctx, ids: &[usize]) -> Result<Tensor> {
        Ok(ctx.value(&self.table).rows(ids)?)
    }

    /// The table `[V, D]`.
    pub fn table(&self) -> &Parameter {
        &self.table
    }
}

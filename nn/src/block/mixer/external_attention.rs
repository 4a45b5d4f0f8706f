//! External attention: a memory that is the same for all texts.
//! Definition:  A = softmax over tokens of x M_k^T, its rows divided by their sums + 1e-9;  A M_v.
//!              With `row_softmax` softmax over the memory instead: then no token sees another
//! Shapes:      x [T, D], M_k, M_v [S, D], S = slots -> [T, D].  Cost O(T S D)
//! Reference:   Guo et al., Beyond self-attention, 2021.   Vectors: non-transformer-mixers.json

use bert4rs_tensor::op::per_text::per_text;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use crate::block::Linear;
use crate::{Builder, Ctx, Init, Result};

const EPS: f64 = 1e-9; // the authors'

/// The memory between two products.
#[derive(Clone)]
pub struct ExternalAttention {
    input: Linear,
    keys: Parameter,
    values: Parameter,
    output: Linear,
    row_softmax: bool,
}

impl ExternalAttention {
    /// `external.input`, `external.keys [S, D]`, `external.values [S, D]` (equal at first) and
    /// `external.output`.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        slots: usize,
        row_softmax: bool,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let mut at = builder.at("external");
        let input = Linear::new(&mut at.at("input"), width, width, bias, init)?;
        let mut memory = |name| at.parameter(name, &[slots, width], ParameterKind::Matrix, init);
        let (keys, values) = (memory("keys")?, memory("values")?);
        values.set(&keys.value())?;
        let output = Linear::new(&mut at.at("output"), width, width, bias, init)?;
        Ok(Self { input, keys, values, output, row_softmax })
    }

    /// Arranges the weights of the outer products for inference.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.input.prepare(precision)?;
        self.output.prepare(precision)
    }

    /// What every token reads from the memory, plus `residual`.
    pub fn forward(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        batch: &Packed,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let x = self.input.forward(ctx, x)?;
        let (keys, values) = (ctx.value(&self.keys), ctx.value(&self.values));
        let read = read_memory(&x, &keys, &values, batch, self.row_softmax)?;
        self.output.forward_with(ctx, &read, None, residual)
    }
}

/// `A M_v` of the head of this file.
pub fn read_memory(
    x: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    batch: &Packed,
    row_softmax: bool,
) -> Result<Tensor> {
    if row_softmax {
        return Ok(x.matmul_t(keys)?.softmax()?.matmul(values)?);
    }
    let width = values.shape().last().copied().unwrap_or(0);
    Ok(per_text(&[x], &[keys, values], batch, width, |_, x, memory| {
        let over_tokens = memory[0].matmul_t(&x[0])?.softmax()?.t()?; // [n, S]
        let sums = over_tokens.sum(-1, true)?.add_scalar(EPS)?;
        over_tokens.div(&sums)?.matmul(&memory[1])
    })?)
}

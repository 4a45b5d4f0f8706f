//! Random synthesizer: attention weights that are learned for pairs of positions, not computed.
//! Definition:  softmax(mask(B_h[:n, :n])) (x W_v)_h, heads side by side, then W_o
//! Shapes:      x [T, D], B [H, N, N] -> [T, D], N = the longest text.  Cost O(T L D)
//! Reference:   Tay et al., Synthesizer, 2020.            Vectors: non-transformer-mixers.json

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::per_text::per_text;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use super::visible::masked;
use crate::block::{Linear, Surroundings};
use crate::{Builder, Ctx, Init, Result};

/// Values, learned weights of pairs, output.
#[derive(Clone)]
pub struct Synthesizer {
    value: Linear,
    pairs: Parameter,
    output: Linear,
}

impl Synthesizer {
    /// `self.value`, `self.pairs [H, N, N]` and `output.dense`.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        heads: usize,
        max_length: usize,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let shape = [heads, max_length, max_length];
        Ok(Self {
            value: Linear::new(&mut builder.at("self.value"), width, width, bias, init)?,
            // Logits: their fan is no fan of a product, so they start near uniform weights.
            pairs: builder.at("self").parameter(
                "pairs",
                &shape,
                ParameterKind::Matrix,
                Init::Normal { deviation: 0.02 },
            )?,
            output: Linear::new(&mut builder.at("output.dense"), width, width, bias, init)?,
        })
    }

    /// Arranges the weights of the outer products for inference.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.value.prepare(precision)?;
        self.output.prepare(precision)
    }

    /// What every token gathers, plus `residual`.
    pub fn forward(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        around: &Surroundings,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let values = self.value.forward(ctx, x)?;
        let gathered = synthesize(&values, &ctx.value(&self.pairs), around.batch, around.mask)?;
        self.output.forward_with(ctx, &gathered, None, residual)
    }
}

/// `softmax(mask(B_h[:n, :n])) V_h` of every head, side by side.
pub fn synthesize(values: &Tensor, pairs: &Tensor, batch: &Packed, mask: &Mask) -> Result<Tensor> {
    let width = values.shape().last().copied().unwrap_or(0);
    let (heads, mask) = (pairs.shape()[0], mask.clone());
    Ok(per_text(&[values], &[pairs], batch, width, move |b, v, pairs| {
        let (n, size) = (v[0].shape()[0], width / heads);
        let gathered = (0..heads).map(|h| {
            let scores = pairs[0].narrow(0, h, 1)?.narrow(1, 0, n)?.narrow(2, 0, n)?.reshape(&[n, n])?;
            masked(&scores, &mask, b)?.softmax()?.matmul(&v[0].narrow(1, h * size, size)?)
        });
        let gathered = gathered.collect::<std::result::Result<Vec<_>, bert4rs_tensor::Error>>()?;
        Tensor::concat(&gathered.iter().collect::<Vec<_>>(), 1)
    })?)
}

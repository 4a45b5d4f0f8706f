//! Spatial gating unit, with or without a small attention.
//! Definition:  z = gelu(x W_1 + b_1), z = [u, v];  gate = W_s norm(v) + b_s (+ attention(x));
//!              y = (u * gate) W_2 + b_2;  texts of n tokens use the first n rows and columns of W_s
//! Shapes:      x [T, D], z [T, size], W_s [N, N] -> [T, D], N = the longest text.  Cost O(T L size)
//! Numerics:    W_s starts near 0 and b_s at 1, so that a block starts as a feed-forward part
//! Reference:   Liu et al., Pay attention to MLPs, 2021.   Vectors: non-transformer-mixers.json

use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::attention::{Attention, Mask, attention};
use bert4rs_tensor::op::per_text::per_text;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Parameter, ParameterKind, Tensor};

use super::visible::visible;
use crate::block::{Linear, Norm, Surroundings};
use crate::encoder::{self, EncoderConfig};
use crate::{Builder, Ctx, Init, Result};

/// The whole block of gMLP or aMLP.
#[derive(Clone)]
pub struct SpatialGate {
    input: Linear,
    norm: Norm,
    weight: Parameter,
    bias: Parameter,
    attention: Option<TinyAttention>,
    output: Linear,
}

/// One head whose result is added to the gate.
#[derive(Clone)]
struct TinyAttention {
    joint: Linear,
    output: Linear,
    size: usize,
}

impl SpatialGate {
    /// `gate.input`, `gate.LayerNorm`, `gate.spatial.weight [N, N]`, `gate.spatial.bias [N]`,
    /// `gate.attention.joint`, `gate.attention.output` and `gate.output`.
    pub fn new(
        builder: &mut Builder,
        config: &EncoderConfig,
        size: usize,
        max_length: usize,
        attention: Option<usize>,
        init: Init,
    ) -> Result<Self> {
        let (width, bias, half) = (config.hidden_size, config.bias, size / 2);
        let mut at = builder.at("gate");
        let norm = match config.norm {
            encoder::Norm::None => encoder::Norm::Layer { eps: 1e-5, gain: true },
            other => other,
        };
        let limit = 1e-3 / max_length as f64; // the authors' start
        let square = [max_length, max_length];
        let small = Init::Uniform { limit };
        Ok(Self {
            input: Linear::new(&mut at.at("input"), width, size, bias, init)?,
            norm: Norm::new(&mut at.at("LayerNorm"), half, norm, bias)?,
            weight: at.at("spatial").parameter("weight", &square, ParameterKind::Matrix, small)?,
            bias: at.at("spatial").parameter("bias", &[max_length], ParameterKind::Bias, Init::Ones)?,
            attention: match attention {
                None => None,
                Some(size) => Some(TinyAttention {
                    joint: Linear::new(&mut at.at("attention.joint"), width, 3 * size, false, init)?,
                    output: Linear::new(&mut at.at("attention.output"), size, half, false, init)?,
                    size,
                }),
            },
            output: Linear::new(&mut at.at("output"), half, width, bias, init)?,
        })
    }

    /// Arranges the weights of products over channels for inference; those over positions stay.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        if let Some(attention) = &mut self.attention {
            attention.joint.prepare(precision)?;
            attention.output.prepare(precision)?;
        }
        self.input.prepare(precision)?;
        self.output.prepare(precision)
    }

    /// The block's result plus `residual`.
    pub fn forward(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        around: &Surroundings,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let z = self.input.forward_with(ctx, x, Some(Activation::Gelu), None)?; // [T, size]
        let gated = self.gate(ctx, x, &z, around)?;
        self.output.forward_with(ctx, &gated, None, residual)
    }

    /// `u * gate` of `z = [u, v]`.
    pub fn gate(&self, ctx: &Ctx, x: &Tensor, z: &Tensor, around: &Surroundings) -> Result<Tensor> {
        let half = z.shape().last().copied().unwrap_or(0) / 2;
        let (u, v) = (z.narrow(-1, 0, half)?, z.narrow(-1, half, half)?);
        let v = self.norm.forward(ctx, &v)?; // [T, size / 2]
        let mask = around.mask.clone();
        let positions = [ctx.value(&self.weight), ctx.value(&self.bias)];
        let gate = per_text(&[&v], &[&positions[0], &positions[1]], around.batch, half, move |b, v, w| {
            let n = v[0].shape()[0];
            let mut weight = w[0].narrow(0, 0, n)?.narrow(1, 0, n)?; // [n, n]
            if mask != Mask::Full {
                weight = weight.mul(&visible(&mask, b, n, weight.dtype())?)?;
            }
            weight.matmul(&v[0])?.add(&w[1].narrow(0, 0, n)?.reshape(&[n, 1])?)
        })?;
        let gate = match &self.attention {
            None => gate,
            Some(TinyAttention { joint, output, size }) => {
                let joint = joint.forward(ctx, x)?; // [T, 3 K]
                let part = |i: usize| joint.narrow(-1, i * size, *size);
                let scale = (*size as f64).sqrt().recip();
                let how = Attention::new(1, scale, around.mask.clone());
                let gathered = attention(&part(0)?, &part(1)?, &part(2)?, around.batch, &how)?;
                output.forward_with(ctx, &gathered, None, Some(&gate))?
            }
        };
        Ok(u.mul(&gate)?)
    }
}

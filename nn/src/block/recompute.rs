//! A layer that keeps its input only and runs again in the backward pass.
//! Cost:        one more forward pass of the layer, for the memory of everything inside it
//! Numerics:    bit for bit the layer's own result and gradient: dropout draws the same numbers again;
//!              positions with parameters that all layers share add up their gradients in another order

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::recompute::recompute;

use super::{Layer, Surroundings};
use crate::{Ctx, Error, Result};

/// The output of `layer`.
pub fn forward_recomputed(layer: &Layer, ctx: &mut Ctx, x: &Tensor, around: &Surroundings) -> Result<Tensor> {
    let (start, kept) = (ctx.clone(), layer.clone());
    let (batch, mask) = (around.batch.clone(), around.mask.clone());
    let (rotation, local_rotation) = (around.rotation.clone(), around.local_rotation.clone());
    let (bias, relative) = (around.bias.clone(), around.relative.clone());
    let again = move |x: &Tensor| {
        let around = Surroundings {
            rotation: rotation.clone(),
            local_rotation: local_rotation.clone(),
            bias: bias.clone(),
            relative: relative.clone(),
            ..Surroundings::plain(&batch, &mask)
        };
        kept.forward(&mut start.clone(), x, &around).map_err(|e| match e {
            Error::Tensor(e) => e,
            other => bert4rs_tensor::Error::Value { op: "recompute", message: other.to_string() },
        })
    };
    recompute(x, |x| layer.forward(ctx, x, around), again)
}

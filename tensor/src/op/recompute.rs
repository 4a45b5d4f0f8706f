//! A part of a model that keeps its input only: what happens inside runs again in the backward pass.
//! Definition:  y = f(x)
//! Gradient:    fused; `f` runs a second time, then backwards. Parameters that `f` uses get theirs.
//! Cost:        one more forward pass of `f` in time; the memory of x instead of all inside
//! Reference:   Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016

use crate::gradient::{leaves, pull_back};
use crate::{Error, Result, Tensor};

/// `f(x)` without keeping what is inside. `first` computes the result now, `again` in the backward
/// pass; both must do the same, random numbers included.
pub fn recompute<E: From<Error>>(
    x: &Tensor,
    first: impl FnOnce(&Tensor) -> std::result::Result<Tensor, E>,
    again: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> std::result::Result<Tensor, E> {
    let input = if x.is_tracked() { x.tracked() } else { x.clone() };
    let y = first(&input)?;
    let mut parameters = leaves(&y);
    parameters.retain(|leaf| !leaf.is(&input));
    let mut inputs = vec![x];
    inputs.extend(&parameters);
    let (storage, shape) = (y.storage().clone(), y.shape().to_vec());
    drop(y);
    let kept = parameters.clone();
    Ok(Tensor::made("recompute", true, storage, shape, &inputs, move |step| {
        let x = if step.needs[0] { step.inputs[0].tracked() } else { step.inputs[0].clone() };
        let y = again(&x)?;
        if y.shape() != step.output.shape() {
            let (first, second) = (step.output.shape(), y.shape());
            return Error::shape("recompute", format!("{first:?} the first time, {second:?} the second"));
        }
        let mut gradients = pull_back(y, step.grad.clone())?;
        Ok(std::iter::once(&x).chain(&kept).map(|leaf| gradients.take(leaf)).collect())
    }))
}

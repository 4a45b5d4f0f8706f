//! Two linear layers with an activation between them, as one operation.
//! Definition:  y = f(x W^T + b) U^T + c + r
//! Shapes:      x [T, D], W [F, D], b [F], U [N, F], c [N], r and y [T, N].  Cost O(T F (D + N))
//! Gradient:    fused; of the wide rows [T, F] only those before the activation are kept, those after
//!              it are computed again together with their derivative

use bert4rs_kernels::Real;
use bert4rs_kernels::activation::Activation;
use bert4rs_kernels::gemm::{self, Epilogue, FeedForwardGradients};

use super::linear;
use crate::buffer::unset;
use crate::gradient::Step;
use crate::storage::{Storage, float};
use crate::{Element, Error, Result, Tensor, profile};

/// The weights of one of the two layers.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// `[outputs, inputs]`
    pub weight: &'a Tensor,
    /// `[outputs]`
    pub bias: Option<&'a Tensor>,
}

/// `f(x W^T + b) U^T + c + r`; see the head of this file.
pub fn feed_forward(
    x: &Tensor,
    inner: Layer,
    f: Activation,
    outer: Layer,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (&[tokens, width], &[size, inputs], &[outputs, between]) =
        (x.shape(), inner.weight.shape(), outer.weight.shape())
    else {
        return misfit(x, inner, outer, residual);
    };
    let biases_fit =
        inner.bias.is_none_or(|b| b.shape() == [size]) && outer.bias.is_none_or(|b| b.shape() == [outputs]);
    let residual_fits = residual.is_none_or(|r| r.shape() == [tokens, outputs]);
    if inputs != width || between != size || !biases_fit || !residual_fits {
        return misfit(x, inner, outer, residual);
    }
    let mut operands = vec![x, inner.weight, outer.weight];
    operands.extend(inner.bias);
    operands.extend(outer.bias);
    operands.extend(residual);
    let keep = operands.iter().any(|t| t.is_tracked());
    let (storage, pre) = float!("feed_forward", x, T => {
        let mut pre = unset::<T>(if keep { tokens * size } else { 0 });
        let mut y = unset::<T>(tokens * outputs);
        let after = Epilogue {
            bias: outer.bias.map(|b| b.values::<T>()).transpose()?,
            residual: residual.map(|r| r.values::<T>()).transpose()?,
            ..Epilogue::default()
        };
        let layers = layers::<T>(x, inner.weight, outer.weight, f)?;
        let bias = inner.bias.map(|b| b.values::<T>()).transpose()?;
        let _scope = profile::scope("feed_forward y").product(tokens, size, width + outputs);
        layers.forward(x.values()?, bias, if keep { Some(&mut pre) } else { None }, after, &mut y);
        Ok::<_, Error>((Storage::from(y), Storage::from(pre)))
    })?;
    let pre = Tensor::constant(pre, if keep { vec![tokens, size] } else { vec![0] });
    let biases = [inner.bias.is_some(), outer.bias.is_some()];
    Ok(Tensor::made("feed_forward", true, storage, vec![tokens, outputs], &operands, move |step| {
        gradient(step, f, &pre, biases)
    }))
}

fn misfit(x: &Tensor, inner: Layer, outer: Layer, residual: Option<&Tensor>) -> Result<Tensor> {
    let shape = |t: Option<&Tensor>| t.map(|t| t.shape().to_vec());
    Error::shape(
        "feed_forward",
        format!(
            "x {:?}, inner weight {:?} and bias {:?}, outer weight {:?} and bias {:?}, residual {:?}: expected [T, D], [F, D], [F], [N, F], [N], [T, N]",
            x.shape(),
            inner.weight.shape(),
            shape(inner.bias),
            outer.weight.shape(),
            shape(outer.bias),
            shape(residual)
        ),
    )
}

/// Sizes and weights, as the kernel takes them.
fn layers<'a, T: Element + Real>(
    x: &Tensor,
    inner: &'a Tensor,
    outer: &'a Tensor,
    activation: Activation,
) -> Result<gemm::FeedForward<'a, T>> {
    let (rows, inputs, size, outputs) = (x.shape()[0], x.shape()[1], inner.shape()[0], outer.shape()[0]);
    let (inner, outer) = (inner.values::<T>()?, outer.values::<T>()?);
    Ok(gemm::FeedForward { rows, inputs, size, outputs, inner, outer, activation })
}

fn gradient(step: &Step, f: Activation, pre: &Tensor, biases: [bool; 2]) -> Result<Vec<Option<Tensor>>> {
    let (x, inner, outer) = (&step.inputs[0], &step.inputs[1], &step.inputs[2]);
    let (tokens, width) = (x.shape()[0], x.shape()[1]);
    let (size, outputs) = (inner.shape()[0], outer.shape()[0]);
    let [needs_x, needs_inner, needs_outer] = [0, 1, 2].map(|i| step.needs[i]);
    let mut grads = float!("feed_forward", x, T => {
        let g = step.grad.values::<T>()?; // [T, N]
        let [mut wide, mut d_wide] = [0; 2].map(|_| unset::<T>(tokens * size));
        let mut d_x = unset::<T>(if needs_x { tokens * width } else { 0 });
        let mut d_bias = unset::<T>(if biases[0] { size } else { 0 });
        let gradients = FeedForwardGradients {
            d_x: needs_x.then_some(&mut *d_x),
            wide: &mut wide,
            d_wide: &mut d_wide,
            d_bias: biases[0].then_some(&mut *d_bias),
        };
        let scope = profile::scope("feed_forward dx").product(tokens, size, outputs + if needs_x { width } else { 0 });
        layers::<T>(x, inner, outer, f)?.backward(pre.values()?, g, gradients);
        drop(scope);
        let d_outer = needs_outer.then(|| linear::weight_gradient::<T>([tokens, size, outputs], g, &wide));
        drop(wide);
        let d_inner = needs_inner.then(|| Ok::<_, Error>(linear::weight_gradient::<T>([tokens, width, size], &d_wide, x.values()?)));
        let d_x = needs_x.then(|| Tensor::constant(Storage::from(d_x), vec![tokens, width]));
        let d_inner = d_inner.transpose()?.map(|d| Tensor::constant(Storage::from(d), vec![size, width]));
        let d_outer = d_outer.map(|d| Tensor::constant(Storage::from(d), vec![outputs, size]));
        let mut grads = vec![d_x, d_inner, d_outer];
        if biases[0] {
            grads.push(Some(Tensor::constant(Storage::from(d_bias), vec![size])));
        }
        if biases[1] {
            let d = linear::bias_gradient::<T>(g, outputs);
            grads.push(Some(Tensor::constant(Storage::from(d), vec![outputs])));
        }
        Ok::<_, Error>(grads)
    })?;
    if step.inputs.len() > grads.len() {
        grads.push(Some(step.grad.clone()));
    }
    Ok(grads)
}

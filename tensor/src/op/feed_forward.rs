//! Two linear layers with an activation between them, as one operation.
//! Definition:  y = f(x W^T + b) U^T + c + r
//! Shapes:      x [T, D], W [F, D], b [F], U [N, F], c [N], r and y [T, N].  Cost O(T F (D + N))
//! Gradient:    fused; of the wide rows [T, F] only those before the activation are kept, those after
//!              it are computed again together with their derivative

use bert4rs_kernels::activation::{self, Activation};
use bert4rs_kernels::gemm::{self, Epilogue};

use super::linear;
use crate::buffer::unset;
use crate::gradient::Step;
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor, profile};

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
        let mut wide = unset::<T>(tokens * size);
        let epilogue = Epilogue {
            bias: inner.bias.map(|b| b.values::<T>()).transpose()?,
            activation: Some(f),
            residual: None,
            pre_activation: if keep { Some(&mut pre) } else { None },
        };
        let scope = profile::scope("feed_forward inner").product(tokens, size, width);
        gemm::linear(tokens, width, size, x.values::<T>()?, inner.weight.values::<T>()?, epilogue, &mut wide);
        drop(scope);
        let mut y = unset::<T>(tokens * outputs);
        let epilogue = Epilogue {
            bias: outer.bias.map(|b| b.values::<T>()).transpose()?,
            residual: residual.map(|r| r.values::<T>()).transpose()?,
            ..Epilogue::default()
        };
        let _scope = profile::scope("feed_forward outer").product(tokens, outputs, size);
        gemm::linear(tokens, size, outputs, &wide, outer.weight.values::<T>()?, epilogue, &mut y);
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

fn gradient(step: &Step, f: Activation, pre: &Tensor, biases: [bool; 2]) -> Result<Vec<Option<Tensor>>> {
    let (x, inner, outer) = (&step.inputs[0], &step.inputs[1], &step.inputs[2]);
    let (tokens, width) = (x.shape()[0], x.shape()[1]);
    let (size, outputs) = (inner.shape()[0], outer.shape()[0]);
    let [needs_x, needs_inner, needs_outer] = [0, 1, 2].map(|i| step.needs[i]);
    let mut grads = float!("feed_forward", x, T => {
        let g = step.grad.values::<T>()?; // [T, N]
        let mut d_wide = linear::input_gradient::<T>([tokens, size, outputs], g, outer.values()?); // [T, F]
        let mut wide = unset::<T>(tokens * size);
        let scope = profile::scope("feed_forward activation");
        activation::replay(f, pre.values::<T>()?, &mut wide, &mut d_wide);
        drop(scope);
        let d_outer = needs_outer.then(|| linear::weight_gradient::<T>([tokens, size, outputs], g, &wide));
        drop(wide);
        let d_inner = needs_inner.then(|| Ok::<_, Error>(linear::weight_gradient::<T>([tokens, width, size], &d_wide, x.values()?)));
        let d_x = needs_x.then(|| Ok::<_, Error>(linear::input_gradient::<T>([tokens, width, size], &d_wide, inner.values()?)));
        let d_x = d_x.transpose()?.map(|d| Tensor::constant(Storage::from(d), vec![tokens, width]));
        let d_inner = d_inner.transpose()?.map(|d| Tensor::constant(Storage::from(d), vec![size, width]));
        let d_outer = d_outer.map(|d| Tensor::constant(Storage::from(d), vec![outputs, size]));
        let mut grads = vec![d_x, d_inner, d_outer];
        for (has, g, n) in [(biases[0], &*d_wide, size), (biases[1], g, outputs)] {
            if has {
                grads.push(Some(Tensor::constant(Storage::from(linear::bias_gradient::<T>(g, n)), vec![n])));
            }
        }
        Ok::<_, Error>(grads)
    })?;
    if step.inputs.len() > grads.len() {
        grads.push(Some(step.grad.clone()));
    }
    Ok(grads)
}

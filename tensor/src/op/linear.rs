//! Linear layer: product, bias, activation and residual in one pass.
//! Definition:  y = f(x W^T + b) + r
//! Shapes:      x [.., K], W [N, K], b [N], r and y [.., N].  Cost O(rows N K)
//! Gradient:    fused; the pre-activation is kept when there is an activation

use bert4rs_kernels::Real;
use bert4rs_kernels::activation::{self, Activation};
use bert4rs_kernels::gemm::{self, Epilogue, View};

use crate::buffer::{Buffer, Pooled, unset};
use crate::gradient::Step;
use crate::shape::elements;
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor, profile};

/// Everything that may follow the product.
#[derive(Clone, Copy, Default)]
pub struct After<'a> {
    /// Added to every row, `[N]`.
    pub bias: Option<&'a Tensor>,
    /// Applied to the sum.
    pub activation: Option<Activation>,
    /// Added last, of the result's shape.
    pub residual: Option<&'a Tensor>,
}

/// `f(x W^T + b) + r`; see the head of this file.
pub fn linear(x: &Tensor, weight: &Tensor, after: After) -> Result<Tensor> {
    let (Some(&inputs), &[outputs, k]) = (x.shape().last(), weight.shape()) else {
        return Error::shape(
            "linear",
            format!("x {:?}, weight {:?}: expected [.., K] and [N, K]", x.shape(), weight.shape()),
        );
    };
    let mut shape = x.shape().to_vec();
    shape[x.rank() - 1] = outputs;
    let bias_fits = after.bias.is_none_or(|b| b.shape() == [outputs]);
    let residual_fits = after.residual.is_none_or(|r| r.shape() == shape);
    if inputs != k || !bias_fits || !residual_fits {
        let (b, r) = (after.bias.map(Tensor::shape), after.residual.map(Tensor::shape));
        return Error::shape(
            "linear",
            format!("x {:?}, weight {:?}, bias {b:?}, residual {r:?} do not fit", x.shape(), weight.shape()),
        );
    }
    let rows = elements(&shape[..shape.len() - 1]);
    let mut operands = vec![x, weight];
    operands.extend(after.bias);
    operands.extend(after.residual);
    let keep = after.activation.is_some() && operands.iter().any(|t| t.is_tracked());
    let (storage, pre) = float!("linear", x, T => {
        let mut y = unset::<T>(rows * outputs);
        let mut pre = unset::<T>(if keep { rows * outputs } else { 0 });
        let epilogue = Epilogue {
            bias: after.bias.map(|b| b.values::<T>()).transpose()?,
            activation: after.activation,
            residual: after.residual.map(|r| r.values::<T>()).transpose()?,
            pre_activation: if keep { Some(&mut pre) } else { None },
        };
        let _scope = profile::scope("linear y").product(rows, outputs, inputs);
        gemm::linear(rows, inputs, outputs, x.values::<T>()?, weight.values::<T>()?, epilogue, &mut y);
        Ok::<_, Error>((Storage::from(y), Storage::from(pre)))
    })?;
    let pre = Tensor::constant(pre, if keep { vec![rows, outputs] } else { vec![0] });
    let (has_bias, f) = (after.bias.is_some(), after.activation);
    Ok(Tensor::made("linear", true, storage, shape, &operands, move |step| {
        gradient(step, [rows, inputs, outputs], has_bias, f, &pre)
    }))
}

fn gradient(
    step: &Step,
    [rows, inputs, outputs]: [usize; 3],
    has_bias: bool,
    f: Option<Activation>,
    pre: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let (x, weight) = (&step.inputs[0], &step.inputs[1]);
    let mut grads = float!("linear", x, T => {
        let g = step.grad.values::<T>()?;
        let through = match f {
            None => None,
            Some(f) => {
                let _scope = profile::scope("linear activation");
                let mut d = unset::<T>(g.len());
                activation::backward(f, pre.values::<T>()?, g, &mut d);
                Some(d)
            }
        };
        let g = through.as_deref().unwrap_or(g); // gradient before the activation, [rows, N]
        let sizes = [rows, inputs, outputs];
        let d_x = step.needs[0].then(|| weight.values::<T>().map(|w| input_gradient::<T>(sizes, g, w)));
        let d_w = step.needs[1].then(|| x.values::<T>().map(|x| weight_gradient::<T>(sizes, g, x)));
        let d_x = d_x.transpose()?.map(|d| Tensor::constant(Storage::from(d), x.shape().to_vec()));
        let d_w = d_w.transpose()?.map(|d| Tensor::constant(Storage::from(d), vec![outputs, inputs]));
        let mut grads = vec![d_x, d_w];
        if has_bias {
            grads.push(Some(Tensor::constant(Storage::from(bias_gradient::<T>(g, outputs)), vec![outputs])));
        }
        Ok::<_, Error>(grads)
    })?;
    if step.inputs.len() > grads.len() {
        grads.push(Some(step.grad.clone()));
    }
    Ok(grads)
}

/// `g W`: `[rows, inputs]` from `g [rows, outputs]` and `W [outputs, inputs]`.
pub(super) fn input_gradient<T: Real + Pooled>(
    [rows, inputs, outputs]: [usize; 3],
    g: &[T],
    weight: &[T],
) -> Buffer<T> {
    let _scope = profile::scope("linear dx").product(rows, inputs, outputs);
    let mut d = unset::<T>(rows * inputs);
    let (g, w) = (View::row_major(g, outputs), View::row_major(weight, inputs));
    gemm::matmul(rows, inputs, outputs, g, w, &mut d, false);
    d
}

/// `g^T x`: `[outputs, inputs]` from `g [rows, outputs]` and `x [rows, inputs]`.
pub(super) fn weight_gradient<T: Real + Pooled>(
    [rows, inputs, outputs]: [usize; 3],
    g: &[T],
    x: &[T],
) -> Buffer<T> {
    let _scope = profile::scope("linear dw").product(outputs, inputs, rows);
    let mut d = unset::<T>(outputs * inputs);
    gemm::matmul(
        outputs,
        inputs,
        rows,
        View::transposed(g, outputs),
        View::row_major(x, inputs),
        &mut d,
        false,
    );
    d
}

/// The sum of the rows of `g [rows, outputs]`.
pub(super) fn bias_gradient<T: Real + Pooled>(g: &[T], outputs: usize) -> Buffer<T> {
    let _scope = profile::scope("linear db");
    let mut d = unset::<T>(outputs);
    activation::sum_rows(g, outputs, &mut d);
    d
}

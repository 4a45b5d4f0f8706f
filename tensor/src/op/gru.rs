//! One direction of a gated recurrent unit over a packed batch.
//! Definition:  z, r = sigmoid of x W + h U; g = tanh(x W + r (h U + b));  h' = (1 - z) h + z g
//! Shapes:      x_gates [T, 3H] = x W^T + b (gate order z, r, g), recurrent [3H, H], bias [H] -> h [T, H]
//! Gradient:    fused (backpropagation through time).  Cost O(T H^2), serial in the longest sequence
//! Vectors:     rnn-gradient-analysis.json

use bert4rs_kernels::gru as kernel;

use super::linear::weight_gradient;
use crate::buffer::{unset, zeros};
use crate::storage::{Storage, float};
use crate::{Error, Packed, Result, Tensor};

/// Hidden states of every token; `reverse` starts at each sequence's last token.
pub fn gru(
    x_gates: &Tensor,
    recurrent: &Tensor,
    bias: &Tensor,
    batch: &Packed,
    reverse: bool,
) -> Result<Tensor> {
    let misfit = || {
        let (x, u, b, t) = (x_gates.shape(), recurrent.shape(), bias.shape(), batch.tokens());
        let message = format!(
            "x_gates {x:?}, recurrent {u:?}, bias {b:?}, {t} packed tokens: expected [T, 3H], [3H, H], [H]"
        );
        Error::shape("gru", message)
    };
    let (&[tokens, gates], &[rows, hidden]) = (x_gates.shape(), recurrent.shape()) else { return misfit() };
    if gates != 3 * hidden || rows != gates || bias.shape() != [hidden] || tokens != batch.tokens() {
        return misfit();
    }
    let (h, kept, inner) = float!("gru", x_gates, T => {
        let mut h = unset::<T>(tokens * hidden);
        let (mut kept, mut inner) = (unset::<T>(tokens * gates), unset::<T>(tokens * hidden));
        let weights = (recurrent.values::<T>()?, bias.values::<T>()?);
        let keep = kernel::Kept { gates: &mut kept[..], inner: &mut inner[..] };
        kernel::gru_forward(batch.offsets(), hidden, x_gates.values::<T>()?, weights, reverse, &mut h, keep);
        Ok::<_, Error>((Storage::from(h), Storage::from(kept), Storage::from(inner)))
    })?;
    let kept = Tensor::constant(kept, vec![tokens, gates]);
    let inner = Tensor::constant(inner, vec![tokens, hidden]);
    let batch = batch.clone();
    Ok(Tensor::made("gru", true, h, vec![tokens, hidden], &[x_gates, recurrent, bias], move |step| {
        float!("gru", step.grad, T => {
            let (mut d_x, mut d_products) = (unset::<T>(tokens * gates), unset::<T>(tokens * gates));
            let states = step.output.values::<T>()?;
            let saved = kernel::Saved { hidden: states, gates: kept.values()?, inner: inner.values()? };
            kernel::gru_backward(
                batch.offsets(), hidden, step.inputs[1].values::<T>()?, reverse, saved, step.grad.values()?,
                (&mut d_x, &mut d_products),
            );
            // The state before each token: that of its neighbour, 0 at the first.
            let mut before = zeros::<T>(tokens * hidden);
            for b in 0..batch.sequences() {
                let range = batch.range(b);
                if range.len() > 1 {
                    let (to, from) = if reverse { (0, 1) } else { (1, 0) };
                    let moved = |at: usize| (range.start + at) * hidden..(range.end - 1 + at) * hidden;
                    before[moved(to)].copy_from_slice(&states[moved(from)]);
                }
            }
            let d_u = weight_gradient::<T>([tokens, hidden, gates], &d_products, &before);
            let mut d_bias = zeros::<T>(hidden);
            for row in d_products.chunks_exact(gates.max(1)) {
                d_bias.iter_mut().zip(&row[2 * hidden..]).for_each(|(d, &g)| *d += g);
            }
            Ok(vec![
                Some(Tensor::constant(Storage::from(d_x), vec![tokens, gates])),
                Some(Tensor::constant(Storage::from(d_u), vec![gates, hidden])),
                Some(Tensor::constant(Storage::from(d_bias), vec![hidden])),
            ])
        })
    }))
}

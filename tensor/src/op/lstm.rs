//! One direction of a long short-term memory over a packed batch.
//! Definition:  i, f, o = sigmoid, g = tanh of x W + h U + b;  c' = f c + i g;  h' = o tanh(c')
//! Shapes:      x_gates [T, 4H] = x W^T + b (gate order i, f, g, o), recurrent [4H, H] -> h [T, H]
//! Gradient:    fused (backpropagation through time).  Cost O(T H^2), serial in the longest sequence

use bert4rs_kernels::lstm as kernel;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Packed, Result, Tensor};

/// Hidden states of every token; `reverse` starts at each sequence's last token.
pub fn lstm(x_gates: &Tensor, recurrent: &Tensor, batch: &Packed, reverse: bool) -> Result<Tensor> {
    let (&[tokens, gates], &[rows, hidden]) = (x_gates.shape(), recurrent.shape()) else {
        return Error::shape(
            "lstm",
            format!("x_gates {:?}, recurrent {:?}", x_gates.shape(), recurrent.shape()),
        );
    };
    if gates != 4 * hidden || rows != gates || tokens != batch.tokens() {
        return Error::shape(
            "lstm",
            format!(
                "x_gates {:?}, recurrent {:?}, {} packed tokens: expected [T, 4H] and [4H, H]",
                x_gates.shape(),
                recurrent.shape(),
                batch.tokens()
            ),
        );
    }
    let (h, kept, cells) = float!("lstm", x_gates, T => {
        let mut h = unset::<T>(tokens * hidden);
        let (mut kept, mut cells) = (unset::<T>(tokens * gates), unset::<T>(tokens * hidden));
        kernel::lstm_forward(batch.offsets(), hidden, x_gates.values::<T>()?, recurrent.values()?, reverse, &mut h, &mut kept, &mut cells);
        Ok::<_, Error>((Storage::from(h), Storage::from(kept), Storage::from(cells)))
    })?;
    let kept = Tensor::constant(kept, vec![tokens, gates]);
    let cells = Tensor::constant(cells, vec![tokens, hidden]);
    let batch = batch.clone();
    Ok(Tensor::made("lstm", true, h, vec![tokens, hidden], &[x_gates, recurrent], move |step| {
        float!("lstm", step.grad, T => {
            let (mut d_x, mut d_u) = (unset::<T>(tokens * gates), unset::<T>(gates * hidden));
            kernel::lstm_backward(
                batch.offsets(), hidden, step.inputs[1].values::<T>()?, reverse, step.output.values()?, kept.values()?,
                cells.values()?, step.grad.values()?, &mut d_x, &mut d_u,
            );
            Ok(vec![
                Some(Tensor::constant(Storage::from(d_x), vec![tokens, gates])),
                Some(Tensor::constant(Storage::from(d_u), vec![gates, hidden])),
            ])
        })
    }))
}

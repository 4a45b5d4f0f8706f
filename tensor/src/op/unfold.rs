//! Windows of neighbouring tokens in a packed batch: convolution as one matrix product.
//! Definition:  column block w of row t = x[t + (w - window / 2) dilation], zeros outside the sequence
//! Shapes:      x [T, D] -> [T, window D].  Gradient: its adjoint; linear, so of any order

use bert4rs_kernels::unfold as kernel;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Packed, Result, Tensor};

/// Windows of `x [T, D]`; `window` is odd and `dilation` at least 1.
pub fn unfold(x: &Tensor, batch: &Packed, window: usize, dilation: usize) -> Result<Tensor> {
    let &[tokens, width] = x.shape() else {
        return Error::shape("unfold", format!("x {:?}: expected [T, D]", x.shape()));
    };
    if tokens != batch.tokens() || window.is_multiple_of(2) || dilation == 0 {
        return Error::shape(
            "unfold",
            format!(
                "x {:?}, {} packed tokens, window {window} (odd), dilation {dilation} (at least 1)",
                x.shape(),
                batch.tokens()
            ),
        );
    }
    let storage = float!("unfold", x, T => {
        let mut out = unset::<T>(tokens * window * width);
        kernel::unfold(batch.offsets(), x.values::<T>()?, width, window, dilation, &mut out);
        Ok::<_, Error>(Storage::from(out))
    })?;
    let batch = batch.clone();
    Ok(Tensor::made("unfold", false, storage, vec![tokens, window * width], &[x], move |step| {
        Ok(vec![Some(fold(&step.grad, &batch, width, window, dilation)?)])
    }))
}

fn fold(y: &Tensor, batch: &Packed, width: usize, window: usize, dilation: usize) -> Result<Tensor> {
    let tokens = batch.tokens();
    let storage = float!("fold", y, T => {
        let mut out = unset::<T>(tokens * width);
        kernel::fold(batch.offsets(), y.values::<T>()?, width, window, dilation, &mut out);
        Ok::<_, Error>(Storage::from(out))
    })?;
    let batch = batch.clone();
    Ok(Tensor::made("fold", false, storage, vec![tokens, width], &[y], move |step| {
        Ok(vec![Some(unfold(&step.grad, &batch, window, dilation)?)])
    }))
}

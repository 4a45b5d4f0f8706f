//! Softmax over the last axis. Elementary. A row of `-inf` only gives zeros.

use bert4rs_kernels::softmax;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor};

impl Tensor {
    /// `e^x / sum(e^x)` over the last axis. Cost O(elements).
    pub fn softmax(&self) -> Result<Tensor> {
        let Some(&width) = self.shape().last() else {
            return Error::shape("softmax", "a scalar has no axis");
        };
        let storage = float!("softmax", self, T => {
            let mut out = unset::<T>(self.elements());
            if width > 0 {
                softmax::softmax_rows(self.values::<T>()?, width, &mut out);
            }
            Ok::<_, Error>(Storage::from(out))
        })?;
        Ok(Tensor::made("softmax", false, storage, self.shape().to_vec(), &[self], |step| {
            // dx = y (g - sum(g y))
            let (y, g) = (&step.output, &step.grad);
            let inner = g.mul(y)?.sum(-1, true)?;
            Ok(vec![Some(y.mul(&g.sub(&inner)?)?)])
        }))
    }

    /// `x - ln(sum(e^x))` over the last axis.
    pub fn log_softmax(&self) -> Result<Tensor> {
        self.sub(&self.log_sum_exp(-1, true)?)
    }
}

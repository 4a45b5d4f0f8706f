//! Dropout. Fused: the mask is a function of a seed and is recomputed in the backward pass.

use bert4rs_kernels::activation;
use bert4rs_kernels::random::Dropout;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor};

impl Tensor {
    /// Sets each element to 0 with probability `rate` and multiplies the rest by `1 / (1 - rate)`.
    /// The same `seed` gives the same mask.
    pub fn dropout(&self, rate: f64, seed: u64) -> Result<Tensor> {
        if rate == 0.0 {
            return Ok(self.clone());
        }
        if !(0.0..1.0).contains(&rate) {
            return Error::value("dropout", format!("rate {rate} is outside 0..1"));
        }
        apply(self, Dropout::new(rate, seed))
    }
}

fn apply(x: &Tensor, rule: Dropout) -> Result<Tensor> {
    let storage = float!("dropout", x, T => {
        let mut y = unset::<T>(x.elements());
        activation::dropout(rule, x.values::<T>()?, &mut y);
        Ok::<_, Error>(Storage::from(y))
    })?;
    // Linear, so the rule applied to a tracked gradient is its own second-order gradient.
    Ok(Tensor::made("dropout", false, storage, x.shape().to_vec(), &[x], move |step| {
        Ok(vec![Some(apply(&step.grad, rule)?)])
    }))
}

//! The context of a forward pass: training or inference, and the random numbers.

use bert4rs_tensor::op::rounding::Half;
use bert4rs_tensor::{Parameter, Rng, Tensor};

use crate::Result;

/// Travels through every forward as its first argument.
#[derive(Clone)]
pub struct Ctx {
    rng: Option<Rng>,
    recompute: bool,
    half: Option<Half>,
}

impl Ctx {
    /// Training: parameters are tracked and dropout is on.
    pub fn training(rng: Rng) -> Self {
        Self { rng: Some(rng), recompute: false, half: None }
    }

    /// Inference: nothing is tracked, nothing is random.
    pub fn inference() -> Self {
        Self { rng: None, recompute: false, half: None }
    }

    /// The same, with layers that keep their input only and run again in the backward pass.
    pub fn recomputing(self) -> Self {
        Self { recompute: true, ..self }
    }

    /// Whether layers run again in the backward pass.
    pub fn recomputes(&self) -> bool {
        self.recompute && self.is_training()
    }

    /// The same, with products of linear layers as a device with 16-bit products computes them: factors
    /// and results, and their gradients, are rounded to the format, sums are exact to f32.
    pub fn rounding(self, to: Half) -> Self {
        Self { half: Some(to), ..self }
    }

    /// What products are rounded to, in training.
    pub fn half(&self) -> Option<Half> {
        self.half.filter(|_| self.is_training())
    }

    /// Whether this is training.
    pub fn is_training(&self) -> bool {
        self.rng.is_some()
    }

    /// The value of a parameter, tracked in training.
    pub fn value(&self, parameter: &Parameter) -> Tensor {
        if self.is_training() { parameter.leaf() } else { parameter.value() }
    }

    /// Dropout in training, `x` itself in inference.
    pub fn dropout(&mut self, x: &Tensor, rate: f64) -> Result<Tensor> {
        match self.seed(rate) {
            Some(seed) => Ok(x.dropout(rate, seed)?),
            None => Ok(x.clone()),
        }
    }

    /// A fresh seed for a dropout of this rate, none when there is nothing to drop.
    pub fn seed(&mut self, rate: f64) -> Option<u64> {
        self.rng.as_mut().filter(|_| rate > 0.0).map(Rng::next_u64)
    }

    /// The generator, in training.
    pub fn rng(&mut self) -> Option<&mut Rng> {
        self.rng.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::{DType, ParameterKind, Params};

    use super::*;

    #[test]
    fn inference_tracks_and_drops_nothing() {
        let mut params = Params::new();
        let w = params.add("w", &Tensor::full(1.0, &[64], DType::F32), ParameterKind::Matrix).unwrap();
        let mut ctx = Ctx::inference();
        assert!(!ctx.value(&w).is_tracked());
        assert_eq!(ctx.dropout(&w.value(), 0.5).unwrap().to_f64_vec(), [1.0; 64]);
        let mut ctx = Ctx::training(Rng::new(1));
        assert!(ctx.value(&w).is_tracked());
        assert_ne!(ctx.dropout(&w.value(), 0.5).unwrap().to_f64_vec(), [1.0; 64]);
    }
}

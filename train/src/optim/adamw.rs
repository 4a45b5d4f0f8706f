//! AdamW: two moments per parameter, bias-corrected; decay apart from the gradient.
//! Definition:  m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
//!              theta -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay theta)
//! Decay:       matrices and embeddings only; biases, gains and shifts have none
//! Reference:   Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2017.
//!              Vectors: tiger-lion-optimizers.json

use bert4rs_tensor::op::optimizer as op;
use bert4rs_tensor::{Parameter, Result, Tensor};

/// The settings that hold for a whole run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the second mean.
    pub eps: f64,
    /// Decoupled decay of matrices and embeddings, multiplied by the learning rate.
    pub weight_decay: f64,
}

/// The moments of one parameter.
#[derive(Clone)]
pub struct Slot {
    /// Mean of the gradients.
    pub m: Tensor,
    /// Mean of their squares.
    pub v: Tensor,
}

impl Slot {
    /// Moments before the first step: zeros.
    pub fn new(parameter: &Parameter) -> Self {
        let zeros = parameter.value().zeros_like();
        Self { m: zeros.clone(), v: zeros }
    }
}

impl AdamW {
    /// Update number `t` (from 1) of one parameter; the gradient is multiplied by `gradient_scale`.
    pub fn update(
        &self,
        parameter: &Parameter,
        slot: &mut Slot,
        gradient: &Tensor,
        gradient_scale: f64,
        lr: f64,
        t: u64,
    ) -> Result<()> {
        let weight_decay = if parameter.kind().decays() { self.weight_decay } else { 0.0 };
        let &Self { beta1, beta2, eps, .. } = self;
        let settings = op::AdamW { lr, beta1, beta2, eps, weight_decay, step: t, gradient_scale };
        op::adamw(&settings, parameter, gradient, &mut slot.m, &mut slot.v)
    }
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::{DType, ParameterKind, Params};
    use bert4rs_testing::{golden, tensor_of};

    use super::*;

    #[test]
    fn steps_equal_the_reference() {
        let mut seen = 0;
        for case in golden("tiger-lion-optimizers").iter().filter(|c| c.name.starts_with("adamw")) {
            for (dtype, tolerance) in [(DType::F64, case.tol), (DType::F32, 1e-6)] {
                let mut params = Params::new();
                let start = case.input("theta").cast(dtype).unwrap();
                let theta = params.add("theta", &start, ParameterKind::Matrix).unwrap();
                let optimizer = AdamW {
                    beta1: case.number("beta1"),
                    beta2: case.number("beta2"),
                    eps: case.number("eps"),
                    weight_decay: case.number("weight_decay"),
                };
                let mut slot = Slot::new(&theta);
                let steps = case.expected["theta_per_step"].as_array().unwrap();
                for (i, want) in steps.iter().enumerate() {
                    let g = tensor_of(&case.inputs["grads"][i]).cast(dtype).unwrap();
                    optimizer.update(&theta, &mut slot, &g, 1.0, case.number("lr"), i as u64 + 1).unwrap();
                    let pairs = theta.value().to_f64_vec().into_iter().zip(tensor_of(want).to_f64_vec());
                    for (got, want) in pairs {
                        let within = (got - want).abs() <= tolerance * (1.0 + want.abs());
                        assert!(within, "{} step {i} {dtype:?}: {got}, expected {want}", case.name);
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, 2 * 2 * 6 * 12, "two cases of six steps in two types");
    }

    #[test]
    fn only_matrices_and_embeddings_decay() {
        let optimizer = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.5 };
        let kinds = [
            (ParameterKind::Matrix, 0.95),
            (ParameterKind::Embedding, 0.95),
            (ParameterKind::Bias, 1.0),
            (ParameterKind::NormGain, 1.0),
            (ParameterKind::NormShift, 1.0),
        ];
        for (kind, want) in kinds {
            let mut params = Params::new();
            let one = Tensor::full(1.0, &[1], DType::F64);
            let p = params.add("p", &one, kind).unwrap();
            optimizer.update(&p, &mut Slot::new(&p), &one.zeros_like(), 1.0, 0.1, 1).unwrap();
            assert_eq!(p.value().to_f64_vec(), [want], "{kind:?}");
        }
    }
}

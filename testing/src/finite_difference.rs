//! Gradients against central differences.

use bert4rs_tensor::{DType, Result, Tensor, grad};

/// Asserts that the gradient of `sum(f(xs) * r)`, with fixed pseudo-random weights `r`, equals its
/// central difference for every element of every input. Inputs are `f64`; `f` must be smooth there.
pub fn assert_gradients(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let weighted = |xs: &[Tensor]| -> Result<Tensor> {
        let y = f(xs)?;
        let weights: Vec<f64> =
            (0..y.elements()).map(|i| ((i * 7919 % 23) as f64 - 11.0) / 7.0 + 0.1).collect();
        y.mul(&Tensor::new(weights, y.shape())?)?.sum_all()
    };
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::tracked).collect();
    let y = weighted(&leaves).unwrap_or_else(|e| panic!("{name}: {e}"));
    let grads = grad(&y, &leaves.iter().collect::<Vec<_>>(), false).unwrap_or_else(|e| panic!("{name}: {e}"));
    for (i, (x, g)) in inputs.iter().zip(&grads).enumerate() {
        assert_eq!(x.dtype(), DType::F64, "{name}: finite differences need f64");
        let g = g.to_f64_vec();
        for j in 0..x.elements() {
            let at = |delta: f64| {
                let mut values = x.to_f64_vec();
                values[j] += delta;
                let mut moved = inputs.to_vec();
                moved[i] = Tensor::new(values, x.shape()).unwrap();
                weighted(&moved).unwrap().item().unwrap()
            };
            let step = 1e-5 * (1.0 + x.to_f64_vec()[j].abs());
            let expected = (at(step) - at(-step)) / (2.0 * step);
            let error = (g[j] - expected).abs() / (1.0 + expected.abs());
            assert!(error < 2e-7, "{name}: d/d input {i}[{j}] is {}, central difference {expected}", g[j]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_gradient_passes() {
        let x = Tensor::new(vec![0.3, -0.7], &[2]).unwrap();
        assert_gradients("tanh", &[x], |xs| xs[0].tanh());
    }

    #[test]
    #[should_panic(expected = "central difference")]
    fn a_wrong_gradient_fails() {
        let x = Tensor::new(vec![0.3, -0.7], &[2]).unwrap();
        assert_gradients("half detached", &[x], |xs| xs[0].mul(&xs[0].detach()));
    }
}

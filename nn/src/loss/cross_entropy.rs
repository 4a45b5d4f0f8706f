//! Softmax cross entropy, averaged over the rows that have a target.
//! Definition:  mean over i with t_i >= 0 of logsumexp(x_i) - x_i[t_i]
//! Shapes:      logits [N, C], targets [N] -> scalar
//! Numerics:    no target at all -> exactly 0
//! Reference:   textbook.                              Vectors: none (gradient-checked in the engine)

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::cross_entropy as op;
use bert4rs_tensor::op::linear_cross_entropy as linear_op;

use crate::Result;

/// Mean over rows; negative targets are ignored. Smoothing `e` mixes the target with `e / C`.
pub fn cross_entropy(logits: &Tensor, targets: &[i64], label_smoothing: f64) -> Result<Tensor> {
    let rows = op::cross_entropy(logits, targets, label_smoothing)?; // [N]
    let count = targets.iter().filter(|&&t| t >= 0).count();
    Ok(rows.sum_all()?.mul_scalar(1.0 / count.max(1) as f64)?)
}

/// As [`cross_entropy`] of the logits `x W^T + b`, which are never held at once: for vocabularies.
/// `x [N, K]`, `weight [C, K]`, `bias [C]`.
pub fn linear_cross_entropy(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    targets: &[i64],
    label_smoothing: f64,
) -> Result<Tensor> {
    Ok(linear_op::linear_cross_entropy(x, weight, bias, targets, label_smoothing)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_rows_do_not_count() {
        let logits = Tensor::new(vec![0.0f64, 0.0, 5.0, -5.0, 1.0, 1.0], &[3, 2]).unwrap();
        let loss = cross_entropy(&logits, &[0, -1, 1], 0.0).unwrap();
        assert!((loss.item().unwrap() - 2f64.ln()).abs() < 1e-15);
        assert_eq!(cross_entropy(&logits, &[-1; 3], 0.0).unwrap().item().unwrap(), 0.0);
    }
}

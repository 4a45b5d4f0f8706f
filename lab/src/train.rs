//! Training in a few lines: AdamW, warm-up, clipping, and the curve of losses.

use anyhow::Result;
use bert4rs_nn::Ctx;
use bert4rs_tensor::op::optimizer::squared_norm;
use bert4rs_tensor::{Params, Rng, Tensor, backward};
use bert4rs_train::Schedule;
use bert4rs_train::optim::{AdamW, Slot};

/// How a model is trained.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Updates.
    pub steps: usize,
    /// The highest learning rate.
    pub lr: f64,
    /// Updates until it is reached.
    pub warmup: usize,
    /// How it falls afterwards.
    pub schedule: Schedule,
    /// Gradients longer than this are cut to it.
    pub clip: Option<f64>,
}

impl Recipe {
    /// The usual: a tenth of the steps to warm up, then straight down, gradients cut at 1.
    pub fn new(steps: usize, lr: f64) -> Self {
        Self { steps, lr, warmup: steps / 10, schedule: Schedule::Linear, clip: Some(1.0) }
    }

    /// Trains; gives the loss before every update. Ends early when the loss is no number any more.
    pub fn train(
        &self,
        params: &Params,
        seed: u64,
        mut loss: impl FnMut(&mut Ctx, &mut Rng) -> Result<Tensor>,
    ) -> Result<Vec<f64>> {
        let optimizer = AdamW { beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.01 };
        let mut slots: Vec<Slot> = params.iter().map(Slot::new).collect();
        let (root, mut curve) = (Rng::new(seed).fork("training"), Vec::with_capacity(self.steps));
        for step in 0..self.steps as u64 {
            let mut rng = root.fork(&format!("step {step}"));
            let mut ctx = Ctx::training(rng.fork("dropout"));
            let loss = loss(&mut ctx, &mut rng)?;
            curve.push(loss.item()?);
            let gradients = backward(loss)?;
            let leaves: Vec<Tensor> = params.iter().map(|p| p.leaf()).collect();
            let norm = squared_norm(leaves.iter().filter_map(|leaf| gradients.of(leaf)))?.sqrt();
            if !norm.is_finite() || !curve.iter().all(|l| l.is_finite()) {
                break;
            }
            let scale = self.clip.map_or(1.0, |most| (most / norm).min(1.0));
            let lr = self.lr * self.schedule.factor(step, self.warmup as u64, self.steps as u64);
            for ((parameter, slot), leaf) in params.iter().zip(&mut slots).zip(&leaves) {
                if let Some(gradient) = gradients.of(leaf) {
                    optimizer.update(parameter, slot, gradient, scale, lr, step + 1)?;
                }
            }
        }
        Ok(curve)
    }
}

/// The mean of the last tenth of a curve: a loss without the noise of one batch.
pub fn last_tenth(curve: &[f64]) -> f64 {
    let count = (curve.len() / 10).max(1).min(curve.len());
    crate::report::mean(&curve[curve.len() - count..])
}

/// A curve as `pieces` means, with the step in the middle of each.
pub fn smooth(curve: &[f64], pieces: usize) -> Vec<(f64, f64)> {
    let size = curve.len().div_ceil(pieces.max(1)).max(1);
    let middle = |i: usize, part: &[f64]| (i * size) as f64 + part.len() as f64 / 2.0;
    curve.chunks(size).enumerate().map(|(i, part)| (middle(i, part), crate::report::mean(part))).collect()
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::{DType, ParameterKind};

    use super::*;

    #[test]
    fn a_parabola_is_descended_and_a_broken_loss_ends_the_run() {
        let mut params = Params::new();
        let w = params.add("w", &Tensor::full(3.0, &[1], DType::F32), ParameterKind::Bias).unwrap();
        let square = |ctx: &mut Ctx, _: &mut Rng| Ok(ctx.value(&w).square()?.sum_all()?);
        let curve = Recipe::new(200, 0.1).train(&params, 1, square).unwrap();
        assert!(curve.len() == 200 && curve[0] == 9.0 && last_tenth(&curve) < 0.01, "{curve:?}");
        let broken = |ctx: &mut Ctx, _: &mut Rng| Ok(ctx.value(&w).mul_scalar(f64::INFINITY)?.sum_all()?);
        assert_eq!(Recipe::new(200, 0.1).train(&params, 1, broken).unwrap().len(), 1);
        assert_eq!(smooth(&[1.0, 3.0, 5.0, 7.0, 9.0], 2), [(1.5, 3.0), (4.0, 8.0)]);
    }
}

//! From batches to the gradient of one step.
//! Definition:  sum_i w_i grad(loss_i) / sum_i w_i, with w_i the weight of batch i: the gradient of
//!              the mean loss over all batches as if they were one
//! Randomness:  a function of (seed, step, i); evaluations and restarts cannot disturb it

use bert4rs_nn::Ctx;
use bert4rs_tensor::op::optimizer::{accumulate, squared_norm};
use bert4rs_tensor::{Rng, Tensor, backward};

use crate::trained::Trained;
use crate::{Error, Objective, Result, TrainConfig};

/// The gradient of one step.
pub(crate) struct Gradient {
    /// By trained parameter; none where the loss does not depend on it.
    pub sums: Vec<Option<Tensor>>,
    /// The mean loss.
    pub loss: f64,
    /// The norm of all of it, without the scale.
    pub norm: f64,
    /// The sums are this many times the gradient.
    pub scale: f64,
}

impl Gradient {
    pub(crate) fn is_finite(&self) -> bool {
        self.norm.is_finite() && self.loss.is_finite()
    }

    /// The first parameter whose gradient is not finite.
    pub(crate) fn first_not_finite(&self) -> Option<usize> {
        let finite = |g: &Tensor| squared_norm([g]).is_ok_and(f64::is_finite);
        self.sums.iter().position(|sum| sum.as_ref().is_some_and(|g| !finite(g)))
    }
}

/// The gradient of step `step` (from 1) with respect to `trained`, its losses times `scale`.
pub(crate) fn gradient<O: Objective>(
    objective: &O,
    batches: &[Vec<&O::Example>],
    trained: &[Trained],
    config: &TrainConfig,
    step: u64,
    scale: f64,
) -> Result<Gradient> {
    let weights: Vec<f64> = batches.iter().map(|b| objective.weight(b)).collect();
    let total: f64 = weights.iter().sum();
    let mut sums: Vec<Option<Tensor>> = vec![None; trained.len()];
    let mut mean_loss = 0.0;
    for (i, (batch, weight)) in batches.iter().zip(&weights).enumerate() {
        // Batches without weight (no labelled token, say) share equally: their losses are 0.
        let share = if total > 0.0 { weight / total } else { 1.0 / batches.len() as f64 };
        let mut ctx = Ctx::training(Rng::new(config.seed).fork(&format!("step {step} batch {i}")));
        if config.recompute {
            ctx = ctx.recomputing();
        }
        if let Some(half) = config.precision.half() {
            ctx = ctx.rounding(half);
        }
        let loss = objective.loss(&mut ctx, batch);
        let loss = loss.map_err(|e| Error::task(format!("loss of step {step}"), e))?;
        mean_loss += share * loss.item()?;
        let mut gradients =
            backward(if share * scale == 1.0 { loss } else { loss.mul_scalar(share * scale)? })?;
        for (sum, trained) in sums.iter_mut().zip(trained) {
            match (sum.as_mut(), gradients.take(&trained.parameter.leaf())) {
                (Some(sum), Some(g)) => accumulate(sum, &g)?,
                (None, Some(g)) => *sum = Some(g),
                (_, None) => {}
            }
        }
    }
    let norm = squared_norm(sums.iter().flatten())?.sqrt() / scale;
    Ok(Gradient { sums, loss: mean_loss, norm, scale })
}

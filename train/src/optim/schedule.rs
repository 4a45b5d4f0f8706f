//! Learning-rate schedules: warm-up, then decay.
//! Definition:  step s = 0, 1, ..; w warm-up steps of n: (s + 1) / w while s < w; then with
//!              p = (s - w) / (n - w): constant 1, linear 1 - p, cosine (1 + cos(pi p)) / 2
//! Numerics:    no step has factor 0, neither the first nor the last, so that none is wasted
//! Reference:   Vaswani et al., 2017 (warm-up); Loshchilov, Hutter, SGDR, 2016 (cosine)

use serde::{Deserialize, Serialize};

/// The shape after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Straight down to 0: the usual choice for fine-tuning.
    #[default]
    Linear,
    /// Level.
    Constant,
    /// Half a cosine down to 0.
    Cosine,
}

impl Schedule {
    /// The factor of the learning rate at `step` (from 0) of `steps`, `warmup` of them warm-up.
    pub fn factor(self, step: u64, warmup: u64, steps: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let progress = ((step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64).min(1.0);
        match self {
            Schedule::Linear => 1.0 - progress,
            Schedule::Constant => 1.0,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: Schedule, warmup: u64, steps: u64) -> Vec<f64> {
        (0..steps).map(|s| schedule.factor(s, warmup, steps)).collect()
    }

    #[test]
    fn values_by_hand() {
        assert_eq!(factors(Schedule::Linear, 2, 6), [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]);
        assert_eq!(factors(Schedule::Constant, 4, 6), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        let cosine = factors(Schedule::Cosine, 0, 4);
        let half = 0.5f64.sqrt() / 2.0;
        for (got, want) in cosine.iter().zip([1.0, 0.5 + half, 0.5, 0.5 - half]) {
            assert!((got - want).abs() < 1e-15, "{cosine:?}");
        }
    }

    #[test]
    fn edges_stay_between_zero_and_one() {
        for schedule in [Schedule::Linear, Schedule::Constant, Schedule::Cosine] {
            for (warmup, steps) in [(0, 1), (1, 1), (5, 3), (0, 0)] {
                for step in 0..8 {
                    let f = schedule.factor(step, warmup, steps);
                    assert!((0.0..=1.0).contains(&f), "{schedule:?} {step} {warmup} {steps}: {f}");
                }
            }
        }
    }
}

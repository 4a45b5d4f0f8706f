//! Learning-rate schedules: warm-up, then decay.
//! Definition:  step s = 0, 1, ..; w warm-up steps of n: (s + 1) / w while s < w; then with
//!              p = (s - w) / (n - w): constant 1, linear 1 - p, cosine (1 + cos(pi p)) / 2
//!              piecewise: straight lines between points (step, factor), level after the last, from 0 at
//!              step 0 when there is no point there; warm-up is one of its lines
//! Numerics:    no step has factor 0, neither the first nor the last, so that none is wasted; piecewise,
//!              which is as bert4keras has it, may say otherwise
//! Reference:   Vaswani et al., 2017 (warm-up); Loshchilov, Hutter, SGDR, 2016 (cosine)
//! Vectors:     bert-init-std-0.02.json, whose warm-up starts one step earlier, at 0

use serde::{Deserialize, Serialize};

/// The shape after the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Straight down to 0: the usual choice for fine-tuning.
    #[default]
    Linear,
    /// Level.
    Constant,
    /// Half a cosine down to 0.
    Cosine,
    /// Lines between points of step and factor, in the order of steps: `{ piecewise = [[1000, 1.0], [2000, 0.1]] }`.
    Piecewise(Vec<(u64, f64)>),
}

impl Schedule {
    /// The factor of the learning rate at `step` (from 0) of `steps`, `warmup` of them warm-up.
    pub fn factor(&self, step: u64, warmup: u64, steps: u64) -> f64 {
        if let Schedule::Piecewise(points) = self {
            return on_line(points, step);
        }
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let progress = ((step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64).min(1.0);
        match self {
            Schedule::Linear => 1.0 - progress,
            Schedule::Constant | Schedule::Piecewise(_) => 1.0,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

fn on_line(points: &[(u64, f64)], step: u64) -> f64 {
    let next = points.partition_point(|&(at, _)| at <= step);
    let (start, from) = next.checked_sub(1).map_or((0, 0.0), |i| points[i]);
    match points.get(next) {
        Some(&(end, to)) => from + (to - from) * (step - start) as f64 / (end - start) as f64,
        None => from,
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

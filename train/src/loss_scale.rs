//! The factor of the loss that keeps small gradients above the smallest number of f16.
//! Definition:  the loss times `scale`, gradients divided by it before they are clipped; dynamic: times
//!              `growth` after `interval` clean steps in a row, times `backoff` after a step whose
//!              gradient was not finite (which changes no weight), within `range`
//! Reference:   Micikevicius et al., Mixed precision training, 2018.
//! Vectors:     mixed-precision-and-graph-compilation.json

use serde::{Deserialize, Serialize};

/// How a dynamic scale moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaleRule {
    /// Factor after `interval` clean steps.
    pub growth: f64,
    /// Factor after a gradient that is not finite.
    pub backoff: f64,
    /// Clean steps in a row before the scale grows.
    pub interval: u64,
    /// Smallest and largest scale.
    pub range: (f64, f64),
}

impl Default for LossScaleRule {
    fn default() -> Self {
        Self { growth: 2.0, backoff: 0.5, interval: 2000, range: (1.0, 16_777_216.0) }
    }
}

/// A dynamic scale and what it has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor of the next loss.
    pub scale: f64,
    /// Clean steps since it last moved.
    pub clean_steps: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: 65_536.0, clean_steps: 0 }
    }
}

impl LossScale {
    /// After a step: whether its gradient was finite decides how the scale moves.
    pub fn update(&mut self, finite: bool, rule: &LossScaleRule) {
        let (least, most) = rule.range;
        self.clean_steps = if finite { self.clean_steps + 1 } else { 0 };
        if !finite {
            self.scale = (self.scale * rule.backoff).max(least);
        } else if self.clean_steps == rule.interval {
            self.scale = (self.scale * rule.growth).min(most);
            self.clean_steps = 0;
        }
    }
}

//! `log(sum(e^x))` of a stream of numbers, and bounds of it.
//! Definition:  lse(x) = m + log(sum e^(x_i - m)), m = max x
//! Bounds:      max <= lse <= max + log n;  mean + log n <= lse;  for weights p and an order t >= 1:
//!              sum p_i x_i + H_t(p) <= lse with Renyi's entropy H_t, at t = 1 Shannon's
//! Numerics:    nothing, or -inf only, gives -inf; NaN and +inf are passed on; O(1) memory
//! Reference:   Su, inequalities of logsumexp, 2022.    Vectors: logsumexp-inequalities.json

/// The sum of `e^x` so far, as its largest exponent and a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSumExp {
    max: f64,
    sum: f64,
}

impl Default for LogSumExp {
    fn default() -> Self {
        Self { max: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSumExp {
    /// Adds `e^x`.
    pub fn push(&mut self, x: f64) {
        self.merge(Self { max: x, sum: 1.0 });
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        if other.max == f64::NEG_INFINITY || other.sum == 0.0 {
            return;
        }
        if self.max == f64::NEG_INFINITY || other.max == f64::INFINITY || other.max.is_nan() {
            *self = other;
        } else if other.max > self.max {
            *self = Self { max: other.max, sum: self.sum * (self.max - other.max).exp() + other.sum };
        } else if self.max.is_finite() {
            self.sum += other.sum * (other.max - self.max).exp();
        }
    }

    /// `log(sum e^x)`
    pub fn value(self) -> f64 {
        if self.max.is_finite() { self.max + self.sum.ln() } else { self.max }
    }
}

impl FromIterator<f64> for LogSumExp {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut all = Self::default();
        values.into_iter().for_each(|x| all.push(x));
        all
    }
}

/// `log(sum(e^x))`
pub fn log_sum_exp(x: &[f64]) -> f64 {
    x.iter().copied().collect::<LogSumExp>().value()
}

/// `tau lse(x / tau)`: at least the largest number, at most `tau log n` above it.
pub fn smooth_max(x: &[f64], tau: f64) -> f64 {
    tau * x.iter().map(|x| x / tau).collect::<LogSumExp>().value()
}

/// Renyi's entropy of the probabilities `p`, Shannon's at order 1 and `-log max p` at infinity.
pub fn renyi_entropy(p: &[f64], order: f64) -> f64 {
    let positive = || p.iter().copied().filter(|&p| p > 0.0);
    if (order - 1.0).abs() < 1e-6 {
        return -positive().map(|p| p * p.ln()).sum::<f64>();
    }
    if order == f64::INFINITY {
        return -positive().fold(0.0, f64::max).ln();
    }
    positive().map(|p| order * p.ln()).collect::<LogSumExp>().value() / (1.0 - order)
}

/// `sum p_i x_i + H_t(p)`: for orders `t >= 1` at most `lse(x)`; below 1 it may lie above.
pub fn weighted_bound(x: &[f64], p: &[f64], order: f64) -> f64 {
    x.iter().zip(p).filter(|(_, p)| **p > 0.0).map(|(x, p)| x * p).sum::<f64>() + renyi_entropy(p, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_by_hand_and_the_edges() {
        assert!((log_sum_exp(&[0.0, 0.0, 2f64.ln()]) - 4f64.ln()).abs() < 1e-15);
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[1.0, f64::INFINITY, 2.0]), f64::INFINITY);
        assert!(log_sum_exp(&[1.0, f64::NAN, 2.0]).is_nan());
        assert_eq!(log_sum_exp(&[-1e4, 1e4]), 1e4);
    }

    #[test]
    fn parts_merge_to_the_whole_in_any_order() {
        let x = [3.0, -700.0, 2.5, f64::NEG_INFINITY, 40.0, 39.0];
        let whole = log_sum_exp(&x);
        for cut in 0..=x.len() {
            let part = |x: &[f64]| x.iter().copied().collect::<LogSumExp>();
            let (mut a, mut b) = (part(&x[..cut]), part(&x[cut..]));
            let first = a;
            a.merge(b);
            b.merge(first);
            assert!((a.value() - whole).abs() < 1e-13 && (b.value() - whole).abs() < 1e-13);
        }
    }
}

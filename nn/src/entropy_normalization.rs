//! Entropy normalisation: the temperature that gives a distribution the entropy one asks for.
//! Definition:  q = softmax(gamma s) with gamma >= 0 such that -sum q log q = target
//! Gradient:    implicit: d gamma / d s_i = -gamma q_i (s_i - m) / V with mean m and variance V of s under q
//! Numerics:    Newton in the logarithms, kept in a bracket: the plain iteration can leave gamma >= 0 and
//!              reverse the order; -inf has probability 0; uniform or tied ends are answered exactly
//! Reference:   Su, Entropy Normalization, 2021.       Vectors: entropy-normalization.json

use crate::{Error, Result};

/// A distribution of a given entropy.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalized {
    /// The probabilities, in the order of the scores.
    pub probabilities: Vec<f64>,
    /// The factor of the scores; infinite when only the largest are left.
    pub gamma: f64,
    /// The entropy in nats.
    pub entropy: f64,
}

const MOST_STEPS: usize = 200;

/// The distribution `softmax(gamma scores)` with an entropy of `target` nats. Scores are logits or
/// logarithms of probabilities.
pub fn normalize_entropy(scores: &[f64], target: f64) -> Result<Normalized> {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let fail = |message: String| Err(Error::Input(format!("entropy normalisation: {message}")));
    if scores.iter().any(|s| s.is_nan() || *s == f64::INFINITY) || top == f64::NEG_INFINITY {
        return fail("scores must be numbers or -inf, and one of them a number".into());
    }
    let shifted: Vec<f64> = scores.iter().map(|s| s - top).collect();
    let support = shifted.iter().filter(|s| s.is_finite()).count() as f64;
    let ties = shifted.iter().filter(|s| **s == 0.0).count() as f64;
    let (least, most) = (ties.ln(), support.ln());
    if !(least - 1e-9..=most + 1e-9).contains(&target) {
        return fail(format!(
            "an entropy of {target} is out of reach: these scores have {least} to {most}, from their {ties} largest \
             alone to all {support} alike"
        ));
    }
    if target >= most - 1e-12 {
        return Ok(at(&shifted, 0.0));
    }
    if target <= least + 1e-12 {
        let probabilities = shifted.iter().map(|s| if *s == 0.0 { 1.0 / ties } else { 0.0 }).collect();
        return Ok(Normalized { probabilities, gamma: f64::INFINITY, entropy: least });
    }
    let (mut low, mut high) = (0.0, 1.0);
    while at(&shifted, high).entropy > target && high < 1e300 {
        (low, high) = (high, 2.0 * high);
    }
    let mut gamma = if high > 1.0 { high } else { 1.0 };
    let mut found = at(&shifted, gamma);
    for _ in 0..MOST_STEPS {
        let excess = found.entropy - target;
        if excess.abs() <= 1e-14 || high - low <= 1e-16 * high {
            break;
        }
        if excess > 0.0 {
            low = gamma
        } else {
            high = gamma
        }
        let (_, variance) = moments(&shifted, &found.probabilities);
        let newton = gamma + excess / (gamma * variance);
        gamma = if newton > low && newton < high { newton } else { (low + high) / 2.0 };
        found = at(&shifted, gamma);
    }
    Ok(found)
}

/// The gradient with respect to the scores, given that with respect to the probabilities.
pub fn normalize_entropy_backward(scores: &[f64], found: &Normalized, gradient: &[f64]) -> Vec<f64> {
    if !found.gamma.is_finite() || found.gamma == 0.0 {
        return vec![0.0; scores.len()]; // at the ends of the range nothing moves
    }
    let q = &found.probabilities;
    let (mean, variance) = moments(scores, q);
    let variance = variance.max(1e-12);
    let inner: f64 = gradient.iter().zip(q).map(|(g, q)| g * q).sum();
    // With respect to the product gamma s, then through both of its factors.
    let product: Vec<f64> = gradient.iter().zip(q).map(|(g, q)| q * (g - inner)).collect();
    let finite = |s: f64| if s.is_finite() { s } else { 0.0 };
    let of_gamma: f64 = product.iter().zip(scores).map(|(p, s)| p * finite(*s)).sum();
    let one = |((p, q), s): ((&f64, &f64), &f64)| {
        found.gamma * p - of_gamma * found.gamma * q * (finite(*s) - mean) / variance
    };
    product.iter().zip(q).zip(scores).map(one).collect()
}

/// Mean and variance of the scores that are numbers.
fn moments(scores: &[f64], q: &[f64]) -> (f64, f64) {
    let terms = || scores.iter().zip(q).filter(|(s, _)| s.is_finite());
    let mean: f64 = terms().map(|(s, q)| q * s).sum();
    (mean, terms().map(|(s, q)| q * (s - mean) * (s - mean)).sum())
}

/// `softmax(gamma s)` of scores whose largest is 0.
fn at(shifted: &[f64], gamma: f64) -> Normalized {
    let z = |s: f64| if s.is_finite() { gamma * s } else { f64::NEG_INFINITY };
    let total: f64 = shifted.iter().map(|s| z(*s).exp()).sum();
    let probabilities: Vec<f64> = shifted.iter().map(|s| z(*s).exp() / total).collect();
    let terms = shifted.iter().zip(&probabilities).filter(|(_, p)| **p > 0.0);
    let entropy = total.ln() - terms.map(|(s, p)| p * z(*s)).sum::<f64>();
    Normalized { probabilities, gamma, entropy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_scores_by_hand() {
        let half = normalize_entropy(&[0.0, 3.0], 2f64.ln()).unwrap();
        assert_eq!((half.gamma, half.probabilities), (0.0, vec![0.5, 0.5]));
        // Probabilities 0.9 and 0.1 need a difference of ln 9.
        let target = -(0.9f64 * 0.9f64.ln() + 0.1 * 0.1f64.ln());
        let found = normalize_entropy(&[0.0, 3.0], target).unwrap();
        assert!((found.gamma - 9f64.ln() / 3.0).abs() < 1e-12, "{found:?}");
        let one = normalize_entropy(&[0.0, 3.0], 0.0).unwrap();
        assert_eq!((one.gamma, one.probabilities), (f64::INFINITY, vec![0.0, 1.0]));
    }

    #[test]
    fn what_is_out_of_reach_is_named() {
        let error = |scores: &[f64], target| normalize_entropy(scores, target).unwrap_err().to_string();
        assert!(error(&[1.0, 1.0, 0.0], 0.1).contains("2 largest"));
        assert!(error(&[1.0, f64::NEG_INFINITY], 0.5).contains("out of reach"));
        assert!(error(&[f64::NAN], 0.0).contains("must be numbers"));
        assert!(error(&[], 0.0).contains("must be numbers"));
    }
}

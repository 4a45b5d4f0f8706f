//! The softmax scale that passes most gradient.
//! Definition:  G(a) = |d softmax(a s) / d s|_1 / 2 = a (1 - sum of p^2); with expectations over the
//!              scores' distribution, sum of p^2 = M(2 a) / (n M(a)^2), M(a) = E e^(a s); a* maximises it
//! Shapes:      scores [n] -> scale
//! Numerics:    normal scores: a* = sqrt(W(n sqrt(e) / 2) - 1/2), W of Lambert by Newton; cosines in R^d:
//!              M(a) = sum over k of (a^2 / 4)^k / (k! (d/2)_k), one search on 0 < a <= 6 sqrt(d)
//! Limits:      a* is the maximiser of the surrogate, not of G on given rows, where nearly tied scores
//!              keep a gradient at far larger scales
//! Reference:   Su, From gradient maximisation to the scale of attention, 2023.
//!              Vectors: attention-scale-gradient-max.json

use crate::{Error, Result};

/// Beyond it the search on given scores stops: tied maxima let `G` grow for ever.
const CAP: f64 = 1e4;

/// `G(scale)`: half the sum of the absolute entries of the softmax' Jacobian.
pub fn softmax_gradient_l1(scale: f64, scores: &[f64]) -> f64 {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = scores.iter().map(|s| (scale * (s - max)).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    let squares: f64 = exponentials.iter().map(|e| (e / sum).powi(2)).sum();
    scale * (1.0 - squares)
}

/// `a*` for `n` scores of a standard normal distribution.
pub fn optimal_scale_normal(n: f64) -> Result<f64> {
    at_least_two(n)?;
    let y = n * 0.5f64.exp() / 2.0;
    let mut w = y.ln_1p();
    for _ in 0..50 {
        let e = w.exp();
        w -= (w * e - y) / (e * (1.0 + w));
    }
    Ok((w - 0.5).max(0.0).sqrt())
}

/// `a*` for `n` cosines of random directions in `dim` dimensions.
pub fn optimal_scale_cosine(n: f64, dim: usize) -> Result<f64> {
    at_least_two(n)?;
    if dim < 3 {
        return Err(Error::Input(format!("scale of cosines in {dim} dimensions: expected at least 3")));
    }
    let surrogate = |a: f64| {
        a * (1.0 - (log_mean_exponential(2.0 * a, dim) - 2.0 * log_mean_exponential(a, dim)).exp() / n)
    };
    Ok(maximise(surrogate, 1e-6, 6.0 * (dim as f64).sqrt()).0)
}

/// The scale in `lowest..=highest` with the largest `G` on these scores, that `G`, and whether it is
/// the cap of 10,000, which tied maxima reach.
pub fn empirical_scale(scores: &[f64], lowest: f64, highest: f64) -> Result<(f64, f64, bool)> {
    at_least_two(scores.len() as f64)?;
    if scores.iter().any(|s| !s.is_finite()) || !(lowest > 0.0 && lowest < highest) {
        let message =
            format!("scale between {lowest} and {highest}: expected finite scores and 0 < low < high");
        return Err(Error::Input(message));
    }
    let highest = highest.min(CAP);
    let (scale, value) = maximise(|a| softmax_gradient_l1(a, scores), lowest, highest);
    Ok((scale, value, highest - scale < 1e-6 * highest))
}

/// `ln E e^(a s)` for the cosine `s` of two random directions.
pub fn log_mean_exponential(a: f64, dim: usize) -> f64 {
    let (x, order) = (a * a / 4.0, dim as f64 / 2.0);
    let (mut term, mut sum, mut k) = (1.0f64, 1.0f64, 0.0f64);
    while term > sum * 1e-17 {
        term *= x / ((k + 1.0) * (order + k));
        sum += term;
        k += 1.0;
    }
    sum.ln()
}

/// The place and value of the largest value: a grid in logarithms, then golden sections.
fn maximise(f: impl Fn(f64) -> f64, lowest: f64, highest: f64) -> (f64, f64) {
    const GRID: i32 = 2000;
    let step = (highest / lowest).ln() / f64::from(GRID);
    let at = |i: i32| lowest * (f64::from(i.clamp(0, GRID)) * step).exp();
    let best = (0..=GRID).max_by(|&a, &b| f(at(a)).total_cmp(&f(at(b)))).unwrap_or(0);
    let (mut low, mut high) = (at(best - 1), at(best + 1));
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..100 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if f(a) < f(b) {
            low = a;
        } else {
            high = b;
        }
    }
    let place = (low + high) / 2.0;
    (place, f(place))
}

fn at_least_two(n: f64) -> Result<()> {
    if n >= 2.0 && n.is_finite() {
        return Ok(());
    }
    Err(Error::Input(format!("softmax scale for {n} candidates: expected at least 2")))
}

#[cfg(test)]
mod tests {
    use bert4rs_testing::golden;

    use super::*;

    fn near(got: f64, want: f64, tol: f64, what: &str) {
        assert!((got - want).abs() <= tol * (1.0 + want.abs()), "{what}: {got} is not {want}");
    }

    fn list(value: &serde_json::Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    #[test]
    fn every_case_of_the_reference() {
        let cases = golden("attention-scale-gradient-max");
        assert_eq!(cases.len(), 15);
        for case in &cases {
            let what = &case.name;
            if let Some(n) = case.inputs.get("n") {
                for (n, want) in list(n).into_iter().zip(list(&case.expected["alpha"])) {
                    let got = match what.strip_prefix("cosine_optimal_alpha_d") {
                        Some(dim) => optimal_scale_cosine(n, dim.parse().unwrap()),
                        None => optimal_scale_normal(n),
                    };
                    near(got.unwrap(), want, case.tol, what);
                }
                if let Some(want) = case.expected.get("log_mgf_at_10") {
                    let dim = what.strip_prefix("cosine_optimal_alpha_d").unwrap().parse().unwrap();
                    near(log_mean_exponential(10.0, dim), want.as_f64().unwrap(), case.tol, what);
                }
                continue;
            }
            let s = list(&case.inputs["s"]);
            if what.starts_with("empirical") {
                let (scale, value, capped) = empirical_scale(&s, 1e-3, 100.0).unwrap();
                near(scale, case.expected["alpha"].as_f64().unwrap(), case.tol, what);
                near(value, case.expected["objective"].as_f64().unwrap(), case.tol, what);
                assert!(!capped);
            } else {
                let scale = case.number("alpha");
                near(
                    softmax_gradient_l1(scale, &s),
                    case.expected["half_l1"].as_f64().unwrap(),
                    case.tol,
                    what,
                );
                let jacobian: f64 =
                    case.expected["jacobian"].as_array().unwrap().iter().flat_map(list).map(f64::abs).sum();
                near(softmax_gradient_l1(scale, &s), jacobian / 2.0, case.tol, what);
            }
        }
    }

    #[test]
    fn ties_reach_the_cap_and_impossible_inputs_are_errors() {
        assert!(empirical_scale(&[1.0, 1.0, 0.0], 0.1, 1e9).unwrap().2);
        for bad in [optimal_scale_normal(1.0), optimal_scale_cosine(8.0, 2), optimal_scale_cosine(0.0, 8)] {
            assert!(bad.is_err());
        }
        assert!(
            empirical_scale(&[1.0], 0.1, 1.0).is_err()
                && empirical_scale(&[1.0, f64::NAN], 0.1, 1.0).is_err()
        );
    }
}

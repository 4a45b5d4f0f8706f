//! Is one model better than another, or only on these examples?
//! Definition:  draw N of N examples with replacement, score both models on the same draw, R times;
//!              interval: quantiles 0.025 and 0.975 of the difference; p: twice the smaller share of
//!              draws on either side of 0, at least 1 / (R + 1)
//! Reference:   Efron and Tibshirani, 1993; Koehn, 2004.

use bert4rs_tensor::Rng;

/// The difference of two models, second less first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// On all examples.
    pub difference: f64,
    /// The lower end of the 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How likely at least this difference is if there is none.
    pub p: f64,
    /// Draws in which both models had a score.
    pub draws: usize,
}

/// Compares `score(model, examples)` of models 0 and 1, given positions of examples, which may repeat.
/// None when there is no score on all examples.
pub fn paired_bootstrap(
    examples: usize,
    draws: usize,
    seed: u64,
    score: impl Fn(usize, &[usize]) -> Option<f64>,
) -> Option<Comparison> {
    let difference = |drawn: &[usize]| Some(score(1, drawn)? - score(0, drawn)?);
    let all = difference(&(0..examples).collect::<Vec<_>>())?;
    let mut rng = Rng::new(seed).fork("paired bootstrap");
    let mut differences: Vec<f64> = (0..draws)
        .filter_map(|_| difference(&(0..examples).map(|_| rng.below(examples)).collect::<Vec<_>>()))
        .collect();
    differences.sort_by(f64::total_cmp);
    let n = differences.len();
    let quantile = |q: f64| differences.get((q * n.saturating_sub(1) as f64).round() as usize).copied();
    let share = |side: fn(&f64) -> bool| (differences.iter().filter(|d| side(d)).count() + 1) as f64;
    let smaller = share(|d| *d <= 0.0).min(share(|d| *d >= 0.0));
    Some(Comparison {
        difference: all,
        low: quantile(0.025)?,
        high: quantile(0.975)?,
        p: (2.0 * smaller / (n + 1) as f64).min(1.0),
        draws: n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(first: &[f64], second: &[f64]) -> Comparison {
        let mean = |x: &[f64], drawn: &[usize]| drawn.iter().map(|&i| x[i]).sum::<f64>() / drawn.len() as f64;
        let score = |model: usize, drawn: &[usize]| Some(mean([first, second][model], drawn));
        paired_bootstrap(first.len(), 500, 7, score).unwrap()
    }

    #[test]
    fn a_model_that_is_always_better_is_significant() {
        let first: Vec<f64> = (0..50).map(|i| f64::from(i % 7)).collect();
        let second: Vec<f64> = first.iter().map(|x| x + 0.5).collect();
        let found = compare(&first, &second);
        assert!((found.difference - 0.5).abs() < 1e-12 && found.low > 0.49 && found.high < 0.51);
        assert!(found.p < 0.01, "{found:?}");
    }

    #[test]
    fn noise_is_not() {
        let first: Vec<f64> = (0..60).map(|i| f64::from((i * 31) % 17)).collect();
        let second: Vec<f64> = (0..60).map(|i| f64::from((i * 13 + 5) % 17)).collect();
        let found = compare(&first, &second);
        assert!(found.p > 0.05 && found.low < 0.0 && found.high > 0.0, "{found:?}");
        assert_eq!(found, compare(&first, &second), "the same seed gives the same numbers");
        assert_eq!(compare(&first, &first).p, 1.0);
    }
}

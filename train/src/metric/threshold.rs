//! Decisions from scores: the threshold that is best, exactly.
//! Definition:  positive iff score > t; candidates: below all, halfway between neighbours, the largest
//!              several classes: argmax_j w_j p_j, weights by coordinate ascent from 1
//! Numerics:    every candidate is counted; equally good ones -> the lowest; F1 without a positive
//!              answer and without a positive label is 0.  Cost O(N log N)
//! Reference:   Su, CoSENT II, 2022.                   Vectors: cosent.json

/// What a threshold is to be best for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The share of right decisions.
    Accuracy,
    /// The harmonic mean of precision and recall of positives.
    F1,
}

/// A threshold and what it reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Scores above it are positive.
    pub value: f64,
    /// The accuracy or F1.
    pub metric: f64,
}

/// The best threshold; none without pairs, with a score that is no number, or when the lengths differ.
pub fn best_threshold(scores: &[f64], labels: &[bool], goal: Goal) -> Option<Threshold> {
    if scores.len() != labels.len() || scores.is_empty() || scores.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&i, &j| scores[i].total_cmp(&scores[j]));
    let groups: Vec<&[usize]> = order.chunk_by(|&i, &j| scores[i] == scores[j]).collect();
    let positives = labels.iter().filter(|l| **l).count();
    // Above a threshold: how many, and how many of them are right to be there.
    let (mut above, mut right) = (scores.len(), positives);
    let metric = |above: usize, right: usize| match goal {
        Goal::Accuracy => {
            let negatives_below = (scores.len() - positives) - (above - right);
            (right + negatives_below) as f64 / scores.len() as f64
        }
        Goal::F1 if above + positives == 0 => 0.0,
        Goal::F1 => 2.0 * right as f64 / (above + positives) as f64,
    };
    let at = |i: usize| scores[groups[i][0]];
    let mut best = Threshold { value: at(0) - 1.0, metric: metric(above, right) };
    for (i, group) in groups.iter().enumerate() {
        above -= group.len();
        right -= group.iter().filter(|&&k| labels[k]).count();
        let value = if i + 1 < groups.len() { (at(i) + at(i + 1)) / 2.0 } else { at(i) };
        let metric = metric(above, right);
        if metric > best.metric {
            best = Threshold { value, metric };
        }
    }
    Some(best)
}

/// The accuracy and F1 of a given threshold.
pub fn at_threshold(scores: &[f64], labels: &[bool], threshold: f64) -> (f64, f64) {
    let decided = || scores.iter().map(|s| *s > threshold).zip(labels);
    let right = decided().filter(|(d, l)| d == *l).count();
    let both = decided().filter(|(d, l)| *d && **l).count();
    let either = decided().filter(|(d, _)| *d).count() + labels.iter().filter(|l| **l).count();
    (right as f64 / labels.len().max(1) as f64, 2.0 * both as f64 / either.max(1) as f64)
}

/// Average precision: the mean, over positives, of the precision down to each; equal scores are one
/// step. None without a positive.
pub fn average_precision(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let positives = labels.iter().filter(|l| **l).count();
    if positives == 0 || scores.len() != labels.len() {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&i, &j| scores[j].total_cmp(&scores[i]));
    let (mut seen, mut found, mut sum) = (0, 0, 0.0);
    for group in order.chunk_by(|&i, &j| scores[i] == scores[j]) {
        let new = group.iter().filter(|&&i| labels[i]).count();
        seen += group.len();
        found += new;
        sum += new as f64 * found as f64 / seen as f64;
    }
    Some(sum / positives as f64)
}

/// Class weights that raise the accuracy of `argmax_j w_j p_j`; rows of `probabilities` have `classes`
/// numbers. None without rows.
pub fn class_weights(
    probabilities: &[f64],
    labels: &[usize],
    classes: usize,
    sweeps: usize,
) -> Option<Vec<f64>> {
    if classes == 0 || labels.is_empty() || probabilities.len() != labels.len() * classes {
        return None;
    }
    let accuracy = |weights: &[f64]| {
        let right = probabilities.chunks(classes).zip(labels).filter(|(p, label)| {
            let score = |j: usize| weights[j] * p[j];
            (1..classes).fold(0, |best, j| if score(j) > score(best) { j } else { best }) == **label
        });
        right.count()
    };
    let mut weights = vec![1.0; classes];
    let mut best = accuracy(&weights);
    for _ in 0..sweeps {
        let before = best;
        for j in 0..classes {
            let others = |p: &[f64]| {
                (0..classes).filter(|i| *i != j).map(|i| weights[i] * p[i]).fold(0.0, f64::max) / p[j]
            };
            let mut breaks: Vec<f64> = probabilities.chunks(classes).map(others).collect();
            breaks.retain(|b| b.is_finite() && *b > 0.0);
            breaks.sort_by(f64::total_cmp);
            breaks.dedup();
            let (Some(&first), Some(&last)) = (breaks.first(), breaks.last()) else { continue };
            let between = breaks.windows(2).map(|b| (b[0] * b[1]).sqrt());
            for candidate in std::iter::once(first / 2.0).chain(between).chain([2.0 * last]) {
                let old = std::mem::replace(&mut weights[j], candidate);
                let now = accuracy(&weights);
                if now > best {
                    best = now;
                } else {
                    weights[j] = old;
                }
            }
        }
        if best == before {
            break;
        }
    }
    Some(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_pairs_by_hand() {
        let (scores, labels) = ([0.1, 0.4, 0.35, 0.8], [false, false, true, true]);
        let best = best_threshold(&scores, &labels, Goal::Accuracy).unwrap();
        assert!((best.value - 0.225).abs() < 1e-12 && best.metric == 0.75, "{best:?}");
        // sklearn.metrics.average_precision_score
        assert!((average_precision(&scores, &labels).unwrap() - 0.833_333_333_333_333_3).abs() < 1e-15);
        assert_eq!(at_threshold(&scores, &labels, 0.225), (0.75, 0.8));
        assert_eq!(average_precision(&[0.5; 4], &labels), Some(0.5), "equal scores say nothing");
    }

    #[test]
    fn the_scan_equals_trying_every_threshold() {
        let scores: Vec<f64> = (0..40).map(|i| f64::from((i * 17) % 13) / 10.0).collect();
        let labels: Vec<bool> = (0..40).map(|i| (i * 7) % 5 < 2).collect();
        for (goal, pick) in [(Goal::Accuracy, 0), (Goal::F1, 1)] {
            let best = best_threshold(&scores, &labels, goal).unwrap();
            let at = |t: f64| <[f64; 2]>::from(at_threshold(&scores, &labels, t))[pick];
            assert_eq!(at(best.value), best.metric);
            assert!((-20..40).all(|i| at(f64::from(i) / 20.0) <= best.metric));
        }
    }

    #[test]
    fn nothing_to_decide() {
        assert_eq!(best_threshold(&[], &[], Goal::F1), None);
        assert_eq!(best_threshold(&[f64::NAN], &[true], Goal::F1), None);
        assert_eq!(average_precision(&[0.3], &[false]), None);
        assert_eq!(class_weights(&[], &[], 2, 3), None);
    }
}

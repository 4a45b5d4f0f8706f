//! CoSENT's loss on scores: ranks pairs as their labels do.
//! Definition:  log(1 + sum over p, q with label_p < label_q of exp(scale (s_p - s_q)))
//! Shapes:      scores [N], labels [N] -> scalar
//! Gradient:    fused: scale (exp(scale s_p + U_p - L) - exp(-scale s_p + D_p - L)) with U_p the log-sum
//!              of -scale s over larger labels, D_p that of scale s over smaller ones
//! Numerics:    in f64 whatever the scores' type; no two different labels -> exactly 0, gradient 0
//! Cost:        O(N log N) time, O(N) memory: groups of equal labels, from the largest down and back

use crate::log_sum_exp::LogSumExp;
use crate::{Error, Result, Tensor};

/// CoSENT of scores; see the head of this file.
pub fn cosent(scores: &Tensor, labels: &[f64], scale: f64) -> Result<Tensor> {
    if scores.rank() != 1 || scores.elements() != labels.len() {
        let message =
            format!("scores {:?} for {} labels: expected one of each", scores.shape(), labels.len());
        return Error::shape("cosent", message);
    }
    let values = scores.to_f64_vec();
    for (what, list) in [("score", &values[..]), ("label", labels)] {
        if let Some(i) = list.iter().position(|x| !x.is_finite()) {
            return Error::value("cosent", format!("{what} {} of pair {i} is not a number", list[i]));
        }
    }
    if !(scale.is_finite() && scale > 0.0) {
        return Error::value("cosent", format!("scale {scale}: expected a positive number, usually 20"));
    }
    let (loss, gradient) = loss_and_gradient(&values, labels, scale);
    let loss = Tensor::scalar(loss, scores.dtype());
    let gradient = Tensor::new(gradient, scores.shape())?.cast(scores.dtype())?;
    Ok(Tensor::made("cosent", true, loss.storage().clone(), vec![], &[scores], move |step| {
        Ok(vec![Some(gradient.mul(&step.grad)?)])
    }))
}

fn loss_and_gradient(scores: &[f64], labels: &[f64], scale: f64) -> (f64, Vec<f64>) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&i, &j| labels[i].total_cmp(&labels[j]));
    let groups: Vec<&[usize]> = order.chunk_by(|&i, &j| labels[i] == labels[j]).collect();
    let mut gradient = vec![0.0; scores.len()];
    if groups.len() < 2 {
        return (0.0, gradient);
    }
    let sum = |group: &[usize], factor: f64| -> LogSumExp {
        group.iter().map(|&i| factor * scores[i]).collect::<LogSumExp>()
    };
    let mut terms = LogSumExp::from_iter([0.0]);
    let mut above = vec![f64::NEG_INFINITY; groups.len()]; // U of each group
    let mut larger = LogSumExp::default();
    for (group, u) in groups.iter().zip(&mut above).rev() {
        *u = larger.value();
        terms.push(sum(group, scale).value() + *u);
        larger.merge(sum(group, -scale));
    }
    let loss = terms.value();
    let mut smaller = LogSumExp::default();
    for (group, u) in groups.iter().zip(&above) {
        let d = smaller.value();
        for &i in *group {
            let s = scale * scores[i];
            gradient[i] = scale * ((s + u - loss).exp() - (d - s - loss).exp());
        }
        smaller.merge(sum(group, scale));
    }
    (loss, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brute_force(scores: &[f64], labels: &[f64], scale: f64) -> f64 {
        let mut total = 1.0;
        for (p, q) in (0..scores.len()).flat_map(|p| (0..scores.len()).map(move |q| (p, q))) {
            if labels[p] < labels[q] {
                total += (scale * (scores[p] - scores[q])).exp();
            }
        }
        total.ln()
    }

    #[test]
    fn two_pairs_by_hand() {
        let (loss, gradient) = loss_and_gradient(&[0.5, 0.5], &[1.0, 0.0], 20.0);
        assert!((loss - 2f64.ln()).abs() < 1e-15);
        assert!((gradient[0] + 10.0).abs() < 1e-12 && (gradient[1] - 10.0).abs() < 1e-12);
    }

    #[test]
    fn the_sorted_sum_is_the_sum_over_all_pairs() {
        let scores = [0.3, -0.2, 0.9, 0.1, 0.1, 0.7, -0.5];
        for labels in [[1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0], [2.5, 1.0, 0.0, 2.5, 4.0, 1.0, 0.0], [3.0; 7]] {
            let (loss, _) = loss_and_gradient(&scores, &labels, 3.0);
            assert!((loss - brute_force(&scores, &labels, 3.0)).abs() < 1e-13, "{labels:?}");
        }
    }

    #[test]
    fn equal_labels_cost_exactly_nothing() {
        for n in [0, 1, 4] {
            assert_eq!(loss_and_gradient(&vec![0.7; n], &vec![2.0; n], 20.0), (0.0, vec![0.0; n]));
        }
    }

    #[test]
    fn what_cannot_be_ranked_is_named() {
        let scores = |x: Vec<f64>| Tensor::new(x.clone(), &[x.len()]).unwrap();
        let error = |r: Result<Tensor>| r.unwrap_err().to_string();
        assert!(
            error(cosent(&scores(vec![0.0, f64::NAN]), &[0.0, 1.0], 1.0)).contains("score NaN of pair 1")
        );
        assert!(error(cosent(&scores(vec![0.0]), &[f64::NAN], 1.0)).contains("label NaN of pair 0"));
        assert!(error(cosent(&scores(vec![0.0]), &[], 1.0)).contains("for 0 labels"));
        assert!(error(cosent(&scores(vec![0.0]), &[0.0], 0.0)).contains("expected a positive number"));
    }
}

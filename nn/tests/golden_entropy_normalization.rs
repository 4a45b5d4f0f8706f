//! Entropy normalisation reproduces the golden vectors.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::entropy_normalization::{normalize_entropy, normalize_entropy_backward};
use bert4rs_tensor::{DType, Tensor};
use bert4rs_testing::{Case, golden, tensor_of};

fn scores(case: &Case) -> Vec<f64> {
    if case.has_input("logits") {
        return case.input("logits").to_f64_vec();
    }
    case.input("p").to_f64_vec().into_iter().map(f64::ln).collect()
}

fn target(case: &Case) -> f64 {
    case.inputs["target_entropy"].as_f64().unwrap()
}

fn entropy(p: &[f64]) -> f64 {
    -p.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>()
}

#[test]
fn every_distribution_has_its_entropy() {
    let cases = golden("entropy-normalization");
    assert_eq!(cases.len(), 12);
    for case in cases.iter().filter(|c| c.expected.get("q").is_some()) {
        let found = normalize_entropy(&scores(case), target(case)).unwrap();
        let n = found.probabilities.len();
        case.assert("q", &Tensor::new(found.probabilities.clone(), &[n]).unwrap());
        case.assert("gamma", &Tensor::scalar(found.gamma, DType::F64));
        if case.expected.get("entropy").is_some() {
            case.assert("entropy", &Tensor::scalar(found.entropy, DType::F64));
        }
    }
}

/// One step of the article's plain iteration, which nothing keeps from leaving gamma >= 0.
fn plain_step(p: &[f64], target: f64) -> f64 {
    let h = entropy(p);
    let squares: f64 = p.iter().filter(|p| **p > 0.0).map(|p| p * p.ln() * p.ln()).sum();
    1.0 + (target - h) / (h * h - squares)
}

#[test]
fn the_plain_iteration_is_newtons_and_can_reverse_the_order() {
    let cases = golden("entropy-normalization");
    let case = cases.iter().find(|c| c.name == "article_newton_trace").unwrap();
    let (mut p, mut gamma) = (case.input("p").to_f64_vec(), 1.0);
    let (mut gammas, mut entropies) = (Vec::new(), Vec::new());
    for _ in 0..case.number("steps") as usize {
        let g = plain_step(&p, target(case));
        gamma *= g;
        let total: f64 = p.iter().map(|x| x.powf(g)).sum();
        p.iter_mut().for_each(|x| *x = x.powf(g) / total);
        gammas.push(gamma);
        entropies.push(entropy(&p));
    }
    case.assert("gamma_per_step", &Tensor::new(gammas.clone(), &[gammas.len()]).unwrap());
    case.assert("entropy_per_step", &Tensor::new(entropies.clone(), &[entropies.len()]).unwrap());
    let found = normalize_entropy(&scores(case), target(case)).unwrap();
    assert!((found.gamma - gammas[gammas.len() - 1]).abs() < 1e-6, "both meet");

    let case = cases.iter().find(|c| c.name == "plain_newton_goes_negative").unwrap();
    let first = plain_step(&case.input("p").to_f64_vec(), target(case));
    case.assert("plain_first_gamma", &Tensor::scalar(first, DType::F64));
    assert!(normalize_entropy(&scores(case), target(case)).unwrap().gamma > 0.0);
}

#[test]
fn gradients_follow_the_implicit_function() {
    let cases = golden("entropy-normalization");
    let case = cases.iter().find(|c| c.name == "implicit_gradient").unwrap();
    let logits = scores(case);
    let found = normalize_entropy(&logits, target(case)).unwrap();
    let n = logits.len();
    case.assert("gamma", &Tensor::scalar(found.gamma, DType::F64));
    case.assert("p", &Tensor::new(found.probabilities.clone(), &[n]).unwrap());
    // Row i of the Jacobian is the gradient of probability i.
    let row = |i: usize| {
        let one: Vec<f64> = (0..n).map(|j| f64::from(u8::from(i == j))).collect();
        normalize_entropy_backward(&logits, &found, &one)
    };
    let jacobian: Vec<f64> = (0..n).flat_map(row).collect();
    let expected = tensor_of(&case.expected["jacobian"]).to_f64_vec();
    for (g, e) in jacobian.iter().zip(&expected) {
        assert!((g - e).abs() <= case.tol * (1.0 + e.abs()), "{g}, expected {e}");
    }
}

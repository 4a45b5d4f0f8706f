//! ZLPR reproduces the golden vectors: hard, soft and sparse targets, masks and thresholds.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::loss::{zlpr, zlpr_probability, zlpr_sparse, zlpr_with_threshold};
use bert4rs_tensor::{DType, Tensor, grad};
use bert4rs_testing::{Case, golden, tensor_of};

/// The file's tolerance for f32 lies between these two over its cases; the specification's is 1e-3
/// for gradients.
const SINGLE: f64 = 2e-4;

fn losses(case: &Case, scores: &Tensor) -> Tensor {
    let mask = case.has_input("mask").then(|| case.input("mask"));
    if case.has_input("positives") {
        let rows = case.inputs["positives"].as_array().unwrap();
        let list = |row| tensor_of(row).to_f64_vec().iter().map(|&c| c as usize).collect();
        return zlpr_sparse(scores, &rows.iter().map(list).collect::<Vec<_>>(), mask.as_ref(), false)
            .unwrap();
    }
    let targets = case.input("targets");
    match case.inputs.get("threshold") {
        Some(t) => zlpr_with_threshold(scores, &targets, mask.as_ref(), t.as_f64().unwrap()).unwrap(),
        None => zlpr(scores, &targets, mask.as_ref()).unwrap(),
    }
}

#[test]
fn every_case_in_both_precisions() {
    let cases = golden("zlpr-multilabel");
    assert_eq!(cases.len(), 12);
    for case in &cases {
        for (dtype, within) in [(DType::F64, case.tol), (DType::F32, SINGLE)] {
            let scores = case.input("scores").cast(dtype).unwrap().tracked();
            let rows = losses(case, &scores);
            let key = if case.expected.get("zlpr").is_some() { "zlpr" } else { "loss_per_row" };
            case.assert_within(key, &rows, within);
            if case.expected.get("grad_of_sum").is_some() {
                let gradient = &grad(&rows.sum_all().unwrap(), &[&scores], false).unwrap()[0];
                case.assert_within("grad_of_sum", gradient, within);
            }
        }
    }
}

#[test]
fn soft_targets_are_at_rest_where_they_are_the_probability() {
    let cases = golden("zlpr-multilabel");
    let case = cases.iter().find(|c| c.name == "soft_optimum_sigmoid_2s").unwrap();
    case.assert("prob", &zlpr_probability(&case.input("scores")).unwrap());
}

#[test]
fn the_sum_of_binary_cross_entropies_is_an_upper_bound() {
    let cases = golden("zlpr-multilabel");
    let case = cases.iter().find(|c| c.name == "bounded_by_sigmoid_bce_sum").unwrap();
    let (scores, targets) = (case.input("scores"), case.input("targets"));
    // softplus(s) - t s is the binary cross entropy of a logit.
    let bce = scores.softplus().unwrap().sub(&scores.mul(&targets).unwrap()).unwrap().sum(1, false).unwrap();
    case.assert("bce_sum", &bce);
    let zlpr = losses(case, &scores).to_f64_vec();
    assert!(zlpr.iter().zip(bce.to_f64_vec()).all(|(z, b)| *z <= b));
}

#[test]
fn gradients_of_any_order_exist() {
    let targets = Tensor::new(vec![1.0, 0.0, 0.3], &[1, 3]).unwrap();
    let scores = Tensor::new(vec![0.4, -0.2, 0.9], &[1, 3]).unwrap();
    bert4rs_testing::assert_gradients("gradient of zlpr", &[scores], |xs| {
        let s = if xs[0].is_tracked() { xs[0].clone() } else { xs[0].tracked() };
        let loss = zlpr(&s, &targets, None).unwrap().sum_all()?;
        Ok(grad(&loss, &[&s], true)?.remove(0))
    });
}

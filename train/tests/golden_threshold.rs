//! Thresholds and class weights reproduce the golden vectors of CoSENT.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::{DType, Tensor};
use bert4rs_testing::golden;
use bert4rs_train::metric::threshold::class_weights;
use bert4rs_train::metric::{Goal, best_threshold};

#[test]
fn thresholds_are_the_exact_best() {
    let cases = golden("cosent");
    let cases: Vec<_> = cases.iter().filter(|c| c.name.starts_with("threshold")).collect();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let scores = case.input("scores").to_f64_vec();
        let labels: Vec<bool> = case.input("labels").to_f64_vec().iter().map(|l| *l == 1.0).collect();
        for (goal, name) in [(Goal::Accuracy, "accuracy"), (Goal::F1, "f1")] {
            let best = best_threshold(&scores, &labels, goal).unwrap();
            let number = |x: f64| Tensor::scalar(x, DType::F64);
            case.assert(name, &number(best.metric));
            case.assert(&format!("{name}_threshold"), &number(best.value));
        }
    }
}

#[test]
fn class_weights_reach_the_stored_accuracy() {
    let cases = golden("cosent");
    let case = cases.iter().find(|c| c.name == "multiclass_thresholds").unwrap();
    let probabilities = case.input("probs").to_f64_vec();
    let labels: Vec<usize> = case.input("labels").to_f64_vec().iter().map(|&l| l as usize).collect();
    let accuracy = |weights: &[f64]| {
        let right = probabilities.chunks(3).zip(&labels).filter(|(p, label)| {
            let best = (0..3).max_by(|&a, &b| (weights[a] * p[a]).total_cmp(&(weights[b] * p[b])));
            best == Some(**label)
        });
        right.count() as f64 / labels.len() as f64
    };
    assert!((accuracy(&[1.0; 3]) - case.expected["baseline_accuracy"].as_f64().unwrap()).abs() < 1e-12);
    let weights = class_weights(&probabilities, &labels, 3, case.number("max_sweeps") as usize).unwrap();
    assert!(accuracy(&weights) >= case.expected["coordinate_search_accuracy"].as_f64().unwrap() - 1e-12);
}

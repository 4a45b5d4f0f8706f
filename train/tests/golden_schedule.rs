//! Learning rates reproduce the golden vectors; our warm-up is one step ahead, so that no step has rate 0.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::Tensor;
use bert4rs_testing::{Case, golden};
use bert4rs_train::Schedule;

fn assert(case: &Case, factor: impl Fn(u64) -> f64) {
    let peak = case.number("peak");
    let rates: Vec<f64> =
        case.input("step").to_f64_vec().iter().map(|&step| peak * factor(step as u64)).collect();
    let n = rates.len();
    case.assert("lr", &Tensor::new(rates, &[n]).unwrap());
}

#[test]
fn warm_up_and_decay() {
    let mut seen = 0;
    for case in golden("bert-init-std-0.02").iter().filter(|c| c.name.starts_with("warmup")) {
        let schedule = match case.text("decay") {
            "linear" => Schedule::Linear,
            "cosine" => Schedule::Cosine,
            other => panic!("{other}"),
        };
        let (warmup, total) = (case.number("warmup") as u64, case.number("total") as u64);
        assert(case, |step| match step {
            0 if warmup > 0 => 0.0,
            s if s <= warmup && warmup > 0 => schedule.factor(s - 1, warmup, total),
            s => schedule.factor(s, warmup, total),
        });
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn lines_between_points() {
    let cases = golden("bert-init-std-0.02");
    let cases: Vec<_> = cases.iter().filter(|c| c.name.starts_with("piecewise")).collect();
    for case in &cases {
        let points: Vec<(u64, f64)> = serde_json::from_value(case.params["schedule"].clone()).unwrap();
        let schedule = Schedule::Piecewise(points);
        assert(case, |step| schedule.factor(step, 0, 1));
    }
    assert_eq!(cases.len(), 2);
}

//! The log-sum-exp of a stream, and its bounds, reproduce the golden vectors.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::log_sum_exp::{log_sum_exp, renyi_entropy, smooth_max, weighted_bound};
use bert4rs_tensor::{DType, Tensor, grad};
use bert4rs_testing::{Case, golden, tensor_of};

fn assert(case: &Case, key: &str, got: f64) {
    case.assert(key, &Tensor::scalar(got, DType::F64));
}

fn list(case: &Case, key: &str) -> Vec<f64> {
    case.input(key).to_f64_vec()
}

#[test]
fn values_gradients_and_plain_bounds() {
    let cases = golden("logsumexp-inequalities");
    for case in cases.iter().filter(|c| c.name.starts_with("lse_")) {
        let x = list(case, "x");
        let value = log_sum_exp(&x);
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert(case, "logsumexp", value);
        assert(case, "max", max);
        assert(case, "upper_max_plus_log_n", max + (x.len() as f64).ln());
        assert!(max <= value && value <= max + (x.len() as f64).ln());
        if case.expected.get("lower_mean_plus_log_n").is_some() {
            let bound = x.iter().sum::<f64>() / x.len() as f64 + (x.len() as f64).ln();
            assert(case, "lower_mean_plus_log_n", bound);
            assert!(bound <= value + 1e-12);
        }
        if case.expected.get("softmax_gradient").is_some() {
            for (dtype, within) in [(DType::F64, case.tol), (DType::F32, 1e-5)] {
                let x = case.input("x").cast(dtype).unwrap().tracked();
                let y = x.log_sum_exp(0, false).unwrap();
                case.assert_within("logsumexp", &y, within);
                case.assert_within("softmax_gradient", &grad(&y, &[&x], false).unwrap()[0], within);
            }
        }
    }
}

#[test]
fn the_smooth_maximum_approaches_the_maximum_from_above() {
    for case in golden("logsumexp-inequalities").iter().filter(|c| c.name.starts_with("smooth_max")) {
        let (x, tau) = (list(case, "x"), case.number("tau"));
        assert(case, "value", smooth_max(&x, tau));
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert(case, "max", max);
        assert(case, "upper", max + tau * (x.len() as f64).ln());
    }
}

#[test]
fn weighted_bounds_hold_from_order_one_on() {
    let cases = golden("logsumexp-inequalities");
    let weighted: Vec<&Case> = cases.iter().filter(|c| c.has_input("p")).collect();
    assert_eq!(weighted.len(), 5);
    for case in weighted {
        let (x, p) = (list(case, "x"), list(case, "p"));
        assert(case, "logsumexp", log_sum_exp(&x));
        if case.expected.get("order").is_some() {
            let order = case.expected["order"].as_f64().unwrap();
            let value = weighted_bound(&x, &p, order);
            assert(case, "value", value);
            assert!(value > log_sum_exp(&x), "below order 1 there is no bound");
            continue;
        }
        let orders = tensor_of(&case.expected["orders"]).to_f64_vec();
        let bounds: Vec<f64> = orders.iter().map(|&t| weighted_bound(&x, &p, t)).collect();
        assert!(bounds.iter().all(|b| *b <= log_sum_exp(&x) + 1e-12));
        assert!(bounds.windows(2).all(|b| b[1] <= b[0] + 1e-12), "weaker with the order");
        case.assert("lower_bounds", &Tensor::new(bounds, &[orders.len()]).unwrap());
        assert(case, "gap_at_order_1_is_kl", log_sum_exp(&x) - weighted_bound(&x, &p, 1.0));
        assert!(renyi_entropy(&p, 1.0) >= 0.0);
    }
}

#[test]
fn it_is_lipschitz_and_convex() {
    let cases = golden("logsumexp-inequalities");
    for case in cases.iter().filter(|c| c.has_input("y")) {
        let (x, y) = (list(case, "x"), list(case, "y"));
        if case.name.starts_with("lipschitz") {
            let difference = log_sum_exp(&x) - log_sum_exp(&y);
            let most = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert(case, "difference", difference);
            assert(case, "linf", most);
            assert!(difference.abs() <= most + 1e-12);
        } else {
            let ts = tensor_of(&case.expected["t"]).to_f64_vec();
            let gap = |t: &f64| {
                let between: Vec<f64> = x.iter().zip(&y).map(|(x, y)| t * x + (1.0 - t) * y).collect();
                t * log_sum_exp(&x) + (1.0 - t) * log_sum_exp(&y) - log_sum_exp(&between)
            };
            let gaps: Vec<f64> = ts.iter().map(gap).collect();
            assert!(gaps.iter().all(|g| *g >= -1e-12));
            case.assert("gap", &Tensor::new(gaps, &[ts.len()]).unwrap());
        }
    }
}

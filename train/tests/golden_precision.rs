//! 16-bit formats, master weights and loss scaling reproduce the golden vectors.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bert4rs_nn::Ctx;
use bert4rs_tensor::op::rounding::Half;
use bert4rs_tensor::{DType, Error, ParameterKind, Params, Tensor, io::safetensors};
use bert4rs_testing::{Case, golden};
use bert4rs_train::{
    LossScale, LossScaleRule, Objective, Precision, Schedule, Score, Silent, TrainConfig, train,
};

const FORMATS: [(&str, Half); 2] = [("bf16", Half::Bf16), ("f16", Half::F16)];

fn case(name: &str) -> Case {
    let mut cases = golden("mixed-precision-and-graph-compilation").into_iter();
    cases.find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"))
}

fn single(values: Vec<f64>) -> Tensor {
    let n = values.len();
    Tensor::new(values, &[n]).unwrap().cast(DType::F32).unwrap()
}

fn round(x: f64, to: Half) -> f64 {
    single(vec![x]).rounded(to).unwrap().item().unwrap()
}

#[test]
fn values_round_to_the_nearest_of_the_format() {
    let case = case("rounding");
    let x = case.input("x_f32");
    for (name, half) in FORMATS {
        case.assert(&format!("{name}_value"), &x.cast(DType::F32).unwrap().rounded(half).unwrap());
    }
    let case = self::case("epsilon_in_half");
    for (name, half) in FORMATS {
        case.assert(&format!("as_{name}"), &case.input("eps").rounded(half).unwrap());
    }
}

#[test]
fn the_formats_end_where_they_should() {
    let case = case("format_constants");
    let assert = |key: &str, x: f64| case.assert(key, &Tensor::new(vec![x], &[]).unwrap());
    // The largest number that a format holds: halving the step finds it.
    for (name, half) in FORMATS {
        let largest = |start: f64| {
            let (mut x, mut step) = (start, start / 2.0);
            while step > start * 1e-7 {
                if round(x + step, half) == x + step {
                    x += step;
                }
                step /= 2.0;
            }
            x
        };
        let start = if half == Half::F16 { 32_768.0 } else { 2f64.powi(127) };
        assert(&format!("{name}_max"), largest(start));
        let eps = (1..30).map(|i| 2f64.powi(-i)).take_while(|e| round(1.0 + e, half) > 1.0).last().unwrap();
        assert(&format!("{name}_eps"), eps);
    }
    let smallest = (1..60).map(|i| 2f64.powi(-i)).take_while(|&x| round(x, Half::F16) > 0.0).last().unwrap();
    assert("f16_min_subnormal", smallest);
}

#[test]
fn the_dynamic_scale_follows_what_it_sees() {
    for name in ["dynamic_scaler_default", "dynamic_scaler_small_range"] {
        let case = case(name);
        let rule = LossScaleRule {
            growth: case.number("growth"),
            backoff: case.number("backoff"),
            interval: case.number("interval") as u64,
            range: (case.number("lo"), case.number("hi")),
        };
        let mut state = LossScale { scale: case.number("init"), clean_steps: 0 };
        let mut after = Vec::new();
        for found in case.input("found_inf").to_f64_vec() {
            state.update(found == 0.0, &rule);
            after.push(state.scale);
        }
        let n = after.len();
        case.assert("scale_after", &Tensor::new(after, &[n]).unwrap());
    }
}

#[test]
fn small_gradients_survive_when_the_loss_is_scaled() {
    for name in ["loss_scaling_f16_grad_S1", "loss_scaling_f16_grad_S1024", "loss_scaling_f16_grad_S65536"] {
        let case = case(name);
        let scale = case.number("scale");
        // The gradient of sum(g * w) with respect to w, which is held by f16 on its way.
        let w = single(vec![1.0; 6]).tracked();
        let g = case.input("true_grad").cast(DType::F32).unwrap();
        let loss = w.rounded(Half::F16).unwrap().mul(&g).unwrap().sum_all().unwrap();
        let mut gradients = bert4rs_tensor::backward(loss.mul_scalar(scale).unwrap()).unwrap();
        let held = gradients.take(&w).unwrap().mul_scalar(1.0 / scale).unwrap();
        case.assert("grad_after_unscale", &held);
    }
}

#[test]
fn without_master_weights_small_updates_are_lost() {
    for size in ["stagnation", "larger_step"] {
        for (name, half) in FORMATS {
            let key = if size == "stagnation" { "stagnation" } else { "larger_step" };
            let case = case(&format!("master_weights_{key}_{name}"));
            let step = case.number("lr") * case.number("grad");
            let (mut held, mut master) = (case.number("w0"), single(vec![case.number("w0")]));
            for _ in 0..case.number("steps") as usize {
                held = round(held - round(step, half), half);
                master = master.add_scalar(-step).unwrap();
            }
            let assert = |key: &str, x: Tensor| case.assert(key, &x.reshape(&[]).unwrap());
            assert("no_master", single(vec![held]));
            assert("with_master_cast", master.rounded(half).unwrap());
            assert("master_f32", master);
        }
    }
}

#[test]
fn sums_in_16_bits_stand_still() {
    let case = case("accumulator_saturation");
    for (name, half) in FORMATS {
        let mut sum = 0.0;
        for _ in 0..case.number("terms") as usize {
            let next = round(sum + case.number("value"), half);
            if next == sum {
                break;
            }
            sum = next;
        }
        case.assert(&format!("{name}_accumulator"), &Tensor::new(vec![sum], &[]).unwrap());
    }
}

#[test]
fn a_mask_is_minus_infinity_in_f32() {
    let case = case("mask_value_f16");
    let assert = |key: &str, x: f64| case.assert(key, &Tensor::new(vec![x], &[]).unwrap());
    assert("f16_of_minus_1e12", round(-1e12, Half::F16));
    assert("f16_of_minus_65504", round(-65_504.0, Half::F16));
    assert("sum_of_two_minus_65504", round(-65_504.0 - 65_504.0, Half::F16));
    let scores = case.input("scores");
    let gone = Tensor::full(f64::NEG_INFINITY, &[3], DType::F64);
    let masked = Tensor::select(&case.input("mask"), &scores, &gone).unwrap();
    case.assert("probs", &masked.softmax().unwrap());
}

/// A loss with a given gradient.
struct Given {
    params: Params,
    gradient: Tensor,
}

impl Objective for Given {
    type Example = ();
    type Error = Error;
    fn params(&self) -> &Params {
        &self.params
    }
    fn tokens(&self, (): &()) -> usize {
        1
    }
    fn loss(&self, ctx: &mut Ctx, _: &[&()]) -> Result<Tensor, Error> {
        ctx.value(self.params.get("w").unwrap()).mul(&self.gradient)?.sum_all()
    }
    fn evaluate(&self) -> Result<Score, Error> {
        Ok(Score { main: 0.0, name: "none".into(), details: Default::default() })
    }
    fn save(&self, dir: &Path) -> Result<(), Error> {
        safetensors::save(&dir.join("model.safetensors"), &self.params.values())
    }
}

#[test]
fn gradients_are_unscaled_before_they_are_clipped() {
    let case = case("unscale_then_clip");
    let scale = case.number("scale");
    let mut params = Params::new();
    params.add("w", &Tensor::zeros(&[5], DType::F32), ParameterKind::Matrix).unwrap();
    let gradient = case.input("scaled_grad").mul_scalar(1.0 / scale).unwrap().cast(DType::F32).unwrap();
    let given = Given { params, gradient };
    let config = TrainConfig {
        epochs: 1,
        precision: Precision::F16,
        loss_scale: Some(scale),
        max_grad_norm: case.number("max_norm"),
        schedule: Schedule::Constant,
        ..TrainConfig::default()
    };
    let dir = tempfile::tempdir().unwrap();
    train(&given, &[()], &config, dir.path(), false, &mut Silent).unwrap();
    let log = std::fs::read_to_string(dir.path().join("log.jsonl")).unwrap();
    let step: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    case.assert("norm", &Tensor::new(vec![step["grad_norm"].as_f64().unwrap()], &[]).unwrap());
    // After one step AdamW's mean gradient is 1 - beta1 of the gradient that it got.
    let kept = dir.path().join("checkpoint-00000001/optimizer.safetensors");
    let mean = safetensors::WeightFile::open(&kept).unwrap().tensor("m.w", DType::F32).unwrap();
    case.assert("clipped", &mean.mul_scalar(10.0).unwrap());
}

//! Attention's variants reproduce the golden vectors: entropy-invariant scales, talking heads, larger
//! keys, residual scores.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::block::attention::{
    AttentionScale, heads_of, mix_heads, rows_of, scaled_scores, visible_softmax,
};
use bert4rs_tensor::op::normalization::layer_norm;
use bert4rs_tensor::{DType, Tensor, grad};
use bert4rs_testing::{Case, golden, tensor_of};

/// f32 stays this close where the file asks for 1e-6 of f64.
const SINGLE: f64 = 2e-5;
const TYPES: [(DType, f64); 2] = [(DType::F64, 0.0), (DType::F32, SINGLE)];

fn scale_of(case: &Case) -> AttentionScale {
    let number = |key: &str| case.params[key].as_f64().unwrap() as usize;
    match case.text("variant") {
        "standard" => AttentionScale::Standard,
        "log_base" => AttentionScale::LogBase { train_length: number("train_len"), floor: number("floor") },
        "kappa" => AttentionScale::Kappa { kappa: case.number("kappa") },
        "dagger" => AttentionScale::LogDagger { train_length: number("train_len") },
        other => panic!("{other}"),
    }
}

/// Keys by query, 1 or 0: columns of the key mask, and the past where the case is causal.
fn visible(key_mask: &Tensor, causal: bool) -> Tensor {
    let keys = key_mask.to_f64_vec();
    let n = keys.len();
    let sees = |i: usize, j: usize| if causal && j > i { 0.0 } else { keys[j] };
    Tensor::new((0..n * n).map(|p| sees(p / n, p % n)).collect::<Vec<_>>(), &[n, n]).unwrap()
}

#[test]
fn entropy_invariant_scales_and_their_gradients() {
    let mut seen = 0;
    for case in golden("entropy-invariant-softmax").iter().filter(|c| c.has_input("q")) {
        for (dtype, single) in TYPES {
            let within = case.tol.max(single);
            let [q, k, v] = ["q", "k", "v"].map(|key| case.input(key).cast(dtype).unwrap().tracked());
            let mask = case.input("mask");
            let counts: Vec<usize> =
                mask.sum(1, false).unwrap().to_f64_vec().iter().map(|&n| n as usize).collect();
            let (scale, size) = (scale_of(case), q.shape()[1]);
            let mut queries = q.clone();
            if let Some(factors) = scale.factors(size, || counts.clone()) {
                let factors = Tensor::new(factors, &[counts.len(), 1]).unwrap().cast(dtype).unwrap();
                queries = q.mul(&factors).unwrap();
            }
            let [a, b, c] = [&queries, &k, &v].map(|x| heads_of(x, 0, x.shape()[0], 1).unwrap());
            let scores = scaled_scores(&a, &b, scale.constant(size).unwrap()).unwrap();
            let weights = visible_softmax(&scores, &mask.cast(dtype).unwrap()).unwrap();
            let out = rows_of(&weights.matmul(&c).unwrap()).unwrap();
            if case.expected.get("out").is_some() {
                case.assert_within("probs", &weights, within);
                case.assert_within("out", &out, within);
            } else {
                let loss = out.mul(&case.input("cotangent").cast(dtype).unwrap()).unwrap().sum_all().unwrap();
                let gradients = grad(&loss, &[&q, &k, &v], false).unwrap();
                for (key, g) in ["grad_q", "grad_k", "grad_v"].into_iter().zip(&gradients) {
                    case.assert_within(key, g, within);
                }
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 2 * 21);
}

#[test]
fn factors_of_scales() {
    let cases = golden("entropy-invariant-softmax");
    let case = cases.iter().find(|c| c.name == "factors").unwrap();
    let counts: Vec<usize> = case.input("n").to_f64_vec().iter().map(|&n| n as usize).collect();
    let train_length = 512;
    let scales = [
        ("standard", AttentionScale::Standard),
        ("log_base", AttentionScale::LogBase { train_length, floor: 1 }),
        ("kappa", AttentionScale::Kappa { kappa: case.number("kappa") }),
        ("softmax_plus_floor16", AttentionScale::LogBase { train_length, floor: 16 }),
        ("dagger", AttentionScale::LogDagger { train_length }),
    ];
    for (key, scale) in scales {
        let constant = scale.constant(64).unwrap();
        let factors = scale.factors(64, || counts.clone()).unwrap_or_else(|| vec![1.0; counts.len()]);
        let got = Tensor::new(factors, &[counts.len()]).unwrap().mul_scalar(constant).unwrap();
        case.assert_within(key, &got, 1e-9);
    }
}

#[test]
fn larger_keys_and_talking_heads_with_their_gradients() {
    let mut seen = 0;
    for case in golden("low-rank-bottleneck-talking-heads").iter().filter(|c| c.has_input("key_mask")) {
        for (dtype, single) in TYPES {
            let within = case.tol.max(single);
            let size = |key: &str| case.params[key].as_u64().map(|n| n as usize);
            let (heads, key_size) = (size("heads").unwrap(), size("key_size").unwrap());
            let weight = |key: &str| tensor_of(&case.inputs["w"][key]).cast(dtype).unwrap();
            let x = case.input("x").cast(dtype).unwrap();
            let part = |key: &str, heads: usize| {
                heads_of(&x.matmul(&weight(key)).unwrap(), 0, x.shape()[0], heads).unwrap()
            };
            let (heads_k, heads_v) = (size("heads_k").unwrap_or(heads), size("heads_v").unwrap_or(heads));
            let mixing =
                |key: &str| case.has_input(key).then(|| case.input(key).cast(dtype).unwrap().tracked());
            let (pre, post) = (mixing("pre"), mixing("post"));
            let scale = AttentionScale::Standard.constant(key_size).unwrap();
            let mut scores = scaled_scores(&part("wq", heads_k), &part("wk", heads_k), scale).unwrap();
            if let Some(pre) = &pre {
                scores = mix_heads(&scores, pre).unwrap();
            }
            let causal = case.params.get("causal").is_some_and(|c| c.as_f64() == Some(1.0));
            let visible = visible(&case.input("key_mask"), causal).cast(dtype).unwrap();
            let weights = visible_softmax(&scores, &visible).unwrap();
            let mixed = post.as_ref().map_or_else(|| weights.clone(), |p| mix_heads(&weights, p).unwrap());
            let out = rows_of(&mixed.matmul(&part("wv", heads_v)).unwrap()).unwrap();
            let out = out.matmul(&weight("wo")).unwrap();
            for (key, got) in [("out", &out), ("probs", &weights), ("mixed_probs", &mixed)] {
                if case.expected.get(key).is_some() {
                    case.assert_within(key, got, within);
                    seen += 1;
                }
            }
            if let (Some(pre), Some(post), true) = (&pre, &post, case.has_input("cotangent")) {
                let loss = out.mul(&case.input("cotangent").cast(dtype).unwrap()).unwrap().sum_all().unwrap();
                let gradients = grad(&loss, &[pre, post], false).unwrap();
                case.assert_within("grad_pre", &gradients[0], within);
                case.assert_within("grad_post", &gradients[1], within);
                seen += 2;
            }
        }
    }
    assert_eq!(seen, 2 * (9 * 2 + 8 * 3 + 2 * 2 + 1), "every value of every case in two types");
}

/// Layers of attention that add up their scores: outputs and running scores of each.
fn stack(case: &Case, dtype: DType, q: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
    let layers = |key: &str| -> Vec<Tensor> {
        let list = case.inputs[key].as_array().unwrap();
        list.iter().map(|x| tensor_of(x).cast(dtype).unwrap()).collect()
    };
    let (k, v) = (layers("k"), layers("v"));
    let visible = visible(&case.input("key_mask"), case.params["causal"].as_f64() == Some(1.0));
    let scale = 1.0 / (q[0].shape()[2] as f64).sqrt();
    let (mut outputs, mut running) = (Vec::new(), Vec::<Tensor>::new());
    for (layer, ((q, k), v)) in q.iter().zip(&k).zip(&v).enumerate() {
        let own = scaled_scores(q, k, scale).unwrap();
        let sum = match (case.text("mode"), running.last()) {
            ("off", _) | (_, None) => own,
            (_, Some(before)) => own.add(before).unwrap(),
        };
        let share = if case.text("mode") == "mean" { 1.0 / (layer + 1) as f64 } else { 1.0 };
        let weights =
            visible_softmax(&sum.mul_scalar(share).unwrap(), &visible.cast(dtype).unwrap()).unwrap();
        outputs.push(weights.matmul(v).unwrap());
        running.push(sum);
    }
    (outputs, running)
}

fn joined(parts: &[Tensor]) -> Tensor {
    let values = parts.iter().flat_map(Tensor::to_f64_vec).collect::<Vec<_>>();
    let count = values.len();
    Tensor::new(values, &[count]).unwrap()
}

#[test]
fn residual_scores_of_stacks_and_their_gradient() {
    let mut seen = 0;
    for case in golden("realformer").iter().filter(|c| c.has_input("q")) {
        for (dtype, single) in TYPES {
            let within = case.tol.max(single);
            let q: Vec<Tensor> = case.inputs["q"].as_array().unwrap().iter().map(tensor_of).collect();
            let q: Vec<Tensor> = q.iter().map(|q| q.cast(dtype).unwrap().tracked()).collect();
            let (outputs, running) = stack(case, dtype, &q);
            if case.expected.get("outputs").is_some() {
                case.assert_within("outputs", &joined(&outputs), within);
                seen += 1;
            }
            if case.expected.get("running_scores").is_some() {
                case.assert_within("running_scores", &joined(&running), within);
            }
            if case.has_input("cotangent_last") {
                let slope = case.input("cotangent_last").cast(dtype).unwrap();
                let loss = outputs.last().unwrap().mul(&slope).unwrap().sum_all().unwrap();
                case.assert_within("loss", &loss, within);
                case.assert_within("grad_q0", &grad(&loss, &[&q[0]], false).unwrap()[0], within);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 2 * 10);
}

#[test]
fn residual_scores_inside_a_post_norm_encoder() {
    let mut seen = 0;
    for case in golden("realformer").iter().filter(|c| c.has_input("layers")) {
        let heads = case.number("heads") as usize;
        let visible = visible(&case.input("key_mask"), false);
        let norm = |x: &Tensor| layer_norm(x, None, None, case.number("ln_eps")).unwrap();
        let (mut x, mut running, mut outputs) = (case.input("x"), None::<Tensor>, Vec::new());
        for (index, layer) in case.inputs["layers"].as_array().unwrap().iter().enumerate() {
            let weight = |key: &str| tensor_of(&layer[key]);
            let len = x.shape()[0];
            let part = |key: &str| heads_of(&x.matmul(&weight(key)).unwrap(), 0, len, heads).unwrap();
            let (q, k, v) = (part("wq"), part("wk"), part("wv"));
            let own = scaled_scores(&q, &k, 1.0 / (q.shape()[2] as f64).sqrt()).unwrap();
            let sum = match (case.text("mode"), &running) {
                ("off", _) | (_, None) => own,
                (_, Some(before)) => own.add(before).unwrap(),
            };
            let share = if case.text("mode") == "mean" { 1.0 / (index + 1) as f64 } else { 1.0 };
            let weights = visible_softmax(&sum.mul_scalar(share).unwrap(), &visible).unwrap();
            let gathered = rows_of(&weights.matmul(&v).unwrap()).unwrap().matmul(&weight("wo")).unwrap();
            x = norm(&x.add(&gathered).unwrap());
            let wide = x.matmul(&weight("w1")).unwrap();
            let half = wide.mul_scalar(0.5f64.sqrt()).unwrap().erf().unwrap().add_scalar(1.0).unwrap();
            let wide = wide.mul(&half).unwrap().mul_scalar(0.5).unwrap();
            x = norm(&x.add(&wide.matmul(&weight("w2")).unwrap()).unwrap());
            outputs.push(x.clone());
            running = Some(sum);
        }
        case.assert("layer_outputs", &joined(&outputs));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn identity_mixing_changes_nothing() {
    let x = Tensor::new((0..12).map(f64::from).collect::<Vec<_>>(), &[3, 2, 2]).unwrap();
    let eye = Tensor::new(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], &[3, 3]).unwrap();
    assert_eq!(mix_heads(&x, &eye).unwrap().to_f64_vec(), x.to_f64_vec());
    assert!(mix_heads(&x, &eye.narrow(0, 0, 2).unwrap()).is_err());
}

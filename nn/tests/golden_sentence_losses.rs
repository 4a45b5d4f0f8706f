//! Losses on sentence vectors reproduce the golden vectors: values and gradients, in both precisions.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::loss::*;
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::{DType, Packed, Tensor, grad};
use bert4rs_testing::{Case, golden, tensor_of};

/// The loosest of the files' own tolerances for f32.
const SINGLE: f64 = 1e-3;

fn both(case: &Case) -> [(DType, f64); 2] {
    [(DType::F64, case.tol), (DType::F32, SINGLE)]
}

fn input(case: &Case, key: &str, dtype: DType) -> Tensor {
    case.input(key).cast(dtype).unwrap().tracked()
}

fn numbers(case: &Case, key: &str) -> Vec<f64> {
    case.input(key).to_f64_vec()
}

/// Checks the loss and its gradient for each input.
fn check(case: &Case, loss: &Tensor, within: f64, gradients: &[(&str, &Tensor)]) {
    case.assert_within("loss", loss, within);
    let xs: Vec<&Tensor> = gradients.iter().map(|(_, x)| *x).collect();
    for ((key, _), g) in gradients.iter().zip(grad(loss, &xs, false).unwrap()) {
        case.assert_within(key, &g, within);
    }
}

/// Every other row: the first or the second texts of interleaved pairs.
fn side(vectors: &Tensor, first: usize) -> Tensor {
    vectors.rows(&(first..vectors.shape()[0]).step_by(2).collect::<Vec<_>>()).unwrap()
}

#[test]
fn cosent_on_vectors_and_on_raw_scores() {
    let cases = golden("cosent");
    let of = |start: &str| cases.iter().filter(|c| c.name.starts_with(start)).collect::<Vec<_>>();
    assert_eq!([of("vectors").len(), of("scores").len()], [5, 5]);
    for case in of("vectors") {
        for (dtype, within) in both(case) {
            let x = input(case, "vectors", dtype);
            let (u, v) = (side(&x, 0), side(&x, 1));
            case.assert_within("cosine", &cosines(&u, &v).unwrap(), within);
            let loss = cosent(&u, &v, &numbers(case, "labels"), case.number("scale")).unwrap();
            check(case, &loss, within, &[("grad", &x)]);
        }
    }
    for case in of("scores") {
        for (dtype, within) in both(case) {
            let x = input(case, "scores", dtype);
            let loss = cosent_of_scores(&x, &numbers(case, "labels"), case.number("scale")).unwrap();
            check(case, &loss, within, &[("grad_scores", &x)]);
        }
    }
    let equal = of("vectors").into_iter().find(|c| c.name == "vectors_all_equal").unwrap();
    let x = equal.input("vectors");
    let loss = cosent(&side(&x, 0), &side(&x, 1), &numbers(equal, "labels"), 20.0).unwrap();
    assert_eq!(loss.item().unwrap(), 0.0);
}

#[test]
fn sentence_bert() {
    let cases = golden("cosent");
    let case = cases.iter().find(|c| c.name == "sentence_bert_head").unwrap();
    for (dtype, within) in both(case) {
        let (x, w, b) =
            (input(case, "vectors", dtype), input(case, "weight", dtype), input(case, "bias", dtype));
        let features = pair_features(&side(&x, 0), &side(&x, 1)).unwrap();
        let after = After { bias: Some(&b), activation: None, residual: None };
        let logits = linear(&features, &w.t().unwrap(), after).unwrap();
        case.assert_within("logits", &logits, within);
        let labels: Vec<i64> = numbers(case, "labels").iter().map(|&l| l as i64).collect();
        let loss = cross_entropy(&logits, &labels, 0.0).unwrap();
        check(case, &loss, within, &[("grad_vectors", &x), ("grad_weight", &w), ("grad_bias", &b)]);
    }
}

#[test]
fn simcse_with_and_without_labels() {
    let cases = golden("simcse");
    assert_eq!(cases.len(), 11);
    for case in &cases {
        for (dtype, within) in both(case) {
            if case.has_input("vectors") {
                let x = input(case, "vectors", dtype);
                let views = match case.text("layout") {
                    "interleaved" => Views::Interleaved,
                    _ => Views::Concatenated,
                };
                let loss = simcse(&x, case.number("scale"), views, &[]).unwrap();
                check(case, &loss, within, &[("grad", &x)]);
            } else if case.has_input("z1") {
                let (a, p) = (input(case, "z1", dtype), input(case, "z2", dtype));
                let n = case.has_input("z3").then(|| input(case, "z3", dtype));
                let owners: Vec<usize> = (0..n.as_ref().map_or(0, |n| n.shape()[0])).collect();
                let weight = case.params.get("hard_negative_log_weight").and_then(|w| w.as_f64());
                let how = Choice {
                    scale: 1.0 / case.number("temperature"),
                    owners: &owners,
                    hard_negative_log_weight: weight.unwrap_or_default(),
                    ..Choice::default()
                };
                let loss = multiple_negatives(&a, &p, n.as_ref(), &how).unwrap();
                let mut all = vec![("grad_z1", &a), ("grad_z2", &p)];
                all.extend(n.iter().map(|n| ("grad_z3", n)));
                check(case, &loss, within, &all);
            } else {
                let (a, b) = (case.input("a").cast(dtype).unwrap(), case.input("b").cast(dtype).unwrap());
                let number = |x: f64| Tensor::scalar(x, DType::F64);
                case.assert_within("alignment", &number(alignment(&a, &b).unwrap()), within);
                let spread = uniformity(&a, case.number("t")).unwrap();
                case.assert_within("uniformity_a", &number(spread), within);
            }
        }
    }
}

/// Real tokens of each row, and the batch they make.
fn packed(case: &Case, key: &str, keep: impl Fn(usize, usize) -> bool) -> (Vec<usize>, Packed) {
    let rows = case.inputs[key].as_array().unwrap();
    let (mut all, mut lengths) = (Vec::new(), Vec::new());
    for (b, row) in rows.iter().enumerate() {
        let values = tensor_of(row).to_f64_vec();
        let kept: Vec<usize> =
            (0..values.len()).filter(|&t| keep(b, t)).map(|t| values[t] as usize).collect();
        lengths.push(kept.len());
        all.extend(kept);
    }
    (all, Packed::from_lengths(&lengths))
}

#[test]
fn the_mask_of_real_tokens_is_unilms() {
    let cases = golden("simbert-roformer-sim");
    let case = cases.iter().find(|c| c.name == "unilm_mask").unwrap();
    let padding = |b: usize, t: usize| tensor_of(&case.inputs["padding_mask"][b]).to_f64_vec()[t] != 0.0;
    let (segments, batch) = packed(case, "segment_ids", padding);
    let Mask::Prefix(first) = unilm_mask(&segments, &batch).unwrap() else { panic!("expected a prefix") };
    for (b, &prefix) in first.iter().enumerate() {
        let real: Vec<usize> = (0..8).filter(|&t| padding(b, t)).collect();
        for (i, &query) in real.iter().enumerate() {
            for (j, &key) in real.iter().enumerate() {
                let sees = j < prefix && i < prefix || j <= i;
                let expected = &case.expected["mask"][b][query][key];
                let expected = expected.as_bool().unwrap_or(expected.as_f64() == Some(1.0));
                assert_eq!(sees, expected, "text {b}, query {query}, key {key}");
            }
        }
    }
    assert!(unilm_mask(&[0, 1, 0], &Packed::from_lengths(&[3])).is_err());
}

#[test]
fn generation_similarity_distillation_and_mixed_tasks() {
    let cases = golden("simbert-roformer-sim");
    assert_eq!(cases.len(), 9);
    for case in cases.iter().filter(|c| c.name != "unilm_mask") {
        for (dtype, within) in both(case) {
            if case.has_input("token_ids") {
                let x = input(case, "logits", dtype);
                let vocabulary = *x.shape().last().unwrap();
                let (ids, batch) = packed(case, "token_ids", |_, _| true);
                let (segments, _) = packed(case, "segment_ids", |_, _| true);
                let logits = x.reshape(&[batch.tokens(), vocabulary]).unwrap();
                let loss = seq2seq(&logits, &ids, &segments, &batch).unwrap();
                check(case, &loss, within, &[("grad_logits", &x)]);
            } else if case.has_input("cls_vectors") {
                let x = input(case, "cls_vectors", dtype);
                let loss = simcse(&x, case.number("scale"), Views::Interleaved, &[]).unwrap();
                check(case, &loss, within, &[("grad", &x)]);
            } else if case.has_input("teacher") {
                let x = input(case, "student", dtype);
                let loss =
                    similarity_distillation(&case.input("teacher"), &x, case.number("lambda")).unwrap();
                check(case, &loss, within, &[("grad_student", &x)]);
            } else {
                let x = input(case, "logits", dtype);
                let labels: Vec<usize> = numbers(case, "labels").iter().map(|&l| l as usize).collect();
                let groups = case.params["groups"].as_array().unwrap().iter().map(|group| {
                    let classes = tensor_of(group).to_f64_vec();
                    classes[0] as usize..classes[classes.len() - 1] as usize + 1
                });
                let groups: Vec<_> = groups.collect();
                let loss = mixed_task_cross_entropy(&x, &labels, &groups).unwrap();
                check(case, &loss, within, &[("grad_logits", &x)]);
            }
        }
    }
}

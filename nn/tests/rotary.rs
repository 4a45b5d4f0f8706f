//! Rotary positions against the golden vectors: every case in f64, and in f32 where tensors compute.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::block::position::{
    Frequencies, Scaling, decay_curve, inverse_frequencies, layout_permutation, linear_attention,
    log_n_factors, one_plus_cosine_attention, rerope_scores,
};
use bert4rs_tensor::op::attention::{Attention, Mask, attention};
use bert4rs_tensor::op::rotary::{Layout, RotaryTable};
use bert4rs_tensor::{DType, Packed, Tensor, grad};
use bert4rs_testing::{Case, golden};

/// In f32 the specification allows this, relative to 1 + |expected|; beyond position 4096 it would allow 1e-3.
const SINGLE: f64 = 1e-6;

fn cases(part: &str) -> Vec<Case> {
    let found: Vec<Case> = golden("rope-roformer").into_iter().filter(|c| c.name.starts_with(part)).collect();
    assert!(!found.is_empty(), "no case {part}");
    found
}

fn tensor(values: Vec<f64>) -> Tensor {
    let n = values.len();
    Tensor::new(values, &[n]).unwrap()
}

fn frequencies(case: &Case, size: usize) -> Frequencies {
    let theta = case.params.get("base").map_or(1e4, |b| b.as_f64().unwrap());
    inverse_frequencies(size, theta, &Scaling::None, 0).unwrap()
}

fn layout(case: &Case) -> Layout {
    match case.params.get("layout").and_then(|l| l.as_str()) {
        Some("half") => Layout::Half,
        Some("interleaved") | None => Layout::Interleaved,
        Some(other) => panic!("layout {other}"),
    }
}

/// Rotates `x [N, L, K]`, row `i` at `positions[i]`.
fn rotate(x: &Tensor, frequencies: &Frequencies, positions: &[f64], layout: Layout) -> Tensor {
    let table = RotaryTable::at(&frequencies.inverse, positions, frequencies.factor);
    let rows: Vec<usize> = (0..positions.len()).collect();
    let turned = x.permute(&[1, 0, 2]).unwrap().rotate(&table, &rows, layout).unwrap();
    turned.permute(&[1, 0, 2]).unwrap()
}

/// Runs a check in f64 at the file's tolerance and in f32 at the specification's.
fn both(case: &Case, check: impl Fn(DType, f64)) {
    check(DType::F64, case.tol);
    check(DType::F32, SINGLE.max(case.tol));
}

#[test]
fn every_case_of_the_file_is_run() {
    let parts = [
        ("inv_freq", 2),
        ("scaled", 11),
        ("apply", 3),
        ("layout_permutation", 1),
        ("relative_only", 1),
        ("decay_curve", 1),
        ("rope_attention", 1),
        ("rerope", 3),
        ("leaky", 1),
        ("logn", 1),
        ("linear_attention", 3),
    ];
    for (part, count) in parts {
        assert_eq!(cases(part).len(), count, "{part}");
    }
    assert_eq!(golden("rope-roformer").len(), parts.iter().map(|p| p.1).sum::<usize>());
}

#[test]
fn frequencies_and_their_extensions() {
    for case in cases("inv_freq") {
        let found = frequencies(&case, case.number("head_dim") as usize);
        case.assert("inv_freq", &tensor(found.inverse));
    }
    for case in cases("scaled") {
        let factor = case.number("factor");
        let trained_length = || case.number("train_len") as usize;
        let scaling = match case.text("kind") {
            "linear" => Scaling::Linear { factor },
            "ntk_old" => Scaling::NtkOld { factor },
            "ntk_aware" => Scaling::NtkAware { factor },
            "ntk_fixed" => Scaling::NtkFixed { factor },
            "ntk_mixed" => Scaling::NtkMixed { factor, exponent: case.number("b") },
            "ntk_dynamic" => Scaling::NtkDynamic { factor, trained_length: trained_length() },
            "yarn" => Scaling::Yarn { factor, trained_length: trained_length() },
            "llama3" => Scaling::Llama3 {
                factor,
                trained_length: trained_length(),
                low: case.number("low"),
                high: case.number("high"),
            },
            other => panic!("kind {other}"),
        };
        let length = case.params.get("seq_len").map_or(0, |n| n.as_u64().unwrap() as usize);
        let size = case.number("head_dim") as usize;
        let found = inverse_frequencies(size, case.number("base"), &scaling, length).unwrap();
        case.assert("inv_freq", &tensor(found.inverse));
        case.assert("attention_factor", &Tensor::scalar(found.factor, DType::F64));
    }
}

#[test]
fn extensions_meet_where_their_definitions_say() {
    let with = |scaling| inverse_frequencies(16, 1e4, &scaling, 0).unwrap().inverse;
    let (k, last) = (8.0, 7);
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12 * (1.0 + b));
    assert!(close(
        &with(Scaling::NtkMixed { factor: k, exponent: 1.0 }),
        &with(Scaling::NtkFixed { factor: k })
    ));
    assert!(close(
        &with(Scaling::NtkMixed { factor: k, exponent: 0.0 }),
        &with(Scaling::Linear { factor: k })
    ));
    let (plain, aware) = (with(Scaling::None), with(Scaling::NtkAware { factor: k }));
    assert!((aware[last] - plain[last] / k).abs() < 1e-15 && aware[0] == plain[0]);
}

#[test]
fn impossible_frequencies_are_errors() {
    let error = |size, theta, scaling| inverse_frequencies(size, theta, &scaling, 0).unwrap_err().to_string();
    assert!(error(7, 1e4, Scaling::None).contains("7 rotary channels cannot be paired"));
    assert!(error(8, 0.0, Scaling::None).contains("usually 10000"));
    assert!(error(2, 1e4, Scaling::NtkAware { factor: 2.0 }).contains("use ntk_fixed"));
    assert!(error(8, 1e4, Scaling::Linear { factor: 0.5 }).contains("at least 1"));
    assert!(error(8, 1e4, Scaling::Linear { factor: f64::NAN }).contains("at least 1"));
    assert!(error(8, 1e4, Scaling::Yarn { factor: 2.0, trained_length: 0 }).contains("trained_length is 0"));
    let llama = Scaling::Llama3 { factor: 2.0, trained_length: 8, low: 4.0, high: 1.0 };
    assert!(error(8, 1e4, llama).contains("0 < low < high"));
}

#[test]
fn rotations_and_their_gradients() {
    for case in cases("apply") {
        let positions = case.input("positions").to_f64_vec();
        let size = case.params.get("rotary_dim").map_or(8, |n| n.as_u64().unwrap() as usize);
        let frequencies = frequencies(&case, size);
        both(&case, |dtype, tolerance| {
            let x = case.input("x").cast(dtype).unwrap().tracked();
            let y = rotate(&x, &frequencies, &positions, layout(&case));
            case.assert_within("y", &y, tolerance);
            if case.has_input("cotangent") {
                let weighted =
                    y.mul(&case.input("cotangent").cast(dtype).unwrap()).unwrap().sum_all().unwrap();
                case.assert_within("grad_x", &grad(&weighted, &[&x], false).unwrap()[0], tolerance);
            }
        });
    }
}

#[test]
fn permuted_channels_turn_in_the_other_layout() {
    for case in cases("layout_permutation") {
        let permutation = layout_permutation(8);
        let expected: Vec<usize> = case.params["perm_interleaved_to_half"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap() as usize)
            .collect();
        assert_eq!(permutation, expected);
        let positions = case.input("positions").to_f64_vec();
        let frequencies = frequencies(&case, 8);
        both(&case, |dtype, tolerance| {
            let x = case.input("x").cast(dtype).unwrap();
            let interleaved = rotate(&x, &frequencies, &positions, Layout::Interleaved);
            case.assert_within("interleaved_result", &interleaved, tolerance);
            let columns = x.permute(&[2, 0, 1]).unwrap().rows(&permutation).unwrap();
            let half = rotate(&columns.permute(&[1, 2, 0]).unwrap(), &frequencies, &positions, Layout::Half);
            case.assert_within("half_layout_result", &half, tolerance);
        });
    }
}

#[test]
fn scores_depend_on_the_distance_only() {
    for case in cases("relative_only") {
        let frequencies = frequencies(&case, 8);
        // Single precision stores the table's values: 4096 is as exact as 4.
        both(&case, |dtype, tolerance| {
            let at = |key: &str, positions: &str| {
                let positions = case.input(positions).to_f64_vec();
                let x = case.input(key).cast(dtype).unwrap().reshape(&[1, 1, 8]).unwrap();
                let x = x.broadcast_to(&[1, positions.len(), 8]).unwrap();
                rotate(&x, &frequencies, &positions, layout(&case))
            };
            let dot = at("q", "query_pos").mul(&at("k", "key_pos")).unwrap().sum(-1, false).unwrap();
            case.assert_within("dot", &dot, tolerance);
        });
    }
}

#[test]
fn decay_and_log_n() {
    for case in cases("decay_curve") {
        let distances = case.input("distance").to_f64_vec();
        let curve = decay_curve(case.number("head_dim") as usize, case.number("base"), &distances).unwrap();
        case.assert("mean_abs_partial_sum", &tensor(curve));
    }
    for case in cases("logn") {
        let positions: Vec<usize> =
            case.input("positions").to_f64_vec().iter().map(|p| *p as usize).collect();
        let factors = log_n_factors(&positions, case.number("train_len") as usize).unwrap();
        case.assert("factor", &tensor(factors));
    }
    assert!(log_n_factors(&[1], 1).unwrap_err().to_string().contains("at least 2"));
}

/// Texts of 6 and 4 tokens: the file pads, we pack; padded queries of the file see the real keys.
#[test]
fn attention_of_rotated_queries_and_keys() {
    for case in cases("rope_attention") {
        let frequencies = frequencies(&case, 8);
        let lengths: Vec<usize> =
            case.input("key_mask").to_f64_vec().chunks(6).map(|m| m.iter().sum::<f64>() as usize).collect();
        both(&case, |dtype, tolerance| {
            let input = |key: &str| case.input(key).cast(dtype).unwrap(); // [2, 6, 8]
            let positions: Vec<f64> = (0..6).map(f64::from).collect();
            let turn = |key: &str| rotate(&input(key), &frequencies, &positions, layout(&case));
            let (q, k, v) = (turn("q"), turn("k"), input("v"));
            let scores = q.matmul_t(&k).unwrap().mul_scalar(1.0 / 8f64.sqrt()).unwrap();
            let seen = input("key_mask").reshape(&[2, 1, 6]).unwrap();
            let hidden = Tensor::full(f64::NEG_INFINITY, &[], dtype);
            let probabilities = Tensor::select(&seen, &scores, &hidden).unwrap().softmax().unwrap();
            case.assert_within("probs", &probabilities, tolerance);
            let out = probabilities.matmul(&v).unwrap();
            case.assert_within("out", &out, tolerance);

            let pack = |x: &Tensor| {
                let parts: Vec<Tensor> = (0..2)
                    .map(|b| x.narrow(0, b, 1).unwrap().narrow(1, 0, lengths[b]).unwrap())
                    .map(|x| x.reshape(&[x.shape()[1], 8]).unwrap())
                    .collect();
                Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0).unwrap()
            };
            let how = Attention::new(1, 1.0 / 8f64.sqrt(), Mask::Full);
            let batch = Packed::from_lengths(&lengths);
            let packed = attention(&pack(&q), &pack(&k), &pack(&v), &batch, &how).unwrap();
            let error = packed.sub(&pack(&out)).unwrap().abs().unwrap().to_f64_vec();
            assert!(error.iter().all(|e| *e < tolerance), "{error:?}");
        });
    }
}

#[test]
fn rerope_counts_distances_up_to_its_window() {
    for case in cases("rerope").iter().chain(&cases("leaky")) {
        let frequencies = frequencies(case, 8);
        let leaky = case.params["k"].as_f64();
        both(case, |dtype, tolerance| {
            let input = |key: &str| case.input(key).cast(dtype).unwrap();
            let window = case.number("window") as usize;
            let scores =
                rerope_scores(&input("q"), &input("k"), &frequencies, layout(case), window, leaky).unwrap();
            case.assert_within("out", &scores.softmax().unwrap().matmul(&input("v")).unwrap(), tolerance);
            // The file has 0 where a token does not see; we have -inf.
            let zero = Tensor::scalar(0.0, dtype);
            let past =
                Tensor::new::<f64>((0..81).map(|n| f64::from(n % 9 <= n / 9)).collect(), &[9, 9]).unwrap();
            case.assert_within("scores", &Tensor::select(&past, &scores, &zero).unwrap(), tolerance);
            assert!(scores.to_f64_vec()[1] == f64::NEG_INFINITY);
        });
    }
    let x = Tensor::zeros(&[2, 4], DType::F64);
    let frequencies = inverse_frequencies(4, 1e4, &Scaling::None, 0).unwrap();
    let error = |window, leaky| rerope_scores(&x, &x, &frequencies, Layout::Half, window, leaky).unwrap_err();
    assert!(error(0, None).to_string().contains("window 0"));
    assert!(error(3, Some(0.5)).to_string().contains("at least 1"));
}

#[test]
fn linear_attention_with_rotated_numerators() {
    for case in cases("linear_attention_rope") {
        let frequencies = frequencies(&case, 8);
        let causal = case.flag("causal");
        both(&case, |dtype, tolerance| {
            let input = |key: &str| case.input(key).cast(dtype).unwrap();
            // elu(x) + 1: e^x below 0, x + 1 above.
            let feature = |x: &Tensor| {
                let above = x.greater(&Tensor::scalar(0.0, dtype)).unwrap();
                Tensor::select(&above, &x.add_scalar(1.0).unwrap(), &x.exp().unwrap()).unwrap()
            };
            let (q, k) = (feature(&input("q")), feature(&input("k")));
            let out = linear_attention(&q, &k, &input("v"), &frequencies, layout(&case), causal).unwrap();
            case.assert_within("out", &out, tolerance);
        });
    }
    for case in cases("linear_attention_one_plus_cos") {
        let frequencies = frequencies(&case, 8);
        both(&case, |dtype, tolerance| {
            let input = |key: &str| case.input(key).cast(dtype).unwrap();
            let (q, k, v) = (input("q"), input("k"), input("v"));
            let out = one_plus_cosine_attention(&q, &k, &v, &frequencies, layout(&case)).unwrap();
            case.assert_within("out", &out, tolerance);
        });
    }
}

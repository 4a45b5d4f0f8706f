//! What a token sees: masks of UniLM on packed batches reproduce the golden vectors. Padding and rows
//! without keys do not exist here; other orders of generation are the causal mask over reordered tokens.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bert4rs_nn::block::attention::visible_softmax;
use bert4rs_tensor::op::attention::{Attention, Mask, attention};
use bert4rs_tensor::{DType, Packed, Tensor};
use bert4rs_testing::{Case, golden};

const TYPES: [(DType, f64); 2] = [(DType::F64, 0.0), (DType::F32, 2e-6)];

fn case(name: &str) -> Case {
    golden("unilm-attention-masks").into_iter().find(|c| c.name == name).unwrap()
}

/// Who sees whom in one text of `n` tokens: equal scores spread each row over what it sees.
fn seen(n: usize, mask: Mask) -> Tensor {
    let zero = Tensor::zeros(&[n, n], DType::F64);
    let identity = (0..n * n).map(|p| f64::from(u8::from(p / n == p % n))).collect::<Vec<_>>();
    let identity = Tensor::new(identity, &[n, n]).unwrap();
    let how = Attention::new(1, 1.0, mask);
    let spread = attention(&zero, &zero, &identity, &Packed::from_lengths(&[n]), &how).unwrap();
    spread.greater(&zero).unwrap()
}

/// Rows and columns in the order of `of`.
fn reordered(x: &Tensor, of: &[usize]) -> Tensor {
    x.rows(of).unwrap().transpose(0, 1).unwrap().rows(of).unwrap().transpose(0, 1).unwrap()
}

#[test]
fn masks_show_each_token_what_the_objective_allows() {
    let case = case("masks");
    let n = case.input("n").item().unwrap() as usize;
    case.assert("lm", &seen(n, Mask::Causal));
    let prefix = case.input("prefix").item().unwrap() as usize;
    case.assert("prefix", &seen(n, Mask::Prefix(Arc::new(vec![prefix]))));
    let backwards: Vec<usize> = (0..n).rev().collect();
    case.assert("reverse_lm", &reordered(&seen(n, Mask::Causal), &backwards));
    let order: Vec<usize> = case.input("order").to_f64_vec().iter().map(|&i| i as usize).collect();
    let mut rank = vec![0; n];
    order.iter().enumerate().for_each(|(i, &token)| rank[token] = i);
    case.assert("permutation_content", &reordered(&seen(n, Mask::Causal), &rank));
}

#[test]
fn the_prefix_of_a_text_is_its_first_segment() {
    let case = case("masks");
    let (segments, valid) = (case.input("segment_ids"), case.input("valid"));
    let width = segments.shape()[1];
    let expected = case.expected["unilm"].as_array().unwrap();
    for (b, expected) in expected.iter().enumerate() {
        let row = |x: &Tensor| x.to_f64_vec()[b * width..][..width].to_vec();
        let (segments, valid) = (row(&segments), row(&valid));
        let length = valid.iter().sum::<f64>() as usize; // padding does not exist in a packed batch
        let prefix = segments[..length].iter().filter(|&&s| s == 0.0).count();
        let got = seen(length, Mask::Prefix(Arc::new(vec![prefix]))).to_f64_vec();
        for i in 0..length {
            for j in 0..length {
                assert_eq!(got[i * length + j], expected[i][j].as_f64().unwrap(), "text {b}, {i} to {j}");
            }
        }
    }
}

/// Attention with the projections of a case.
fn attend(case: &Case, x: &Tensor, mask: Mask, dtype: DType) -> Tensor {
    let weight = |key: &str| case.input(key).cast(dtype).unwrap();
    let project = |key: &str| x.matmul(&weight(key)).unwrap();
    let heads = case.number("heads") as usize;
    let (rows, width) = (x.shape()[0], x.shape()[1]);
    let how = Attention::new(heads, ((width / heads) as f64).sqrt().recip(), mask);
    let batch = Packed::from_lengths(&[rows]);
    let gathered = attention(&project("Wq"), &project("Wk"), &project("Wv"), &batch, &how).unwrap();
    gathered.matmul(&weight("Wo")).unwrap()
}

#[test]
fn the_source_of_a_pair_does_not_see_its_target() {
    let case = case("unilm_block");
    let prefix = case.input("segment_ids").to_f64_vec().iter().filter(|&&s| s == 0.0).count();
    for (dtype, single) in TYPES {
        let x = case.input("x").cast(dtype).unwrap();
        let both = attend(&case, &x, Mask::Prefix(Arc::new(vec![prefix])), dtype);
        case.assert_within("output", &both, case.tol.max(single));
        let source = x.rows(&(0..prefix).collect::<Vec<_>>()).unwrap();
        let alone = attend(&case, &source, Mask::Full, dtype);
        case.assert_within("source_only_output", &alone, case.tol.max(single));
    }
}

#[test]
fn another_order_of_generation_is_causal_over_reordered_tokens() {
    let case = case("permutation_lm_two_routes");
    let order: Vec<usize> = case.input("order").to_f64_vec().iter().map(|&i| i as usize).collect();
    for (dtype, single) in TYPES {
        let x = case.input("x_with_position_already_added").cast(dtype).unwrap().rows(&order).unwrap();
        let generated = attend(&case, &x, Mask::Causal, dtype);
        case.assert_within("output_in_generation_order", &generated, case.tol.max(single));
        let original = generated.scatter_rows(&order, order.len()).unwrap();
        case.assert_within("output_in_original_order", &original, case.tol.max(single));
    }
}

#[test]
fn extreme_scores_and_rows_without_keys_stay_finite() {
    for name in ["attention_extreme_scores", "attention_fully_masked_row"] {
        let case = case(name);
        let [q, k, v] = ["q", "k", "v"].map(|key| {
            let x = case.input(key);
            let [n, d] = [x.shape()[1], x.shape()[2]];
            x.reshape(&[n, d]).unwrap()
        });
        let scale = (q.shape()[1] as f64).sqrt().recip();
        let scores = q.matmul(&k.transpose(0, 1).unwrap()).unwrap().mul_scalar(scale).unwrap();
        let weights = visible_softmax(&scores, &case.input("mask")).unwrap();
        let shape = [1, q.shape()[0], q.shape()[1]];
        case.assert("output", &weights.matmul(&v).unwrap().reshape(&shape).unwrap());
        if name == "attention_extreme_scores" {
            let batch = Packed::from_lengths(&[q.shape()[0]]);
            let fused = attention(&q, &k, &v, &batch, &Attention::new(1, scale, Mask::Full)).unwrap();
            case.assert("output", &fused.reshape(&shape).unwrap());
        }
    }
}

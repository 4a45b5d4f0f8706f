//! Fused operations on packed sequences against central differences, and f32 against f64.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bert4rs_tensor::op::attention::{Attention, Mask, attention, joint_attention};
use bert4rs_tensor::op::crf::{Transitions, crf_loss};
use bert4rs_tensor::op::lstm::lstm;
use bert4rs_tensor::op::span_score::{Span, SpanScores, span_zlpr};
use bert4rs_tensor::{DType, Packed, Result, Rng, Tensor};
use bert4rs_testing::assert_gradients;

mod precision;
use precision::assert_single_agrees;

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 0.7, DType::F64).unwrap()
}

/// Sequences of different lengths, one of them empty, for any number of tokens.
fn batch(tokens: usize) -> Packed {
    Packed::from_lengths(&[tokens / 3, 0, 1, tokens - tokens / 3 - 1])
}

fn check(name: &str, small: &[Tensor], large: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    assert_gradients(name, small, &f);
    assert_single_agrees(name, small, &f);
    assert_single_agrees(&format!("large {name}"), large, &f);
}

#[test]
fn attention_with_every_mask_and_dropout() {
    let operands = |tokens: usize, width: usize| [1, 2, 3].map(|s| normal(s, &[tokens, width]));
    let masks = [
        (Mask::Full, "full"),
        (Mask::Causal, "causal"),
        (Mask::Prefix(Arc::new(vec![1, 0, 0, 3])), "prefix"),
    ];
    for (mask, name) in masks {
        for dropout in [None, Some((0.3, 11))] {
            for heads in [1, 2] {
                let how = Attention { dropout, ..Attention::new(heads, 0.6, mask.clone()) };
                let name = format!("attention, {name}, {dropout:?}, {heads} heads");
                check(&name, &operands(7, 4), &operands(61, 24), |x| {
                    attention(&x[0], &x[1], &x[2], &batch(x[0].shape()[0]), &how)
                });
            }
        }
    }
}

#[test]
fn joint_attention_with_a_window_and_a_bias_by_distance() {
    for window in [None, Some(1)] {
        let how = Attention { window, ..Attention::new(2, 0.6, Mask::Causal) };
        let operands =
            |tokens: usize, span: usize| [normal(1, &[tokens, 2 * (6 + 4)]), normal(2, &[2, 2 * span - 1])];
        check("joint attention", &operands(7, 7), &operands(61, 61), |x| {
            let how = Attention { bias: Some(x[1].clone()), ..how.clone() };
            joint_attention(&x[0], 3, &batch(x[0].shape()[0]), &how)
        });
    }
}

#[test]
fn attention_to_keys_of_other_tokens() {
    // A source for every target; the last targets of a text that was begun before.
    for (mask, queries, keys) in
        [(Mask::Full, [3, 0, 1, 2], [2, 1, 0, 5]), (Mask::Causal, [1, 0, 2, 1], [3, 1, 2, 2])]
    {
        let [queries, keys] = [queries, keys].map(|lengths| Packed::from_lengths(&lengths));
        let how = Attention { keys: Some(keys.clone()), ..Attention::new(2, 0.6, mask) };
        let (rows, m) = (queries.tokens(), keys.tokens());
        let operands = [normal(1, &[rows, 6]), normal(2, &[m, 6]), normal(3, &[m, 4])];
        check("attention to other tokens", &operands, &operands, |x| {
            attention(&x[0], &x[1], &x[2], &queries, &how)
        });
    }
}

#[test]
fn attention_is_the_softmax_of_products() {
    let [q, k, v] = [1, 2, 3].map(|s| normal(s, &[5, 4]));
    let how = Attention::new(1, 0.6, Mask::Full);
    let fused = attention(&q, &k, &v, &Packed::from_lengths(&[5]), &how).unwrap();
    let steps = q.matmul_t(&k).unwrap().mul_scalar(0.6).unwrap().softmax().unwrap().matmul(&v).unwrap();
    for (a, b) in fused.to_f64_vec().iter().zip(steps.to_f64_vec()) {
        assert!((a - b).abs() < 1e-13, "{a} {b}");
    }
}

#[test]
fn a_causal_token_does_not_see_the_future_nor_its_neighbours() {
    let [q, k, v] = [1, 2, 3].map(|s| normal(s, &[6, 4]));
    let batch = Packed::from_lengths(&[2, 4]);
    let how = Attention::new(2, 0.5, Mask::Causal);
    let before = attention(&q, &k, &v, &batch, &how).unwrap().to_f64_vec();
    let mut moved = v.to_f64_vec();
    moved[4 * 4..].fill(9.0); // tokens 4 and 5
    let v = Tensor::new(moved, &[6, 4]).unwrap();
    let after = attention(&q, &k, &v, &batch, &how).unwrap().to_f64_vec();
    assert_eq!(before[..16], after[..16]);
    assert_ne!(before[16..], after[16..]);
}

#[test]
fn lstm_in_both_directions() {
    for reverse in [false, true] {
        let operands = |tokens: usize, hidden: usize| {
            [normal(1, &[tokens, 4 * hidden]), normal(2, &[4 * hidden, hidden])]
        };
        check(&format!("lstm, reverse {reverse}"), &operands(7, 3), &operands(31, 18), |x| {
            lstm(&x[0], &x[1], &batch(x[0].shape()[0]), reverse)
        });
    }
}

#[test]
fn crf_with_and_without_ends() {
    let operands = |tokens: usize, tags: usize| {
        [normal(1, &[tokens, tags]), normal(2, &[tags, tags]), normal(3, &[tags]), normal(4, &[tags])]
    };
    for count in [2, 4] {
        check(&format!("crf_loss of {count}"), &operands(7, 3)[..count], &operands(41, 21)[..count], |x| {
            let labels: Vec<usize> = (0..x[0].shape()[0]).map(|t| (t * 5 + 1) % x[0].shape()[1]).collect();
            let transitions = Transitions { between: &x[1], ends: x.get(2).zip(x.get(3)) };
            crf_loss(&x[0], transitions, &labels, &batch(x[0].shape()[0]))
        });
    }
}

#[test]
fn forbidden_transitions_have_no_gradient() {
    let mut between = normal(2, &[3, 3]).to_f64_vec();
    between[2] = f64::NEG_INFINITY; // 0 -> 2
    let between = Tensor::new(between, &[3, 3]).unwrap().tracked();
    let emissions = normal(1, &[4, 3]).tracked();
    let transitions = Transitions { between: &between, ends: None };
    let loss = crf_loss(&emissions, transitions, &[0, 1, 2, 2], &Packed::from_lengths(&[4])).unwrap();
    let gradients = bert4rs_tensor::grad(&loss.sum_all().unwrap(), &[&between, &emissions], false).unwrap();
    assert_eq!(gradients[0].to_f64_vec()[2], 0.0);
    assert!(gradients.iter().all(|g| g.to_f64_vec().iter().all(|v| v.is_finite())));
    let error = crf_loss(&emissions, transitions, &[0, 2, 2, 2], &Packed::from_lengths(&[4]));
    assert!(error.unwrap_err().to_string().contains("forbidden"));
}

/// Gold spans in every sequence but the last of [`batch`], which has none.
fn gold(types: usize) -> Vec<Vec<Span>> {
    let span = |kind, start, end| Span { kind, start, end };
    let all = vec![
        vec![span(0, 0, 1), span(types - 1, 1, 1), span(0, 0, 0)],
        vec![],
        vec![span(types - 1, 0, 0)],
        vec![],
    ];
    all
}

#[test]
fn span_loss_with_and_without_bias_and_bounds() {
    for groups in [1, 2] {
        for (triangular, max_width) in [(true, None), (false, None), (true, Some(2))] {
            let scores = SpanScores { types: 2, scale: 0.6, triangular, max_width, rotation: None };
            let operands = |tokens: usize, size: usize| {
                [normal(1, &[tokens, groups, 2, size]), normal(2, &[tokens, 2]), normal(3, &[tokens, 2])]
            };
            for count in [1, 3] {
                let name = format!("span_zlpr, {groups} groups, {count} inputs, {triangular}, {max_width:?}");
                check(&name, &operands(7, 4)[..count], &operands(67, 12)[..count], |x| {
                    span_zlpr(&x[0], x.get(1).zip(x.get(2)), &scores, &gold(2), &batch(x[0].shape()[0]))
                });
            }
        }
    }
}

#[test]
fn an_answer_does_not_depend_on_the_neighbours() {
    let [q, k, v] = [1, 2, 3].map(|s| normal(s, &[9, 8]).cast(DType::F32).unwrap());
    let how = Attention::new(2, 0.5, Mask::Full);
    let together = attention(&q, &k, &v, &Packed::from_lengths(&[4, 5]), &how).unwrap();
    let part = |x: &Tensor| x.narrow(0, 4, 5).unwrap();
    let alone = attention(&part(&q), &part(&k), &part(&v), &Packed::from_lengths(&[5]), &how).unwrap();
    assert_eq!(part(&together).to_f64_vec(), alone.to_f64_vec());
}

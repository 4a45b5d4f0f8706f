//! Wrong calls are errors that name the operation, never panics.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::attention::{Attention, Mask, attention, joint_attention};
use bert4rs_tensor::op::crf::{Transitions, crf_best_path, crf_loss, crf_marginals};
use bert4rs_tensor::op::cross_entropy::cross_entropy;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::linear_cross_entropy::linear_cross_entropy;
use bert4rs_tensor::op::lstm::lstm;
use bert4rs_tensor::op::normalization::{layer_norm, rms_norm};
use bert4rs_tensor::op::rotary::{Layout, RotaryTable};
use bert4rs_tensor::op::span_score::{Span, SpanScores, decode_spans, dense_span_scores, span_zlpr};
use bert4rs_tensor::op::unfold::unfold;
use bert4rs_tensor::{DType, Packed, Result, Tensor, backward, grad};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F64)
}

fn single(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32)
}

fn integers(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::I64)
}

/// Every call fails, and its message begins with the name of the operation.
fn assert_errors<T>(calls: Vec<(&str, Result<T>)>) {
    for (i, (op, call)) in calls.into_iter().enumerate() {
        let error = call.err().unwrap_or_else(|| panic!("call {i} of the table, {op}, succeeds")).to_string();
        assert!(error.starts_with(&format!("{op}: ")), "call {i}, {op}: {error}");
    }
}

#[test]
fn elementary_operations() {
    let (m, v) = (zeros(&[2, 3]), zeros(&[3]));
    assert_errors(vec![
        ("tensor", Tensor::new(vec![1.0f64; 5], &[2, 3])),
        ("add", m.add(&zeros(&[2]))),
        ("sub", m.sub(&single(&[3]))),
        ("mul", m.mul(&integers(&[3]))),
        ("div", integers(&[3]).div(&integers(&[3]))),
        ("select", Tensor::select(&m, &v, &single(&[3]))),
        ("select", Tensor::select(&m, &zeros(&[4]), &v)),
        ("broadcast_to", m.broadcast_to(&[3])),
        ("broadcast_to", m.broadcast_to(&[2, 4])),
        ("sum_to", m.sum_to(&[2])),
        ("compare", m.greater(&zeros(&[2]))),
        ("exp", integers(&[2]).exp()),
        ("activate", integers(&[2]).activate(Activation::Gelu)),
        ("sum", m.sum(2, false)),
        ("sum", m.sum(-3, false)),
        ("mean", m.mean(5, true)),
        ("max", m.max(2, false)),
        ("max", zeros(&[2, 0]).max(1, false)),
        ("argmax", m.argmax(2)),
        ("argmax", zeros(&[2, 0]).argmax(1)),
        ("log_sum_exp", m.log_sum_exp(7, false)),
        ("softmax", zeros(&[]).softmax()),
        ("reshape", m.reshape(&[4])),
        ("permute", m.permute(&[0])),
        ("permute", m.permute(&[0, 0])),
        ("permute", m.permute(&[0, 2])),
        ("transpose", m.transpose(0, 2)),
        ("transpose", v.t()),
        ("narrow", m.narrow(1, 2, 2)),
        ("narrow", m.narrow(2, 0, 1)),
        ("narrow", m.narrow(1, usize::MAX, 2)),
        ("concat", Tensor::concat(&[], 0)),
        ("concat", Tensor::concat(&[&m, &v], 0)),
        ("concat", Tensor::concat(&[&m, &zeros(&[2, 4])], 0)),
        ("concat", Tensor::concat(&[&m, &single(&[2, 3])], 0)),
        ("rows", m.rows(&[2])),
        ("rows", zeros(&[]).rows(&[0])),
        ("scatter_rows", m.scatter_rows(&[0], 4)),
        ("scatter_rows", m.scatter_rows(&[0, 4], 4)),
        ("pick", m.pick(&[0])),
        ("pick", m.pick(&[0, 3])),
        ("pick", v.pick(&[0, 1, 2])),
        ("matmul", m.matmul(&zeros(&[2, 3]))),
        ("matmul", m.matmul(&v)),
        ("matmul", m.matmul(&single(&[3, 2]))),
        ("matmul", integers(&[2, 3]).matmul(&integers(&[3, 2]))),
        ("matmul", zeros(&[2, 3, 4]).matmul(&zeros(&[3, 4, 2]))),
        ("matmul", m.matmul_t(&zeros(&[4, 2]))),
        ("dropout", m.dropout(1.0, 0)),
        ("dropout", m.dropout(-0.1, 0)),
        ("dropout", m.dropout(f64::NAN, 0)),
    ]);
    assert!(m.item().unwrap_err().to_string().contains("6 elements"));
    let negative = Tensor::new(vec![-1i64], &[1]).unwrap();
    assert!(negative.to_indices().is_err() && v.to_indices().is_err());
}

#[test]
fn fused_operations_on_rows() {
    let (x, w) = (zeros(&[2, 3]), zeros(&[4, 3]));
    let with = |bias: &Tensor| linear(&x, &w, After { bias: Some(bias), ..After::default() });
    let plus = |residual: &Tensor| linear(&x, &w, After { residual: Some(residual), ..After::default() });
    let table = RotaryTable::new(&[1.0], 4, 1.0);
    let heads = zeros(&[2, 1, 2]);
    assert_errors(vec![
        ("linear", linear(&x, &zeros(&[4, 2]), After::default())),
        ("linear", linear(&zeros(&[]), &w, After::default())),
        ("linear", linear(&x, &zeros(&[3]), After::default())),
        ("linear", linear(&integers(&[2, 3]), &integers(&[4, 3]), After::default())),
        ("linear", with(&zeros(&[3]))),
        ("linear", plus(&zeros(&[2, 3]))),
        ("layer_norm", layer_norm(&x, Some(&zeros(&[2])), None, 1e-5)),
        ("layer_norm", layer_norm(&x, None, Some(&zeros(&[3])), 1e-5)),
        ("layer_norm", layer_norm(&x, Some(&single(&[3])), None, 1e-5)),
        ("layer_norm", layer_norm(&zeros(&[]), None, None, 1e-5)),
        ("layer_norm", layer_norm(&integers(&[2, 3]), None, None, 1e-5)),
        ("rms_norm", rms_norm(&x, Some(&zeros(&[4])), 1e-5)),
        ("rms_norm", rms_norm(&zeros(&[]), None, 1e-5)),
        ("rms_norm", rms_norm(&zeros(&[2, 0]), None, 1e-5)),
        ("layer_norm", layer_norm(&zeros(&[2, 0]), None, None, 1e-5)),
        ("cross_entropy", cross_entropy(&zeros(&[2, 0]), &[-1, -1], 0.0)),
        ("cross_entropy", cross_entropy(&x, &[0], 0.0)),
        ("cross_entropy", cross_entropy(&x, &[0, 3], 0.0)),
        ("cross_entropy", cross_entropy(&zeros(&[3]), &[0, 0, 0], 0.0)),
        ("cross_entropy", cross_entropy(&x, &[0, 1], 1.0)),
        ("linear_cross_entropy", linear_cross_entropy(&x, &zeros(&[4, 2]), None, &[0, 1], 0.0)),
        ("linear_cross_entropy", linear_cross_entropy(&x, &zeros(&[0, 3]), None, &[-1, -1], 0.0)),
        ("linear_cross_entropy", linear_cross_entropy(&x, &zeros(&[4, 3]), Some(&zeros(&[3])), &[0, 1], 0.0)),
        ("linear_cross_entropy", linear_cross_entropy(&x, &zeros(&[4, 3]), None, &[0], 0.0)),
        ("linear_cross_entropy", linear_cross_entropy(&x, &zeros(&[4, 3]), None, &[0, 4], 0.0)),
        ("linear_cross_entropy", linear_cross_entropy(&x, &single(&[4, 3]), None, &[0, 1], 0.0)),
        ("rotate", x.rotate(&table, &[0, 1], Layout::Half)),
        ("rotate", heads.rotate(&table, &[0], Layout::Half)),
        ("rotate", heads.rotate(&table, &[0, 4], Layout::Half)),
        ("rotate", zeros(&[2, 1, 1]).rotate(&table, &[0, 1], Layout::Half)),
        ("rotate", integers(&[2, 1, 2]).rotate(&table, &[0, 1], Layout::Half)),
    ]);
    // Types are named by the operation that reads the values.
    for error in [linear(&x, &single(&[4, 3]), After::default()), with(&single(&[4])), plus(&single(&[2, 4]))]
    {
        assert!(error.unwrap_err().to_string().contains("got F32"));
    }
}

#[test]
fn fused_operations_on_sequences() {
    let batch = Packed::from_lengths(&[2, 1]);
    let (x, g) = (zeros(&[3, 4]), zeros(&[4, 4]));
    let how = |heads, mask, dropout| Attention { dropout, ..Attention::new(heads, 1.0, mask) };
    let biased = Attention { bias: Some(zeros(&[2, 1])), ..Attention::new(2, 1.0, Mask::Full) };
    let of_keys = |lengths: &[usize], mask| {
        let keys = Some(Packed::from_lengths(lengths));
        Attention { keys, ..Attention::new(2, 1.0, mask) }
    };
    let attend = |q: &Tensor, k: &Tensor, how: &Attention| attention(q, k, &x, &batch, how);
    let short = Packed::from_lengths(&[2]);
    let crf = |x: &Tensor, g: &Tensor, labels: &[usize], batch: &Packed| {
        crf_loss(x, Transitions { between: g, ends: None }, labels, batch)
    };
    let ends = Transitions { between: &g, ends: Some((&zeros(&[4]), &zeros(&[3]))) };
    let prefix = Mask::Prefix(Arc::new(vec![1]));
    let scores =
        |types| SpanScores { types, scale: 1.0, triangular: true, max_width: Some(1), rotation: None };
    let qk = zeros(&[3, 1, 2, 2]);
    let gold = |spans: &[Vec<Span>]| span_zlpr(&qk, None, &scores(2), spans, &batch);
    let span = |kind, start, end| vec![vec![Span { kind, start, end }], vec![]];
    let bias = zeros(&[3, 1]);
    assert_errors(vec![
        ("attention", attend(&x, &zeros(&[3, 2]), &how(2, Mask::Full, None))),
        ("attention", attend(&zeros(&[12]), &x, &how(2, Mask::Full, None))),
        ("attention", attend(&x, &x, &how(3, Mask::Full, None))),
        ("attention", attend(&x, &x, &how(0, Mask::Full, None))),
        ("attention", attend(&x, &x, &how(2, prefix, None))),
        ("attention", attend(&x, &x, &how(2, Mask::Full, Some((1.5, 0))))),
        ("attention", attend(&x, &x, &biased)),
        ("attention", attend(&x, &x, &of_keys(&[3], Mask::Full))),
        ("attention", attend(&x, &x, &of_keys(&[1, 2], Mask::Causal))),
        ("attention", joint_attention(&x, 1, &batch, &of_keys(&[2, 1], Mask::Full))),
        ("attention", joint_attention(&x, 3, &batch, &how(1, Mask::Full, None))),
        ("attention", attention(&x, &x, &x, &short, &how(2, Mask::Full, None))),
        ("unfold", unfold(&x, &batch, 2, 1)),
        ("unfold", unfold(&x, &batch, 3, 0)),
        ("unfold", unfold(&x, &short, 3, 1)),
        ("unfold", unfold(&zeros(&[3]), &batch, 3, 1)),
        ("lstm", lstm(&x, &zeros(&[4, 2]), &batch, false)),
        ("lstm", lstm(&x, &zeros(&[4]), &batch, false)),
        ("lstm", lstm(&x, &zeros(&[4, 1]), &short, false)),
        ("crf_loss", crf(&x, &g, &[0; 2], &batch)),
        ("crf_loss", crf(&x, &g, &[0, 0, 4], &batch)),
        ("crf_loss", crf(&x, &g, &[0; 3], &short)),
        ("crf_loss", crf(&x, &zeros(&[3, 3]), &[0; 3], &batch)),
        ("crf_loss", crf(&zeros(&[3]), &g, &[0; 3], &batch)),
        ("crf_loss", crf(&zeros(&[3, 0]), &zeros(&[0, 0]), &[0; 3], &batch)),
        ("crf_loss", crf_loss(&x, ends, &[0; 3], &batch)),
        ("crf_marginals", crf_marginals(&x, Transitions { between: &zeros(&[3, 3]), ends: None }, &batch)),
        ("span_zlpr", gold(&[vec![]])),
        ("span_zlpr", gold(&span(2, 0, 0))),
        ("span_zlpr", gold(&span(0, 1, 0))),
        ("span_zlpr", gold(&span(0, 0, 1))),
        ("span_zlpr", gold(&span(0, 2, 2))),
        ("span_zlpr", span_zlpr(&zeros(&[3, 2, 2]), None, &scores(2), &[vec![], vec![]], &batch)),
        ("span_zlpr", span_zlpr(&qk, None, &scores(0), &[vec![], vec![]], &batch)),
        ("span_zlpr", span_zlpr(&qk, Some((&bias, &bias)), &scores(2), &[vec![], vec![]], &batch)),
        ("span_zlpr", span_zlpr(&qk, None, &scores(2), &[vec![]], &short)),
        ("dense_span_scores", dense_span_scores(&qk, None, &scores(2), &batch, 2)),
    ]);
    let mixed = attention(&x, &single(&[3, 4]), &x, &batch, &how(2, Mask::Full, None));
    assert!(mixed.unwrap_err().to_string().contains("got F32"));
    let mixed = crf_loss(&x, Transitions { between: &single(&[4, 4]), ends: None }, &[0; 3], &batch);
    assert!(mixed.unwrap_err().to_string().contains("got F32"));
    assert!(decode_spans(&qk, None, &scores(3), 0.0, &short).is_err());
}

#[test]
fn operations_without_a_gradient_refuse_tracked_inputs() {
    let batch = Packed::from_lengths(&[3]);
    let (x, qk) = (zeros(&[3, 4]).tracked(), zeros(&[3, 1, 2, 2]).tracked());
    let g = zeros(&[4, 4]);
    let scores = SpanScores { types: 1, scale: 1.0, triangular: true, max_width: None, rotation: None };
    let transitions = Transitions { between: &g, ends: None };
    let tracked = [
        x.argmax(0).map(|_| ()),
        x.sign().map(|_| ()),
        x.greater(&g.narrow(0, 0, 3).unwrap()).map(|_| ()),
        zeros(&[3, 4]).greater(&x).map(|_| ()),
        x.cast(DType::I64).map(|_| ()),
        crf_marginals(&x, transitions, &batch).map(|_| ()),
        crf_best_path(&x, transitions, &batch).map(|_| ()),
        decode_spans(&qk, None, &scores, 0.0, &batch).map(|_| ()),
        dense_span_scores(&qk, None, &scores, &batch, 0).map(|_| ()),
    ];
    for (i, result) in tracked.into_iter().enumerate() {
        let error = result.expect_err(&format!("call {i} takes a tracked input")).to_string();
        assert!(error.contains("has no gradient; call it on `x.detach()`"), "call {i}: {error}");
    }
    // The other inputs count too: a gradient would be lost just the same.
    let (g, bias) = (g.tracked(), zeros(&[3, 1]).tracked());
    let transitions = Transitions { between: &g, ends: None };
    let (x, qk) = (x.detach(), qk.detach());
    assert!(crf_marginals(&x, transitions, &batch).is_err());
    assert!(crf_best_path(&x, transitions, &batch).is_err());
    assert!(decode_spans(&qk, Some((&bias, &bias)), &scores, 0.0, &batch).is_err());
    assert!(dense_span_scores(&qk, Some((&bias, &bias)), &scores, &batch, 0).is_err());
}

#[test]
fn gradients_start_at_one_tracked_number() {
    let x = zeros(&[2]).tracked();
    assert!(backward(zeros(&[])).is_err());
    assert!(backward(x.clone()).is_err());
    assert!(grad(&x.sum_all().unwrap(), &[&zeros(&[2])], false).is_err());
}

//! Edges: nothing at all, a single row, and numbers of ±1e4.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::attention::{Attention, Mask, attention};
use bert4rs_tensor::op::crf::{Transitions, crf_best_path, crf_loss, crf_marginals};
use bert4rs_tensor::op::cross_entropy::cross_entropy;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::linear_cross_entropy::linear_cross_entropy;
use bert4rs_tensor::op::lstm::lstm;
use bert4rs_tensor::op::normalization::{layer_norm, rms_norm};
use bert4rs_tensor::op::rotary::{Layout, RotaryTable};
use bert4rs_tensor::op::span_score::{SpanScores, decode_spans, dense_span_scores, span_zlpr};
use bert4rs_tensor::op::unfold::unfold;
use bert4rs_tensor::{DType, Packed, Result, Rng, Tensor, backward};

const FLOATS: [DType; 2] = [DType::F32, DType::F64];

/// Value and gradients of `f` exist and are finite; the shape of the value is as told.
fn assert_finite(name: &str, inputs: &[Tensor], shape: &[usize], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    for dtype in FLOATS {
        let xs: Vec<Tensor> = inputs.iter().map(|x| x.cast(dtype).unwrap().tracked()).collect();
        let y = f(&xs).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(y.shape(), shape, "{name}");
        assert!(y.to_f64_vec().iter().all(|v| v.is_finite()), "{name} in {dtype:?}: {y:?}");
        let gradients = backward(y.sum_all().unwrap()).unwrap();
        for x in &xs {
            let Some(g) = gradients.of(x) else { continue };
            assert_eq!(g.shape(), x.shape(), "{name}");
            assert!(g.to_f64_vec().iter().all(|v| v.is_finite()), "{name} in {dtype:?}: gradient {g:?}");
        }
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F64)
}

/// ±1e4 and 0, in a fixed order that repeats nowhere soon.
fn extremes(shape: &[usize]) -> Tensor {
    let mut rng = Rng::new(17);
    let values = (0..shape.iter().product()).map(|_| [1e4, -1e4, 0.0][rng.below(3)]).collect();
    Tensor::new(values, shape).unwrap()
}

fn attend(batch: &Packed, x: &[Tensor], mask: Mask) -> Result<Tensor> {
    attention(&x[0], &x[1], &x[2], batch, &Attention::new(2, 0.5, mask))
}

#[test]
fn elementary_operations_on_nothing() {
    let none = [zeros(&[0, 3])];
    assert_finite("add", &[zeros(&[0, 3]), zeros(&[3])], &[0, 3], |x| x[0].add(&x[1]));
    assert_finite("exp", &none, &[0, 3], |x| x[0].exp());
    assert_finite("gelu", &none, &[0, 3], |x| x[0].gelu());
    assert_finite("softmax", &none, &[0, 3], |x| x[0].softmax());
    assert_finite("softmax of no columns", &[zeros(&[3, 0])], &[3, 0], |x| x[0].softmax());
    assert_finite("sum over nothing", &none, &[3], |x| x[0].sum(0, false));
    assert_finite("sum_all", &none, &[], |x| x[0].sum_all());
    assert_finite("mean_all", &none, &[], |x| x[0].mean_all());
    assert_finite("mean over nothing", &none, &[3], |x| x[0].mean(0, false));
    assert_finite("log_sum_exp of no rows", &none, &[0], |x| x[0].log_sum_exp(1, false));
    assert_finite("max of no rows", &none, &[0], |x| x[0].max(1, false));
    assert_finite("permute", &none, &[3, 0], |x| x[0].t());
    assert_finite("concat", &[zeros(&[0, 3]), zeros(&[2, 3])], &[2, 3], |x| {
        Tensor::concat(&[&x[0], &x[1]], 0)
    });
    assert_finite("rows", &none, &[0, 3], |x| x[0].rows(&[]));
    assert_finite("rows without columns", &[zeros(&[2, 0])], &[3, 0], |x| x[0].rows(&[1, 0, 1]));
    assert_finite("scatter_rows", &none, &[4, 3], |x| x[0].scatter_rows(&[], 4));
    assert_finite("pick", &none, &[0], |x| x[0].pick(&[]));
    assert_finite("matmul of no rows", &[zeros(&[0, 3]), zeros(&[3, 2])], &[0, 2], |x| x[0].matmul(&x[1]));
    assert_finite("matmul over nothing", &[zeros(&[2, 0]), zeros(&[0, 2])], &[2, 2], |x| x[0].matmul(&x[1]));
    assert_finite("no products", &[zeros(&[0, 2, 3]), zeros(&[0, 3, 2])], &[0, 2, 2], |x| x[0].matmul(&x[1]));
    let sum = zeros(&[2, 0]).log_sum_exp(1, false).unwrap().to_f64_vec();
    assert_eq!(sum, [f64::NEG_INFINITY; 2]); // the logarithm of an empty sum
}

#[test]
fn fused_operations_on_no_tokens() {
    let table = RotaryTable::new(&[1.0, 0.1], 0, 1.0);
    let spans = SpanScores { types: 2, scale: 1.0, triangular: true, max_width: None, rotation: None };
    for lengths in [&[][..], &[0], &[0, 0]] {
        let (batch, count) = (Packed::from_lengths(lengths), lengths.len());
        let none = zeros(&[0, 4]);
        let three = [none.clone(), none.clone(), none.clone()];
        assert_finite("attention", &three, &[0, 4], |x| attend(&batch, x, Mask::Full));
        assert_finite("unfold", &three[..1], &[0, 12], |x| unfold(&x[0], &batch, 3, 1));
        assert_finite("lstm", &[none.clone(), zeros(&[4, 1])], &[0, 1], |x| lstm(&x[0], &x[1], &batch, true));
        assert_finite("crf_loss", &[none.clone(), zeros(&[4, 4])], &[count], |x| {
            crf_loss(&x[0], Transitions { between: &x[1], ends: None }, &[], &batch)
        });
        assert_finite("span_zlpr", &[zeros(&[0, 1, 2, 2])], &[count, 2], |x| {
            span_zlpr(&x[0], None, &spans, &vec![vec![]; count], &batch)
        });
        let transitions = Transitions { between: &zeros(&[4, 4]), ends: None };
        assert_eq!(crf_best_path(&none, transitions, &batch).unwrap(), vec![(vec![], 0.0); count]);
        assert_eq!(crf_marginals(&none, transitions, &batch).unwrap().shape(), [0, 4]);
        let found = decode_spans(&zeros(&[0, 1, 2, 2]), None, &spans, 0.0, &batch).unwrap();
        assert_eq!(found, vec![vec![]; count]);
    }
    assert_finite("linear", &[zeros(&[0, 3]), zeros(&[2, 3]), zeros(&[2])], &[0, 2], |x| {
        linear(&x[0], &x[1], After { bias: Some(&x[2]), activation: Some(Activation::Gelu), residual: None })
    });
    assert_finite("linear without inputs", &[zeros(&[2, 0]), zeros(&[3, 0])], &[2, 3], |x| {
        linear(&x[0], &x[1], After::default())
    });
    assert_finite("layer_norm", &[zeros(&[0, 3]), zeros(&[3]), zeros(&[3])], &[0, 3], |x| {
        layer_norm(&x[0], Some(&x[1]), Some(&x[2]), 1e-5)
    });
    assert_finite("rms_norm", &[zeros(&[0, 3])], &[0, 3], |x| rms_norm(&x[0], None, 1e-5));
    assert_finite("cross_entropy", &[zeros(&[0, 3])], &[0], |x| cross_entropy(&x[0], &[], 0.1));
    assert_finite("cross_entropy, all ignored", &[zeros(&[2, 3])], &[2], |x| {
        cross_entropy(&x[0], &[-1, -100], 0.1)
    });
    assert_finite("linear_cross_entropy", &[zeros(&[0, 3]), zeros(&[4, 3])], &[], |x| {
        linear_cross_entropy(&x[0], &x[1], None, &[], 0.1)
    });
    assert_finite("linear_cross_entropy, all ignored", &[zeros(&[2, 3]), zeros(&[4, 3])], &[], |x| {
        linear_cross_entropy(&x[0], &x[1], None, &[-1, -100], 0.1)
    });
    assert_finite("dropout", &[zeros(&[0, 3])], &[0, 3], |x| x[0].dropout(0.5, 1));
    assert_finite("rotate", &[zeros(&[0, 2, 4])], &[0, 2, 4], |x| x[0].rotate(&table, &[], Layout::Half));
}

#[test]
fn one_token() {
    let batch = Packed::from_lengths(&[1]);
    let row = Tensor::new(vec![0.3, -1.0, 2.0, 0.5], &[1, 4]).unwrap();
    for mask in [Mask::Full, Mask::Causal, Mask::Prefix(std::sync::Arc::new(vec![0]))] {
        let out = attend(&batch, &[row.clone(), row.clone(), row.clone()], mask).unwrap();
        assert_eq!(out.to_f64_vec(), row.to_f64_vec()); // it can only look at itself
    }
    assert_eq!(row.narrow(1, 0, 1).unwrap().softmax().unwrap().to_f64_vec(), [1.0]);
    assert_eq!(layer_norm(&zeros(&[1, 1]), None, None, 1e-5).unwrap().to_f64_vec(), [0.0]);
    assert_eq!(rms_norm(&zeros(&[1, 1]), None, 1e-5).unwrap().to_f64_vec(), [0.0]);
    assert_eq!(cross_entropy(&zeros(&[1, 1]), &[0], 0.0).unwrap().to_f64_vec(), [0.0]);
    let none = Transitions { between: &zeros(&[4, 4]), ends: None };
    assert_eq!(crf_best_path(&row, none, &batch).unwrap(), [(vec![2], 2.0)]);
    let spans = SpanScores { types: 1, scale: 1.0, triangular: true, max_width: None, rotation: None };
    let scores = dense_span_scores(&row.reshape(&[1, 1, 2, 2]).unwrap(), None, &spans, &batch, 0).unwrap();
    assert!((scores.item().unwrap() - (0.3 * 2.0 - 0.5)).abs() < 1e-15);
}

#[test]
fn extremes_stay_finite_in_value_and_gradient() {
    let (one, batch) = ([extremes(&[6, 4])], Packed::from_lengths(&[2, 4]));
    let x = &one[0];
    let labels = [0, 1, 2, 3, 0, 1];
    type Function = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 8] = [
        ("softmax", |x| x.softmax()),
        ("log_softmax", |x| x.log_softmax()),
        ("tanh", |x| x.tanh()),
        ("sigmoid", |x| x.sigmoid()),
        ("softplus", |x| x.softplus()),
        ("gelu", |x| x.gelu()),
        ("silu", |x| x.silu()),
        ("erf", |x| x.erf()),
    ];
    for (name, f) in functions {
        assert_finite(name, &one, &[6, 4], |x| f(&x[0]));
    }
    assert_finite("gelu_tanh", &one, &[6, 4], |x| x[0].activate(Activation::GeluTanh));
    assert_finite("log_sum_exp", &one, &[6], |x| x[0].log_sum_exp(1, false));
    assert_finite("layer_norm", &one, &[6, 4], |x| layer_norm(&x[0], None, None, 1e-12));
    assert_finite("rms_norm", &one, &[6, 4], |x| rms_norm(&x[0], None, 1e-12));
    assert_finite("cross_entropy", &one, &[6], |x| cross_entropy(&x[0], &labels.map(|l| l as i64), 0.1));
    for mask in [Mask::Full, Mask::Causal] {
        let three = [x.clone(), x.clone(), x.clone()];
        assert_finite("attention", &three, &[6, 4], |x| attend(&batch, x, mask.clone()));
    }
    assert_finite("lstm", &[x.clone(), extremes(&[4, 1])], &[6, 1], |x| lstm(&x[0], &x[1], &batch, false));
    assert_finite("crf_loss", &[x.clone(), extremes(&[4, 4])], &[2], |x| {
        crf_loss(&x[0], Transitions { between: &x[1], ends: None }, &labels, &batch)
    });
    let spans = SpanScores { types: 1, scale: 1e-3, triangular: true, max_width: None, rotation: None };
    assert_finite("span_zlpr", &[x.reshape(&[6, 1, 2, 2]).unwrap()], &[2, 1], |x| {
        span_zlpr(&x[0], None, &spans, &[vec![], vec![]], &batch)
    });
}

#[test]
fn constant_rows_do_not_divide_by_zero() {
    let x = [Tensor::full(3.0, &[2, 5], DType::F64)];
    assert_finite("layer_norm", &x, &[2, 5], |x| layer_norm(&x[0], None, None, 1e-12));
    assert_finite("rms_norm of zeros", &[zeros(&[2, 5])], &[2, 5], |x| rms_norm(&x[0], None, 1e-12));
}

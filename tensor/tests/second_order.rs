//! Gradients of gradients: small dense nets against central differences, and the penalties and
//! normalised critics of the golden vectors. Fused operations refuse.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::op::attention::{Attention, Mask, attention};
use bert4rs_tensor::op::crf::{Transitions, crf_loss};
use bert4rs_tensor::op::cross_entropy::cross_entropy;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::linear_cross_entropy::linear_cross_entropy;
use bert4rs_tensor::op::lstm::lstm;
use bert4rs_tensor::op::normalization::{layer_norm, rms_norm};
use bert4rs_tensor::op::rotary::{Layout, RotaryTable};
use bert4rs_tensor::op::span_score::{SpanScores, span_zlpr};
use bert4rs_tensor::op::unfold::unfold;
use bert4rs_tensor::{DType, Packed, Result, Rng, Tensor, backward, grad};
use bert4rs_testing::{Case, assert_gradients, golden, tensor_of};

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 0.7, DType::F64).unwrap()
}

/// `f(f(x W1 + b1) W2 + b2) W3 + b3`, weights `[in, out]` -> `[N]`.
fn net(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor, layers: &[(Tensor, Tensor)]) -> Result<Tensor> {
    let mut h = x.clone();
    for (i, (w, b)) in layers.iter().enumerate() {
        h = h.matmul(w)?.add(b)?;
        if i + 1 < layers.len() {
            h = f(&h)?;
        }
    }
    h.reshape(&[x.shape()[0]])
}

/// `|d D / d x|` of every sample, tracked; the small constant keeps the root smooth at 0.
fn slope(d: &Tensor, x: &Tensor) -> Result<Tensor> {
    let g = grad(&d.sum_all()?, &[x], true)?.remove(0);
    g.square()?.sum(1, false)?.add_scalar(1e-24)?.sqrt()
}

#[test]
fn a_penalty_on_the_slope_of_a_small_net() {
    type Function = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 3] =
        [("tanh", |x| x.tanh()), ("softplus", |x| x.softplus()), ("gelu", |x| x.gelu())];
    for (name, f) in functions {
        let inputs = [
            normal(1, &[2, 3]),
            normal(2, &[3, 4]),
            normal(3, &[4]),
            normal(4, &[4, 3]),
            normal(5, &[3]),
            normal(6, &[3, 1]),
            normal(7, &[1]),
        ];
        assert_gradients(&format!("slope of a net of {name}"), &inputs, |xs| {
            let x = if xs[0].is_tracked() { xs[0].clone() } else { xs[0].tracked() };
            let layers: Vec<_> = xs[1..].chunks(2).map(|p| (p[0].clone(), p[1].clone())).collect();
            slope(&net(f, &x, &layers)?, &x)
        });
    }
}

/// The layers of a golden case as leaves.
fn layers(case: &Case) -> Vec<(Tensor, Tensor)> {
    let part = |key: &str| {
        let arrays = case.inputs["net"][key].as_array().unwrap();
        arrays.iter().map(|v| tensor_of(v).tracked()).collect::<Vec<_>>()
    };
    part("weights").into_iter().zip(part("biases")).collect()
}

fn critic(case: &Case, x: &Tensor, layers: &[(Tensor, Tensor)]) -> Tensor {
    let f = |x: &Tensor| match case.text("activation") {
        "leaky_relu" => x.leaky_relu(0.2),
        "softplus" => x.softplus(),
        other => panic!("activation {other}"),
    };
    net(f, x, layers).unwrap()
}

fn assert_parameter_gradients(case: &Case, loss: Tensor, layers: &[(Tensor, Tensor)]) {
    let expected = case.expected["grad_params"].as_array().unwrap();
    let gradients = backward(loss).unwrap();
    for (layer, ((w, b), e)) in layers.iter().zip(expected).enumerate() {
        for (key, x) in [("w", w), ("b", b)] {
            let got = gradients.of(x).map_or(x.zeros_like(), Tensor::clone);
            let named = Case {
                name: format!("{}, layer {layer}", case.name),
                inputs: case.inputs.clone(),
                params: case.params.clone(),
                expected: e.clone(),
                tol: case.tol,
            };
            named.assert(key, &got);
        }
    }
}

#[test]
fn slopes_of_critics() {
    for case in golden("wgan-gradient-normalization").iter().filter(|c| c.name.starts_with("critic_")) {
        let x = case.input("x").tracked();
        let d = critic(case, &x, &layers(case));
        case.assert("d", &d);
        case.assert("grad_norm", &slope(&d, &x).unwrap());
        case.assert("grad_x", &grad(&d.sum_all().unwrap(), &[&x], false).unwrap()[0]);
    }
}

/// `D / (|D'| + |D|)`, or another way to divide a critic by its slope.
fn normalised(case: &Case, d: &Tensor, g: &Tensor) -> Result<Tensor> {
    let epsilon = |key: &str| case.params.get(key).map_or(0.0, |v| v.as_f64().unwrap());
    match case.params.get("kind").map_or("gn", |k| k.as_str().unwrap()) {
        "gn" => {
            let floor = Tensor::scalar(1e-12, DType::F64);
            d.div(&g.add(&d.abs()?)?.maximum(&floor)?)
        }
        "gran" => d.mul(g)?.mul_scalar(epsilon("K"))?.div(&g.square()?.add_scalar(epsilon("eps"))?),
        "gran_simple" => d.mul_scalar(epsilon("K"))?.div(&g.add_scalar(epsilon("eps"))?),
        other => panic!("kind {other}"),
    }
}

#[test]
fn normalised_critics_and_their_second_and_third_derivatives() {
    let cases = golden("wgan-gradient-normalization");
    let cases: Vec<_> = cases.iter().filter(|c| c.name.starts_with("normalised_")).collect();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (x, layers) = (case.input("x").tracked(), layers(case));
        let d = critic(case, &x, &layers);
        let d_hat = normalised(case, &d, &slope(&d, &x).unwrap()).unwrap();
        case.assert("d_hat", &d_hat);
        case.assert("grad_norm_of_d_hat", &slope(&d_hat, &x).unwrap());
        let loss = d_hat.mul(&case.input("cotangent")).unwrap().sum_all().unwrap();
        assert_parameter_gradients(case, loss, &layers);
    }
}

#[test]
fn gradient_penalties() {
    let cases = golden("wgan-gradient-normalization");
    let cases: Vec<_> = cases.iter().filter(|c| c.name.starts_with("penalty_")).collect();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let (real, fake) = (case.input("real"), case.input("fake"));
        let t = case.input("t").reshape(&[real.shape()[0], 1]).unwrap();
        let between = fake.add(&real.sub(&fake).unwrap().mul(&t).unwrap()).unwrap();
        let x = if case.text("kind") == "r1" { real.tracked() } else { between.tracked() };
        let layers = layers(case);
        let g = slope(&critic(case, &x, &layers), &x).unwrap();
        let above = g.add_scalar(-case.number("target")).unwrap();
        let each = match case.text("kind") {
            "two_sided" => above.square().unwrap(),
            "one_sided" => above.relu().unwrap().square().unwrap(),
            "zero_centred" | "r1" => g.square().unwrap(),
            other => panic!("kind {other}"),
        };
        let penalty = each.mean_all().unwrap();
        case.assert("penalty", &penalty);
        assert_parameter_gradients(case, penalty, &layers);
    }
}

#[test]
fn a_critic_of_zeros_is_zero_with_gradients_of_zero() {
    let cases = golden("wgan-gradient-normalization");
    let case = cases.iter().find(|c| c.name == "zero_critic").unwrap();
    let (x, layers) = (case.input("x").tracked(), layers(case));
    let d = critic(case, &x, &layers);
    let d_hat = normalised(case, &d, &slope(&d, &x).unwrap()).unwrap();
    case.assert("d_hat", &d_hat);
    let gradients = backward(d_hat.sum_all().unwrap()).unwrap();
    for (w, _) in &layers {
        assert!(gradients.of(w).is_none_or(|g| g.to_f64_vec().iter().all(|v| v.is_finite())));
    }
}

/// An operation with its other inputs filled in.
type Map<'a> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>;

#[test]
fn fused_operations_refuse_second_order() {
    let batch = Packed::from_lengths(&[3]);
    let how = Attention::new(2, 1.0, Mask::Full);
    let (square, column) = (normal(2, &[4, 4]), normal(3, &[4, 1]));
    let scores = SpanScores { types: 1, scale: 1.0, triangular: true, max_width: None, rotation: None };
    let transitions = Transitions { between: &square, ends: None };
    let fused: [(&str, Map); 9] = [
        ("linear", Box::new(|x| linear(x, &square, After::default()))),
        ("layer_norm", Box::new(|x| layer_norm(x, None, None, 1e-5))),
        ("rms_norm", Box::new(|x| rms_norm(x, None, 1e-5))),
        ("cross_entropy", Box::new(|x| cross_entropy(x, &[0, 1, 2], 0.0))),
        ("linear_cross_entropy", Box::new(|x| linear_cross_entropy(x, &square, None, &[0, 1, 2], 0.0))),
        ("attention", Box::new(|x| attention(x, x, x, &batch, &how))),
        ("crf_loss", Box::new(|x| crf_loss(x, transitions, &[0; 3], &batch))),
        ("lstm", Box::new(|x| lstm(x, &column, &batch, false))),
        ("span_zlpr", Box::new(|x| span_zlpr(&x.reshape(&[3, 1, 2, 2])?, None, &scores, &[vec![]], &batch))),
    ];
    for (op, f) in fused {
        let x = normal(1, &[3, 4]).tracked();
        let loss = f(&x).unwrap().square().unwrap().sum_all().unwrap();
        let error = grad(&loss, &[&x], true).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{op}: is fused")) && error.contains("elementary"), "{error}");
        assert!(grad(&loss, &[&x], false).is_ok(), "{op}");
    }
}

#[test]
fn linear_maps_have_gradients_of_any_order() {
    let table = RotaryTable::new(&[1.0, 0.1], 8, 1.0);
    let batch = Packed::from_lengths(&[2, 1]);
    let maps: [(&str, Map); 3] = [
        ("dropout", Box::new(|x| x.dropout(0.4, 3))),
        ("rotate", Box::new(|x| x.reshape(&[3, 1, 4])?.rotate(&table, &[0, 1, 5], Layout::Half))),
        ("unfold", Box::new(|x| unfold(x, &batch, 3, 1))),
    ];
    for (name, f) in maps {
        assert_gradients(&format!("gradient of {name}"), &[normal(1, &[3, 4])], |xs| {
            let x = if xs[0].is_tracked() { xs[0].clone() } else { xs[0].tracked() };
            let cube = f(&x)?.powf(3.0)?.sum_all()?;
            Ok(grad(&cube, &[&x], true)?.remove(0))
        });
    }
}

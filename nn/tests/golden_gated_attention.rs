//! Gated attention units against the values and gradients of an independent program.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::block::mixer::{Operands, mixed_chunk, weigh};
use bert4rs_nn::block::position::Scaling;
use bert4rs_nn::block::position::{Rotary, inverse_frequencies};
use bert4rs_nn::block::{Layer, Surroundings};
use bert4rs_nn::encoder::{EncoderConfig, GatedWeights, Mixer, Norm, Wiring, gau_alpha};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::rotary::Layout;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor, grad};
use bert4rs_testing::{Case, golden, tensor_of};

fn kept(case: &Case) -> usize {
    let mask = case.input("key_mask").to_f64_vec();
    let n = mask.iter().filter(|m| **m == 1.0).count();
    assert!(mask[..n].iter().all(|m| *m == 1.0), "{}: padding stands at the end", case.name);
    n
}

fn assert_rows(case: &Case, key: &str, got: &Tensor) {
    let expected = tensor_of(&case.expected[key]).narrow(0, 0, kept(case)).unwrap().to_f64_vec();
    assert_eq!(expected.len(), got.elements(), "{}: {key}", case.name);
    for (i, (e, g)) in expected.into_iter().zip(got.to_f64_vec()).enumerate() {
        assert!((e - g).abs() <= case.tol * (1.0 + e.abs()), "{}: {key}[{i}] is {g}, not {e}", case.name);
    }
}

fn weights(name: &str) -> GatedWeights {
    match name {
        "softmax" => GatedWeights::Softmax,
        "softmax_plus" => GatedWeights::SoftmaxPlus,
        "squared_relu" => GatedWeights::SquaredRelu,
        "squared_relu_fixed512" => GatedWeights::SquaredReluFixed { length: 512 },
        "squared_relu_sum" => GatedWeights::SquaredReluSum,
        other => panic!("{other}"),
    }
}

/// A layer with the file's parameters, without norm and residual or, for `alpha`, with both.
fn layer(case: &Case, kind: GatedWeights, bias: bool, alpha: bool) -> (Layer, Params) {
    let mixer = Mixer::GatedAttention { size: 6, key_size: 4, weights: kind, chunk: None, dropout: 0.0 };
    let config = EncoderConfig {
        hidden_size: 4,
        layers: 1,
        bias,
        dropout: 0.0,
        wiring: if alpha { Wiring::PostNorm } else { Wiring::Stack },
        norm: if alpha { Norm::Rms { eps: case.number("rms_eps"), gain: false } } else { Norm::None },
        mixer,
        ..gau_alpha()
    };
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let layer = Layer::new(&mut Builder::new(&mut params, &mut rng, DType::F64), &config, 0, 4).unwrap();
    let p = |key: &str| tensor_of(&case.inputs["p"][key]);
    let set = |name: &str, value: Tensor| params.get(name).unwrap().set(&value).unwrap();
    set("gau.i_dense.weight", p("wi").t().unwrap());
    set("gau.q_scaleoffset.weight", p("gq"));
    set("gau.k_scaleoffset.weight", p("gk"));
    set("gau.o_dense.weight", p("wo").t().unwrap());
    if bias {
        set("gau.i_dense.bias", p("bi"));
        set("gau.q_scaleoffset.bias", p("bq"));
        set("gau.k_scaleoffset.bias", p("bk"));
        set("gau.o_dense.bias", p("bo"));
    }
    (layer, params)
}

fn run(case: &Case, layer: &Layer, x: &Tensor, rotary: bool, mask: &Mask) -> Tensor {
    let batch = Packed::from_lengths(&[kept(case)]);
    let frequencies = inverse_frequencies(4, 1e4, &Scaling::None, 0).unwrap();
    let rotation =
        rotary.then(|| Rotary::new(frequencies, Layout::Interleaved, None).of(&batch, DType::F64).unwrap());
    let around = Surroundings { rotation, ..Surroundings::plain(&batch, mask) };
    layer.forward(&mut Ctx::training(Rng::new(0)), x, &around).unwrap()
}

/// The file's program also has rows of padding, which see the tokens before them; a packed batch has
/// none. Their share of its gradients, by the plain formula.
fn padding_rows(case: &Case, x: &Tensor, gq: &Tensor, n: usize) -> Tensor {
    let p = |key: &str| tensor_of(&case.inputs["p"][key]);
    let all = x.matmul(&p("wi")).unwrap().silu().unwrap();
    let (u, v, z) =
        (all.narrow(1, 0, 6).unwrap(), all.narrow(1, 6, 6).unwrap(), all.narrow(1, 12, 4).unwrap());
    let rows = x.shape()[0];
    let frequencies = inverse_frequencies(4, 1e4, &Scaling::None, 0).unwrap();
    let rotation = Rotary::new(frequencies, Layout::Interleaved, None)
        .of(&Packed::from_lengths(&[rows]), DType::F64)
        .unwrap();
    let q = rotation.turn(&z.mul(gq).unwrap(), 1).unwrap().narrow(0, n, rows - n).unwrap();
    let k = rotation.turn(&z.mul(&p("gk")).unwrap(), 1).unwrap().narrow(0, 0, n).unwrap();
    let scores = q.matmul_t(&k).unwrap().mul_scalar(0.5).unwrap();
    let a = match case.text("normalization") {
        "softmax_plus" => scores.mul_scalar(16f64.ln() / 512f64.ln()).unwrap().softmax().unwrap(),
        _ => scores.relu().unwrap().square().unwrap().mul_scalar(1.0 / n as f64).unwrap(),
    };
    let gathered = a.matmul(&v.narrow(0, 0, n).unwrap()).unwrap();
    u.narrow(0, n, rows - n).unwrap().mul(&gathered).unwrap().matmul(&p("wo")).unwrap()
}

fn mask(case: &Case) -> Mask {
    if case.params.get("causal").is_some() && case.flag("causal") { Mask::Causal } else { Mask::Full }
}

#[test]
fn every_unit_of_the_file() {
    let mut seen = 0;
    for case in golden("flash-gau").iter().filter(|c| c.name.starts_with("gau_") && c.has_input("key_mask")) {
        let n = kept(case);
        if n == 0 {
            // Nothing is packed then; the file's rows are those of padding.
            assert_eq!(case.name, "gau_all_padding");
            continue;
        }
        let alpha = case.name == "gau_alpha_layer";
        let kind = if alpha { GatedWeights::SoftmaxPlus } else { weights(case.text("normalization")) };
        let (bias, rotary) = (!alpha && case.flag("bias"), alpha || case.flag("rotary"));
        let (layer, params) = layer(case, kind, bias, alpha);
        let x = case.input("x").tracked();
        let y = run(case, &layer, &x.narrow(0, 0, n).unwrap(), rotary, &mask(case));
        if case.has_input("cotangent") {
            let gq = params.get("gau.q_scaleoffset.weight").unwrap().leaf();
            let all = Tensor::concat(&[&y, &padding_rows(case, &x, &gq, n)], 0).unwrap();
            let loss = all.mul(&case.input("cotangent")).unwrap().sum_all().unwrap();
            let gradients = grad(&loss, &[&x, &gq], false).unwrap();
            case.assert("grad_x", &gradients[0]);
            case.assert("grad_gq", &gradients[1]);
        } else {
            assert_rows(case, "out", &y);
        }
        seen += 1;
    }
    assert_eq!(seen, 19);
}

#[test]
fn weights_of_a_row_without_positive_scores_are_zero() {
    let scores = Tensor::new(vec![-1.0, -2.0, 3.0, 0.5], &[2, 2]).unwrap();
    let sum = weigh(&scores, GatedWeights::SquaredReluSum, &Mask::Full, 0).unwrap();
    assert_eq!(sum.to_f64_vec()[..2], [0.0, 0.0]);
    assert!((sum.to_f64_vec()[2] - 9.0 / 9.25).abs() < 1e-12);
    let mean = weigh(&scores, GatedWeights::SquaredRelu, &Mask::Causal, 0).unwrap();
    assert_eq!(mean.to_f64_vec(), [0.0, 0.0, 4.5, 0.125]);
}

#[test]
fn chunks_of_every_size_of_the_file() {
    let mut seen = 0;
    for case in golden("flash-gau").iter().filter(|c| c.name.starts_with("mixed_chunk")) {
        let n = kept(case);
        let rows = |key: &str| case.input(key).narrow(0, 0, n).unwrap();
        let (q, k, v) = (rows("q_quad"), rows("k_quad"), rows("v"));
        let (q_linear, k_linear) = (rows("q_lin"), rows("k_lin"));
        let operands = Operands { q: &q, k: &k, q_linear: &q_linear, k_linear: &k_linear, v: &v };
        let chunk = case.number("chunk") as usize;
        let y = mixed_chunk(operands, &Packed::from_lengths(&[n]), chunk, case.flag("causal")).unwrap();
        assert_rows(case, "out", &y);
        seen += 1;
    }
    assert_eq!(seen, 16);
}

#[test]
fn units_have_the_stated_numbers_of_parameters() {
    let cases = golden("flash-gau");
    let case = cases.iter().find(|c| c.name == "parameter_counts").unwrap();
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    Layer::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &gau_alpha(), 0, 768).unwrap();
    assert_eq!(case.expected["gau_layer_no_bias"].as_f64(), Some(params.elements() as f64));
}

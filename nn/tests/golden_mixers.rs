//! Token mixers against the values and gradients of an independent program.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::block::mixer::{light_convolution, read_memory, synthesize};
use bert4rs_nn::block::{Layer, Surroundings};
use bert4rs_nn::encoder::{
    Activation, EncoderConfig, FeedForward, Mixer, Norm, Position, ResidualScale, Wiring, bert, dgcnn,
};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::fourier::fourier;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::unfold::unfold;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor, grad};
use bert4rs_testing::{Case, golden, tensor_of};

fn case(name: &str) -> Case {
    golden("non-transformer-mixers").into_iter().find(|c| c.name == name).unwrap()
}

/// How many rows are no padding; padding stands at the end.
fn kept(case: &Case) -> usize {
    if !case.has_input("key_mask") {
        return case.inputs["x"].as_array().unwrap().len();
    }
    case.input("key_mask").to_f64_vec().iter().filter(|m| **m == 1.0).count()
}

fn mask(case: &Case) -> Mask {
    if case.params.get("causal").is_some() && case.flag("causal") { Mask::Causal } else { Mask::Full }
}

/// Compares the rows that are no padding.
fn assert_rows(case: &Case, key: &str, got: &Tensor) {
    let expected = tensor_of(&case.expected[key]).narrow(0, 0, kept(case)).unwrap().to_f64_vec();
    assert_eq!(got.elements(), expected.len(), "{}", case.name);
    for (i, (e, g)) in expected.into_iter().zip(got.to_f64_vec()).enumerate() {
        assert!((e - g).abs() <= case.tol * (1.0 + e.abs()), "{}: {key}[{i}] is {g}, not {e}", case.name);
    }
}

/// The rows that are no padding of an input, and the batch they make.
fn rows(case: &Case, key: &str) -> (Tensor, Packed) {
    let n = kept(case);
    (case.input(key).narrow(0, 0, n).unwrap(), Packed::from_lengths(&[n]))
}

fn p(case: &Case, key: &str) -> Tensor {
    tensor_of(&case.inputs["p"][key])
}

/// A layer of `config` with parameters from the file; its matrices are `[in, out]`, ours `[out, in]`.
fn layer(case: &Case, config: &EncoderConfig, names: &[(&str, &str)]) -> Layer {
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
    let layer = Layer::new(&mut builder, config, 0, config.hidden_size).unwrap();
    for (ours, theirs) in names {
        let value = p(case, theirs);
        let turned = value.rank() == 2 && *theirs != "ws" && *theirs != "tw";
        let value = if turned { value.t().unwrap() } else { value };
        params.get(ours).unwrap_or_else(|| panic!("no {ours}")).set(&value).unwrap();
    }
    assert_eq!(params.len(), names.len(), "parameters that the file does not give");
    layer
}

fn run(layer: &Layer, x: &Tensor, batch: &Packed, mask: &Mask) -> Tensor {
    let ctx = &mut Ctx::training(Rng::new(0));
    layer.forward(ctx, x, &Surroundings::plain(batch, mask)).unwrap()
}

/// Width 4, feed-forward 7, nothing dropped, norms before parts.
fn blocks(mixer: Mixer) -> EncoderConfig {
    EncoderConfig {
        hidden_size: 4,
        layers: 1,
        dropout: 0.0,
        wiring: Wiring::PreNorm,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        position: Position::None,
        mixer,
        feed_forward: FeedForward::Dense { size: 7, activation: Activation::Gelu },
        ..bert()
    }
}

const FEATURES: [(&str, &str); 4] = [
    ("intermediate.dense.weight", "cw1"),
    ("intermediate.dense.bias", "cb1"),
    ("output.dense.weight", "cw2"),
    ("output.dense.bias", "cb2"),
];
const TOKENS: [(&str, &str); 4] = [
    ("positions.inner.weight", "tw1"),
    ("positions.inner.bias", "tb1"),
    ("positions.outer.weight", "tw2"),
    ("positions.outer.bias", "tb2"),
];

fn mlp_mixer(case: &Case) -> Layer {
    let norms = [
        ("attention.output.LayerNorm.weight", "g1"),
        ("attention.output.LayerNorm.bias", "c1"),
        ("output.LayerNorm.weight", "g2"),
        ("output.LayerNorm.bias", "c2"),
    ];
    let config = blocks(Mixer::MlpMixer { size: 3, max_length: 5 });
    layer(case, &config, &[&FEATURES[..], &TOKENS, &norms].concat())
}

#[test]
fn mlp_mixer_and_its_gradient() {
    let case_ = case("mixer_block");
    let (x, batch) = rows(&case_, "x");
    assert_rows(&case_, "y", &run(&mlp_mixer(&case_), &x, &batch, &Mask::Full));
    let case = case("mixer_block_grad");
    let x = case.input("x").tracked();
    let y = run(&mlp_mixer(&case), &x, &batch, &Mask::Full);
    let loss = y.mul(&case.input("cotangent")).unwrap().sum_all().unwrap();
    case.assert("grad_x", &grad(&loss, &[&x], false).unwrap()[0]);
}

#[test]
fn feed_forward_only_normalises_over_positions() {
    let case = case("ff_only_block");
    let norms = [
        ("positions.LayerNorm.weight", "g1t"),
        ("positions.LayerNorm.bias", "c1t"),
        ("output.LayerNorm.weight", "g2"),
        ("output.LayerNorm.bias", "c2"),
    ];
    let config = blocks(Mixer::FeedForwardOnly { size: 3, max_length: 5 });
    let layer = layer(&case, &config, &[&FEATURES[..], &TOKENS, &norms].concat());
    let (x, batch) = rows(&case, "x");
    assert_rows(&case, "y", &run(&layer, &x, &batch, &Mask::Full));
}

#[test]
fn res_mlp_has_affine_maps_and_scaled_branches() {
    let case = case("resmlp_block");
    let config = EncoderConfig {
        norm: Norm::Affine,
        residual_scale: ResidualScale::Channels { start: 0.1 },
        ..blocks(Mixer::ResMlp { max_length: 5 })
    };
    let rest = [
        ("positions.weight", "tw"),
        ("positions.bias", "tb"),
        ("attention.output.LayerNorm.weight", "a1"),
        ("attention.output.LayerNorm.bias", "s1"),
        ("attention.output.residual_scale", "ls1"),
        ("output.LayerNorm.weight", "a2"),
        ("output.LayerNorm.bias", "s2"),
        ("output.residual_scale", "ls2"),
    ];
    let layer = layer(&case, &config, &[&FEATURES[..], &rest].concat());
    let (x, batch) = rows(&case, "x");
    assert_rows(&case, "y", &run(&layer, &x, &batch, &Mask::Full));
}

#[test]
fn gmlp_and_amlp_with_padding_and_causal() {
    for name in ["gmlp_full", "gmlp_padding", "gmlp_causal", "amlp_full", "amlp_padding", "amlp_causal"] {
        let case = case(name);
        let attention = case.flag("attn").then_some(3);
        let mixer = Mixer::SpatialGate { size: 6, max_length: 6, attention };
        let config = EncoderConfig { feed_forward: FeedForward::None, ..blocks(mixer) };
        let mut names = vec![
            ("attention.output.LayerNorm.weight", "g"),
            ("attention.output.LayerNorm.bias", "c"),
            ("gate.input.weight", "w1"),
            ("gate.input.bias", "b1"),
            ("gate.LayerNorm.weight", "gs"),
            ("gate.LayerNorm.bias", "cs"),
            ("gate.spatial.weight", "ws"),
            ("gate.spatial.bias", "bs"),
            ("gate.output.weight", "w2"),
            ("gate.output.bias", "b2"),
        ];
        if attention.is_some() {
            names.extend([("gate.attention.joint.weight", "aqkv"), ("gate.attention.output.weight", "ao")]);
        }
        let (x, batch) = rows(&case, "x");
        assert_rows(&case, "y", &run(&layer(&case, &config, &names), &x, &batch, &mask(&case)));
    }
}

#[test]
fn a_spatial_gate_starts_as_the_identity_on_its_first_half() {
    let case = case("sgu_init_is_identity_on_first_half");
    let w = case.input("w").to_f64_vec();
    assert!(w.iter().all(|w| w.abs() < 1e-3) && case.input("b").to_f64_vec() == [1.0; 5]);
    let (mut params, mut rng) = (Params::new(), Rng::new(1));
    let config = EncoderConfig { hidden_size: 6, ..blocks(Mixer::Fourier) };
    let init = bert4rs_nn::Init::Normal { deviation: 0.1 };
    let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
    let gate = bert4rs_nn::block::mixer::SpatialGate::new(&mut builder, &config, 6, 5, None, init).unwrap();
    let z = case.input("z");
    let (batch, mask) = (Packed::from_lengths(&[5]), Mask::Full);
    let around = Surroundings::plain(&batch, &mask);
    let start = gate.gate(&Ctx::inference(), &z, &z, &around).unwrap();
    for (got, u) in start.to_f64_vec().iter().zip(z.narrow(1, 0, 3).unwrap().to_f64_vec()) {
        assert!((got - u).abs() < 2e-3, "our start: {got}, first half {u}");
    }
    params.get("gate.spatial.weight").unwrap().set(&case.input("w")).unwrap();
    case.assert("y", &gate.gate(&Ctx::inference(), &z, &z, &around).unwrap());
}

#[test]
fn synthesizers_mask_learned_pairs() {
    for name in ["synthesizer_random_full", "synthesizer_random_padding", "synthesizer_random_causal"] {
        let case = case(name);
        let n = kept(&case);
        let values = case.input("v").narrow(0, 0, n).unwrap();
        let pairs = case.input("b").reshape(&[1, 7, 7]).unwrap();
        let y = synthesize(&values, &pairs, &Packed::from_lengths(&[n]), &mask(&case)).unwrap();
        assert_rows(&case, "y", &y);
    }
}

#[test]
fn external_attention_normalises_over_tokens_and_then_over_slots() {
    for name in [
        "external_attention_double_norm_full",
        "external_attention_double_norm_padding",
        "external_attention_row_softmax",
    ] {
        let case = case(name);
        let (x, batch) = rows(&case, "x");
        let y = read_memory(&x, &case.input("mk"), &case.input("mv"), &batch, !case.flag("double_norm"));
        assert_rows(&case, "y", &y.unwrap());
    }
}

#[test]
fn fourier_mixing_and_its_gradient() {
    let case_ = case("fnet_n1");
    case_.assert("y", &fourier(&case_.input("x"), &Packed::from_lengths(&[1])).unwrap());
    let case = case("fnet_mixing");
    let x = case.input("x").tracked();
    let y = fourier(&x, &Packed::from_lengths(&[5])).unwrap();
    case.assert("y", &y);
    let loss = y.mul(&case.input("cotangent")).unwrap().sum_all().unwrap();
    case.assert("grad_x", &grad(&loss, &[&x], false).unwrap()[0]);
}

/// The file's taps `[k, in, out]` as one matrix `[out, k in]`.
fn taps(w: &Tensor) -> Tensor {
    w.reshape(&[w.shape()[0] * w.shape()[1], w.shape()[2]]).unwrap().t().unwrap()
}

#[test]
fn dilated_convolutions_and_their_gate() {
    for name in ["dilated_conv_d1", "dilated_conv_d2", "dilated_conv_causal"] {
        let case = case(name);
        let (x, batch) = rows(&case, "x");
        let dilation = case.number("dilation") as usize;
        let windows = match mask(&case) {
            // The first half of a window twice as long ends at the token.
            Mask::Causal => unfold(&x, &batch, 5, dilation).unwrap().narrow(1, 0, 12).unwrap(),
            Mask::Full | Mask::Prefix(_) => unfold(&x, &batch, 3, dilation).unwrap(),
        };
        let after = After { bias: Some(&case.input("b")), ..After::default() };
        assert_rows(&case, "y", &linear(&windows, &taps(&case.input("w")), after).unwrap());
    }
    for name in ["dgcnn_block_d1", "dgcnn_block_d2"] {
        let case = case(name);
        let (x, batch) = rows(&case, "x");
        let dilations = vec![case.number("dilation") as usize];
        let mixer = Mixer::DilatedGatedConvolution { window: 3, dilations };
        let config = EncoderConfig { hidden_size: 4, layers: 1, dropout: 0.0, mixer, ..dgcnn() };
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
        let layer = Layer::new(&mut builder, &config, 0, 4).unwrap();
        let both = |a: &str, b: &str, f: fn(&Tensor) -> Tensor| {
            Tensor::concat(&[&f(&p(&case, a)), &f(&p(&case, b))], 0).unwrap()
        };
        params.get("convolution.weight").unwrap().set(&both("w1", "w2", taps)).unwrap();
        params.get("convolution.bias").unwrap().set(&both("b1", "b2", Tensor::clone)).unwrap();
        assert_rows(&case, "y", &run(&layer, &x, &batch, &Mask::Full));
    }
}

#[test]
fn light_and_dynamic_convolutions() {
    for name in ["light_conv_causal0", "light_conv_causal1", "dynamic_conv_causal0", "dynamic_conv_causal1"] {
        let case = case(name);
        let (x, batch) = rows(&case, "x");
        let logits = match case.has_input("w") {
            true => case.input("w").reshape(&[1, 2, 3]).unwrap(),
            false => x.matmul(&case.input("wq")).unwrap().reshape(&[kept(&case), 2, 3]).unwrap(),
        };
        let y = light_convolution(&x, &logits, &batch, mask(&case) == Mask::Causal).unwrap();
        assert_rows(&case, "y", &y);
    }
}

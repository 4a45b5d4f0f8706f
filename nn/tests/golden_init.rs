//! Starts of weights, norms and scales in depth against the values of an independent program.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::block::Linear;
use bert4rs_nn::encoder::{
    AttentionConfig, Encoder, EncoderConfig, EncoderInput, FeedForward, MaskedLanguageHead, Mixer, Position,
    WeightInit, Wiring, bert,
};
use bert4rs_nn::signal::{
    Stack, Update, admin_omegas, branch_variance, deep_norm, depth_scale, moments, post_norm_weights,
};
use bert4rs_nn::{Builder, Ctx, Init};
use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::normalization::{layer_norm, rms_norm};
use bert4rs_tensor::{DType, Packed, ParameterKind, Params, Rng, Tensor, grad, normal};
use bert4rs_testing::{Case, golden, tensor_of};

fn cases(prefix: &str) -> Vec<Case> {
    let files = ["init-parametrization-normalization", "bert-init-std-0.02"];
    let all: Vec<Case> =
        files.iter().flat_map(|file| golden(file)).filter(|c| c.name.starts_with(prefix)).collect();
    assert!(!all.is_empty(), "no case {prefix}");
    all
}

fn expect(case: &Case, key: &str, got: f64) {
    case.assert(key, &Tensor::new(vec![got], &[]).unwrap());
}

/// The deviation of a matrix `[out, in]`, by all its numbers.
fn deviation(shape: &[usize], init: Init) -> f64 {
    let (mut params, mut rng) = (Params::new(), Rng::new(7));
    let w = Builder::new(&mut params, &mut rng, DType::F64)
        .parameter("w", shape, ParameterKind::Matrix, init)
        .unwrap();
    let w = w.value().to_f64_vec();
    (w.iter().map(|w| w * w).sum::<f64>() / w.len() as f64).sqrt()
}

#[test]
fn truncated_normals_have_the_stated_quantiles_and_deviation() {
    let case = &cases("truncated_normal_constants")[0];
    let (density, mass) = (normal::density(2.0), 2.0 * normal::distribution(2.0) - 1.0);
    let variance = 1.0 - 4.0 * density / mass;
    expect(case, "variance_ratio_2sigma", variance);
    expect(case, "std_ratio_2sigma", Init::TRUNCATED_RATIO);
    expect(case, "inverse_std_ratio", Init::TRUNCATED_RATIO.recip());
    expect(case, "effective_std_of_0.02", 0.02 * Init::TRUNCATED_RATIO);
    let case = &cases("truncated_normal_quantile")[0];
    let x = case.input("u").to_f64_vec().iter().map(|&u| normal::truncated_quantile(u, -2.0, 2.0)).collect();
    case.assert("x", &Tensor::new::<f64>(x, &[6]).unwrap());
    let got = deviation(&[200, 200], Init::TruncatedNormal { sigma: 0.02 });
    assert!((got / 0.017_592_5 - 1.0).abs() < 0.01, "{got}");
    let case = &cases("effective_std")[0];
    let effective: Vec<f64> =
        case.input("std").to_f64_vec().iter().map(|s| s * Init::TRUNCATED_RATIO).collect();
    case.assert("effective", &Tensor::new(effective, &[3]).unwrap());
}

#[test]
fn samples_deviate_as_the_fans_say() {
    for (prefix, init) in [
        ("std_lecun", Init::LeCun),
        ("std_xavier", Init::Xavier),
        ("std_he", Init::FanIn { gain: 2f64.sqrt() }),
    ] {
        let case = &cases(prefix)[0];
        let fans = tensor_of(&case.inputs["fan_in_out"]).to_f64_vec();
        for (fans, want) in fans.chunks(2).zip(tensor_of(&case.expected["std"]).to_f64_vec()).take(3) {
            // A quarter of each extent has the deviation of twice the fan.
            let (inputs, outputs) = (fans[0] as usize / 4, fans[1] as usize / 4);
            let got = deviation(&[outputs, inputs], init) / 2.0;
            assert!(
                (got / want - 1.0).abs() < 0.02,
                "{prefix} {inputs} to {outputs}: {got}, expected {want}"
            );
        }
    }
    let case = &cases("uniform_half_width")[0];
    let widths = case.input("std").to_f64_vec().iter().map(|s| s * 3f64.sqrt()).collect();
    case.assert("half_width", &Tensor::new::<f64>(widths, &[2]).unwrap());
}

#[test]
fn activations_have_the_stated_moments() {
    let case = &cases("activation_moments")[0];
    let of = |f: Activation| move |x: f64| f.apply(x);
    let selu = |x: f64| {
        let (scale, alpha) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);
        scale * if x > 0.0 { x } else { alpha * x.exp_m1() }
    };
    type Function = Box<dyn Fn(f64) -> f64>;
    let named: [(&str, Function); 10] = [
        ("identity", Box::new(|x| x)),
        ("relu", Box::new(of(Activation::Relu))),
        ("sigmoid", Box::new(of(Activation::Sigmoid))),
        ("tanh", Box::new(of(Activation::Tanh))),
        ("gelu", Box::new(of(Activation::Gelu))),
        ("silu", Box::new(of(Activation::Silu))),
        ("elu", Box::new(|x: f64| if x > 0.0 { x } else { x.exp_m1() })),
        ("leaky_relu_0.2", Box::new(|x: f64| if x > 0.0 { x } else { 0.2 * x })),
        ("selu", Box::new(selu)),
        ("softplus", Box::new(|x: f64| x.exp().ln_1p())),
    ];
    for (name, f) in named {
        let want = &case.expected[name];
        let (mean, second) = moments(f);
        for (key, got) in
            [("mean", mean), ("second_moment", second), ("gain_to_keep_second_moment", second.sqrt().recip())]
        {
            let want = want[key].as_f64().unwrap();
            assert!(
                (got - want).abs() < case.tol * (1.0 + want.abs()),
                "{name} {key}: {got}, expected {want}"
            );
        }
    }
}

#[test]
fn norms_and_their_gradients() {
    for case in cases("layer_norm_").iter().chain(&cases("rms_norm_")) {
        let (x, gain) = (case.input("x").tracked(), case.input("gamma").tracked());
        let eps: f64 = case.name.rsplit("eps").next().unwrap().parse().unwrap();
        let y = match case.name.starts_with("layer") {
            true => layer_norm(&x, Some(&gain), Some(&case.input("beta")), eps).unwrap(),
            false => rms_norm(&x, Some(&gain), eps).unwrap(),
        };
        case.assert("y", &y);
        let loss = y.mul(&case.input("cotangent")).unwrap().sum_all().unwrap();
        let gradients = grad(&loss, &[&x, &gain], false).unwrap();
        case.assert("grad_x", &gradients[0]);
        case.assert("grad_gamma", &gradients[1]);
    }
}

#[test]
fn scales_in_depth_are_the_published_ones() {
    for case in cases("deepnorm_") {
        let number = |key: &str| case.number(key) as usize;
        let (n, m) = (number("encoder_layers"), number("decoder_layers"));
        let (alpha, beta) = match case.text("kind") {
            "encoder" => deep_norm(Stack::Alone, n, 0),
            "decoder" => deep_norm(Stack::Alone, m, 0),
            "encdec_encoder" => deep_norm(Stack::Encoder, n, m),
            "encdec_decoder" => deep_norm(Stack::Decoder, m, n),
            other => panic!("{other}"),
        };
        expect(&case, "alpha", alpha);
        expect(&case, "beta", beta);
    }
    for case in cases("depth_scheme_") {
        for (key, update) in [("sgd", Update::Sgd), ("adam", Update::Adam), ("lamb", Update::Lamb)] {
            let (alpha, gain) = depth_scale(update, case.number("layers") as usize);
            let want = |key2: &str| case.expected[key][key2].as_f64().unwrap();
            assert!((alpha - want("alpha")).abs() < 1e-9 && (gain - want("gain")).abs() < 1e-9, "{key}");
        }
    }
    let case = &cases("admin_omega")[0];
    let omegas = admin_omegas(&case.input("branch_variance").to_f64_vec());
    case.assert("omega", &Tensor::new(omegas, &[5]).unwrap());
    for case in cases("post_ln_branch") {
        let variances = vec![case.number("branch_variance"); case.number("sublayers") as usize];
        let (first, branches) = post_norm_weights(&variances);
        expect(&case, "weight_x0", first);
        case.assert("weight_branch", &Tensor::new(branches, &[variances.len()]).unwrap());
        expect(&case, "pre_ln_output_variance", 1.0 + variances.iter().sum::<f64>());
    }
}

#[test]
fn a_new_bert_keeps_the_predicted_share_of_its_input() {
    for case in cases("branch_variance_") {
        let number = |key: &str| case.number(key) as usize;
        let deviation = case.number("std") * Init::TRUNCATED_RATIO;
        let sizes = [number("hidden"), number("intermediate")];
        let got = branch_variance(sizes, deviation, number("tokens"), case.number("token_corr"));
        expect(&case, "linear", got.linear);
        expect(&case, "attention", got.attention);
        expect(&case, "ffn", got.feed_forward);
        let layers = [got.attention, got.feed_forward].repeat(number("layers"));
        expect(&case, "x0_weight", post_norm_weights(&layers).0);
        expect(&case, "x0_weight_unit_branches", post_norm_weights(&vec![1.0; layers.len()]).0);
    }
}

#[test]
fn an_ntk_product_divides_by_the_root_of_its_inputs() {
    let case = &cases("ntk_linear")[0];
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
    let linear = Linear::new(&mut builder, 8, 3, false, Init::Ntk).unwrap();
    params.get("weight").unwrap().set(&case.input("w").t().unwrap()).unwrap();
    case.assert("y", &linear.forward(&Ctx::inference(), &case.input("x")).unwrap());
}

#[test]
fn t5_and_depth_scaled_starts_deviate_as_published() {
    let build = |hidden_size, init| {
        let config = EncoderConfig {
            vocab_size: 64,
            hidden_size,
            layers: 1,
            bias: false,
            init,
            position: Position::None,
            mixer: Mixer::Attention(AttentionConfig::plain(hidden_size / 64, 0.0)),
            feed_forward: FeedForward::Dense { size: 200, activation: Default::default() },
            ..bert()
        };
        let (mut params, mut rng) = (Params::new(), Rng::new(3));
        Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config).unwrap();
        move |name: &str| {
            let w = params.get(name).unwrap().value().to_f64_vec();
            (w.iter().map(|w| w * w).sum::<f64>() / w.len() as f64).sqrt()
        }
    };
    let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 0.02, "{got}, expected {want}");
    let case = &cases("t5_std_d512")[0];
    let got = build(512, WeightInit::T5);
    for (key, name) in [
        ("embedding", "embeddings.word_embeddings.weight"),
        ("q", "encoder.layer.0.attention.self.query.weight"),
        ("k", "encoder.layer.0.attention.self.key.weight"),
        ("v", "encoder.layer.0.attention.self.value.weight"),
        ("o", "encoder.layer.0.attention.output.dense.weight"),
        ("ffn_in", "encoder.layer.0.intermediate.dense.weight"),
    ] {
        near(got(name), case.expected[key].as_f64().unwrap());
    }
    near(got("encoder.layer.0.output.dense.weight"), 200f64.sqrt().recip());
    let got = build(128, WeightInit::DepthScaled { order: 2.0 });
    near(got("encoder.layer.0.attention.self.key.weight"), 128f64.sqrt().recip());
    let case = &cases("roformer_v2_std")[0];
    let sigma = |layers: f64, order: f64| layers.powf(-1.0 / order) / 768f64.sqrt() / Init::TRUNCATED_RATIO;
    expect(case, "sigma_order2", sigma(12.0, 2.0));
    expect(case, "sigma_order3_gau_24_layers", sigma(24.0, 3.0));
}

#[test]
fn admin_profiles_the_branches_once() {
    let config = EncoderConfig {
        vocab_size: 30,
        hidden_size: 16,
        layers: 3,
        wiring: Wiring::Admin,
        init: WeightInit::Xavier,
        mixer: Mixer::Attention(AttentionConfig::plain(2, 0.0)),
        ..bert()
    };
    let (mut params, mut rng) = (Params::new(), Rng::new(3));
    let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F64), &config).unwrap();
    let batch = Packed::from_lengths(&[6, 3]);
    let input = EncoderInput { ids: &[3, 7, 1, 4, 4, 2, 9, 5, 3], segments: None, batch: &batch };
    encoder.profile(&mut Ctx::training(Rng::new(1)), input, &Mask::Full).unwrap();
    let omegas: Vec<f64> =
        params.iter().filter(|p| p.name().ends_with("omega")).map(|p| p.value().to_f64_vec()[0]).collect();
    assert_eq!((omegas.len(), omegas[0]), (6, 1.0));
    assert!(omegas.windows(2).all(|w| w[0] < w[1]), "{omegas:?}");
}

#[test]
fn the_head_of_masked_language_models_ends_near_uniform() {
    let case = &cases("mlm_head")[0];
    let config = EncoderConfig { vocab_size: 9, hidden_size: 6, layers: 0, mixer: Mixer::Fourier, ..bert() };
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
    let encoder = Encoder::new(&mut builder, &config).unwrap();
    let head = MaskedLanguageHead::new(&mut builder, &encoder).unwrap();
    let set = |name: &str, value: Tensor| params.get(name).unwrap().set(&value).unwrap();
    let of = |key: &str| tensor_of(&case.inputs["head"][key]);
    set("embeddings.word_embeddings.weight", case.input("embedding"));
    set("cls.predictions.bias", case.input("bias"));
    set("cls.predictions.transform.dense.weight", of("w").t().unwrap());
    set("cls.predictions.transform.dense.bias", of("b"));
    set("cls.predictions.transform.LayerNorm.weight", of("g"));
    set("cls.predictions.transform.LayerNorm.bias", of("c"));
    case.assert("logits_with_head", &head.forward(&Ctx::inference(), &case.input("h")).unwrap());
    let case = &cases("initial_logit_std")[0];
    let deviation = case.number("embedding_std") * Init::TRUNCATED_RATIO;
    expect(case, "std", deviation * case.number("hidden").sqrt());
}

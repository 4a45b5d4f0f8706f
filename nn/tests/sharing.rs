//! Layers that share parameters, and shared layers that stop sharing.
#![allow(clippy::unwrap_used)]

mod published;

use bert4rs_nn::encoder::{
    Activation, EmbeddingConfig, Encoder, EncoderConfig, EncoderInput, FeedForward, Position, Sharing,
    albert, huggingface,
};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Params, Rng, Tensor, backward, grad};
use bert4rs_testing::{Case, golden};
use published::{cases, folder};

#[test]
fn an_albert_without_sharing_starts_equal_and_then_learns_layer_by_layer() {
    let folder = folder("albert-tiny");
    let (config, shared, shared_params, _) = huggingface::load(&folder, DType::F64).unwrap();
    let config = EncoderConfig { sharing: Sharing::None, ..config };
    let (unshared, params, report) = huggingface::load_as(&folder, &config, DType::F64).unwrap();
    assert_eq!((report.missing.len(), report.loaded.len()), (0, params.len()));
    let case = &cases("albert-tiny")[0];
    let input = EncoderInput { ids: &case.ids, segments: Some(&case.segments), batch: &case.batch };
    let run =
        |encoder: &Encoder| encoder.forward(&mut Ctx::training(Rng::new(1)), input, &Mask::Full).unwrap();
    assert_eq!(run(&shared).to_f64_vec(), run(&unshared).to_f64_vec());
    let gradients = |encoder: &Encoder, params: &Params, name: &str| {
        let gradients = backward(run(encoder).square().unwrap().sum_all().unwrap()).unwrap();
        gradients.of(&params.get(name).unwrap().leaf()).unwrap().to_f64_vec()
    };
    let rest = "attention.self.value.weight";
    let tied = gradients(&shared, &shared_params, &format!("encoder.group.0.{rest}"));
    let layers: Vec<_> =
        (0..3).map(|l| gradients(&unshared, &params, &format!("encoder.layer.{l}.{rest}"))).collect();
    assert_ne!(layers[0], layers[1]);
    for (i, tied) in tied.iter().enumerate() {
        let sum: f64 = layers.iter().map(|layer| layer[i]).sum();
        assert!((tied - sum).abs() < 1e-9 * (1.0 + sum.abs()), "{i}: {tied}, sum over layers {sum}");
    }
    let first = params.get(&format!("encoder.layer.0.{rest}")).unwrap();
    first.update::<f64>(|v| v[0] += 1.0).unwrap();
    assert_ne!(run(&shared).to_f64_vec(), run(&unshared).to_f64_vec());
    let other = params.get(&format!("encoder.layer.1.{rest}")).unwrap().value().to_f64_vec();
    assert_eq!(other[0] + 1.0, first.value().to_f64_vec()[0], "layers own their copies");
    // The other way, layers of their own into a shared one, would lose all but one.
    let dir = tempfile::tempdir().unwrap();
    huggingface::save(dir.path(), &config, &params).unwrap();
    let shared = EncoderConfig { sharing: Sharing::AllLayers, ..config };
    let error = huggingface::load_as(dir.path(), &shared, DType::F64).err().unwrap().to_string();
    assert!(error.contains("the model needs encoder.group.0."), "{error}");
}

/// `layers` times `x + tanh(x W + b)`.
fn stack(x: &Tensor, weights: &[(Tensor, Tensor)]) -> Tensor {
    weights
        .iter()
        .fold(x.clone(), |x, (w, b)| x.add(&x.matmul(w).unwrap().add(b).unwrap().tanh().unwrap()).unwrap())
}

/// The tensors under training and the layers that use them, tied or not.
fn toy(case: &Case, tied: bool) -> (Vec<Tensor>, Vec<(Tensor, Tensor)>) {
    let copies = if tied { 1 } else { case.number("layers") as usize };
    let own: Vec<(Tensor, Tensor)> =
        (0..copies).map(|_| (case.input("w").tracked(), case.input("b").tracked())).collect();
    let layers = (0..case.number("layers") as usize).map(|l| own[l.min(copies - 1)].clone()).collect();
    let leaves = own.into_iter().flat_map(|(w, b)| [w, b]).collect();
    (leaves, layers)
}

/// Gradients of the leaves `w, b, w, b, ..`.
fn toy_gradients(case: &Case, tied: bool) -> Vec<Tensor> {
    let (leaves, layers) = toy(case, tied);
    let y = stack(&case.input("x"), &layers).mul(&case.input("cotangent")).unwrap().sum_all().unwrap();
    grad(&y, &leaves.iter().collect::<Vec<_>>(), false).unwrap()
}

#[test]
fn a_tied_gradient_is_the_sum_of_untied_ones_as_in_the_golden_vectors() {
    let cases = golden("albert-unshared");
    let case = &cases[0];
    let joined = |parts: &[&Tensor]| Tensor::concat(parts, 0).unwrap();
    let after_step = |tied| {
        let gradients = toy_gradients(case, tied);
        let (leaves, _) = toy(case, tied);
        let moved: Vec<Tensor> = leaves
            .iter()
            .zip(&gradients)
            .map(|(x, g)| x.detach().sub(&g.mul_scalar(case.number("lr")).unwrap()).unwrap())
            .collect();
        let layer = |l: usize| if tied { 0 } else { 2 * l };
        let layers: Vec<_> = (0..3).map(|l| (moved[layer(l)].clone(), moved[layer(l) + 1].clone())).collect();
        stack(&case.input("x"), &layers)
    };
    case.assert("output", &stack(&case.input("x"), &toy(case, true).1));
    let (tied, untied) = (toy_gradients(case, true), toy_gradients(case, false));
    case.assert("tied_grad_w", &tied[0]);
    case.assert("tied_grad_b", &tied[1]);
    case.assert("untied_grad_w", &joined(&[&untied[0], &untied[2], &untied[4]]));
    case.assert("untied_grad_b", &joined(&[&untied[1], &untied[3], &untied[5]]));
    case.assert("output_after_tied_sgd", &after_step(true));
    case.assert("output_after_untied_sgd", &after_step(false));
}

#[test]
fn the_first_adam_step_follows_each_layers_own_sign_once_untied() {
    let cases = golden("albert-unshared");
    let case = &cases[1];
    // The first step of Adam with its bias corrections is g / (|g| + eps).
    let direction = |g: &Tensor| g.div(&g.abs().unwrap().add_scalar(case.number("eps")).unwrap()).unwrap();
    let untied = toy_gradients(case, false);
    let layers: Vec<Tensor> = untied.iter().step_by(2).map(direction).collect();
    case.assert("tied_update_over_lr", &direction(&toy_gradients(case, true)[0]));
    case.assert("untied_update_over_lr", &Tensor::concat(&layers.iter().collect::<Vec<_>>(), 0).unwrap());
}

#[test]
fn published_sizes_have_the_published_numbers_of_parameters() {
    for case in &golden("albert-unshared")[2..] {
        let number = |key: &str| case.number(key) as usize;
        let count = |sharing| {
            let config = EncoderConfig {
                vocab_size: number("vocab"),
                hidden_size: number("hidden"),
                layers: number("layers"),
                sharing,
                embedding: EmbeddingConfig {
                    size: Some(number("embedding")),
                    segments: number("segments"),
                    ..EmbeddingConfig::default()
                },
                position: Position::Learned { max_positions: number("max_position"), first: 0 },
                feed_forward: FeedForward::Dense {
                    size: number("intermediate"),
                    activation: Activation::GeluTanh,
                },
                ..albert()
            };
            let (mut params, mut rng) = (Params::new(), Rng::new(0));
            Encoder::to_be_filled(&mut Builder::new(&mut params, &mut rng, DType::F32), &config).unwrap();
            params.elements() as f64
        };
        let expect =
            |key: &str, got: f64| assert_eq!(case.expected[key].as_f64(), Some(got), "{}", case.name);
        expect("shared", count(Sharing::AllLayers));
        // Every further group adds the parameters of one layer.
        let shared = count(Sharing::AllLayers);
        let layer = count(Sharing::Groups { groups: 2 }) - shared;
        expect("unshared", shared + (case.number("layers") - 1.0) * layer);
        if case.name.ends_with("zh_tiny") {
            expect("unshared", count(Sharing::None));
        }
    }
}

//! The doctor finds what was broken on purpose, by its place, and nothing in healthy models.
#![allow(clippy::unwrap_used)]

mod small;

use std::cell::RefCell;

use bert4rs_nn::block::Sight;
use bert4rs_nn::doctor::{Batch, Kind, Report, embedding, entropy, examine, finding};
use bert4rs_nn::encoder::{Encoder, EncoderConfig, Norm, Position, WeightInit, Wiring, preset_with};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Params, Rng, Tensor};
use serde_json::json;
use small::configs;

/// A preset that is narrow, with the start that its width asks for: the same `D sigma^2` as at 768.
fn narrow(preset: &str, layers: usize, width: usize) -> EncoderConfig {
    let deviation = 0.02 * (768.0 / width as f64).sqrt();
    let mut config = preset_with(
        preset,
        &json!({
            "hidden_size": width, "layers": layers, "vocab_size": 500, "dropout": 0.0,
            "mixer": { "attention": { "heads": 4, "dropout": 0.0 } },
            "embedding": { "dropout": 0.0, "unk_id": 1 },
        }),
    )
    .unwrap();
    if matches!(config.init, WeightInit::Normal { .. }) {
        config.init = WeightInit::Normal { deviation };
    }
    match &mut config.feed_forward {
        bert4rs_nn::encoder::FeedForward::Dense { size, .. }
        | bert4rs_nn::encoder::FeedForward::Gated { size, .. } => *size = 4 * width,
        bert4rs_nn::encoder::FeedForward::None => {}
    }
    config
}

fn build(config: &EncoderConfig, seed: u64) -> (Encoder, Params) {
    let (mut params, mut rng) = (Params::new(), Rng::new(seed));
    let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), config).unwrap();
    (encoder, params)
}

fn look(encoder: &Encoder, params: &Params, new: bool) -> Report {
    let random = |count, length| Batch::random(encoder.config(), count, length, Mask::Full, 1);
    examine(encoder, params, &random(4, 32), &[random(2, 8), random(2, 32)], new, None).unwrap()
}

/// Builds, breaks, looks.
fn broken(config: &EncoderConfig, new: bool, change: impl Fn(&Params)) -> Report {
    let (encoder, params) = build(config, 7);
    change(&params);
    look(&encoder, &params, new)
}

fn scale(params: &Params, name: &str, factor: f64) {
    let parameter = params.get(name).unwrap();
    parameter.set(&parameter.value().mul_scalar(factor).unwrap()).unwrap();
}

fn has(report: &Report, kind: Kind, place: &str) {
    assert!(
        report.findings.iter().any(|f| f.kind == kind && f.place == place),
        "no {kind:?} at {place}: {:#?}",
        report.findings
    );
}

#[test]
fn healthy_new_models_have_no_finding() {
    for (name, layers) in [("bert", 12), ("roformer", 6), ("deberta_v2", 4), ("t5", 4), ("modernbert", 4)] {
        let config = narrow(name, layers, 64);
        let (encoder, params) = build(&config, 3);
        let report = look(&encoder, &params, true);
        assert_eq!(report.findings, [], "{name}");
        assert_eq!(report.gradients.hidden.len(), layers + 1);
        assert_eq!((report.entropy.len(), report.entropy[1].length), (2, 32), "{name}");
    }
    for (name, change) in [
        ("lstm", json!({ "hidden_size": 64, "vocab_size": 500 })),
        ("gru", json!({ "hidden_size": 64, "vocab_size": 500 })),
        ("dgcnn", json!({ "hidden_size": 64, "vocab_size": 500 })),
        (
            "fnet",
            json!({ "hidden_size": 64, "vocab_size": 500, "layers": 3, "feed_forward": { "dense": { "size": 128 } } }),
        ),
    ] {
        let mut config = preset_with(name, &change).unwrap();
        (config.dropout, config.embedding.dropout) = (0.0, 0.0);
        let (encoder, params) = build(&config, 3);
        let report = look(&encoder, &params, true);
        assert_eq!(report.findings, [], "{name}");
        assert!(report.entropy.is_empty(), "{name} has no weights of pairs");
        assert_eq!(report.recurrent.len(), if ["fnet", "dgcnn"].contains(&name) { 0 } else { 2 }, "{name}");
    }
}

/// Within 12 % for outputs and branches, mean over three draws, of every layer: post norm, pre norm, DeepNorm, rotary
/// and T5's start.
#[test]
fn activations_of_a_new_model_are_those_predicted() {
    let lecun = WeightInit::LeCun;
    let cases = [
        ("bert", narrow("bert", 5, 128)),
        ("roformer", narrow("roformer", 4, 128)),
        ("gpt2", narrow("gpt2", 4, 128)),
        ("t5", narrow("t5", 3, 128)),
        ("modernbert", narrow("modernbert", 3, 128)),
        (
            "deep_norm",
            EncoderConfig {
                wiring: Wiring::DeepNorm { alpha: None },
                init: WeightInit::DeepNorm,
                ..narrow("bert", 4, 128)
            },
        ),
        ("lecun", EncoderConfig { init: lecun, ..narrow("roformer", 3, 128) }),
        ("ntk", EncoderConfig { init: WeightInit::Ntk, ..narrow("roformer", 3, 128) }),
    ];
    for (name, config) in cases {
        let reports: Vec<Report> = (1..=3)
            .map(|seed| build(&config, seed))
            .map(|(encoder, params)| look(&encoder, &params, true))
            .collect();
        for layer in 0..config.layers {
            let mean = |f: &dyn Fn(&bert4rs_nn::doctor::activation::LayerActivation) -> f64| {
                reports.iter().map(|r| f(&r.activations.layers[layer])).sum::<f64>() / 3.0
            };
            let near = |what: &str, seen: f64, predicted: f64| {
                assert!((seen / predicted - 1.0).abs() < 0.12, "{name} {layer} {what}: {seen} {predicted}");
            };
            let of = |f: &dyn Fn(&bert4rs_nn::doctor::activation::Predicted) -> f64| {
                mean(&|l| f(l.predicted.as_ref().unwrap()))
            };
            near("hidden", mean(&|l| l.hidden), of(&|p| p.hidden));
            near("mixer", mean(&|l| l.mixer.unwrap().branch), of(&|p| p.mixer));
            near("fed", mean(&|l| l.feed_forward.unwrap().branch), of(&|p| p.feed_forward.unwrap()));
            let (left, predicted) = (mean(&|l| l.left), of(&|p| p.left));
            assert!((left - predicted).abs() < 0.08, "{name} {layer} left: {left} {predicted}");
        }
    }
}

#[test]
fn exploded_rows_are_found_with_their_ids() {
    let report = broken(&narrow("bert", 2, 64), false, |params| {
        let table = params.get("embeddings.word_embeddings.weight").unwrap();
        table.update::<f32>(|v| v[64 * 17..64 * 19].iter_mut().for_each(|x| *x *= 50.0)).unwrap();
    });
    has(&report, Kind::FarRows, "embeddings.word_embeddings.weight");
    let rows: &embedding::Rows = &report.rows[0];
    let mut ids: Vec<usize> = rows.farthest.iter().map(|(row, _)| *row).collect();
    ids.sort_unstable();
    assert_eq!((rows.far, ids), (2, vec![17, 18]));
}

#[test]
fn rows_that_were_never_trained_are_found() {
    let report = broken(&narrow("bert", 2, 64), false, |params| {
        let table = params.get("embeddings.word_embeddings.weight").unwrap();
        table.update::<f32>(|v| v.copy_within(64 * 3..64 * 4, 64 * 9)).unwrap();
        table.update::<f32>(|v| v[64 * 20..64 * 22].fill(0.0)).unwrap();
    });
    has(&report, Kind::UntrainedRows, "embeddings.word_embeddings.weight");
    assert_eq!((report.rows[0].zero, report.rows[0].first_equal), (2, Some((3, 9))));
}

#[test]
fn a_layer_of_zeros_is_found_and_what_it_starves() {
    let report = broken(&narrow("bert", 4, 64), false, |params| {
        scale(params, "encoder.layer.2.output.dense.weight", 0.0);
    });
    has(&report, Kind::ZeroWeights, "encoder.layer.2.output.dense.weight");
    has(&report, Kind::DeadBranch, "layer 2");
    let starved = report.findings.iter().find(|f| f.kind == Kind::NoGradient).unwrap();
    assert!(starved.seen.contains("encoder.layer.2.intermediate.dense.weight"), "{starved:?}");
}

#[test]
fn a_layer_scaled_up_is_found() {
    let report = broken(&narrow("bert", 4, 64), false, |params| {
        for name in ["query", "key"] {
            scale(params, &format!("encoder.layer.1.attention.self.{name}.weight"), 20.0);
        }
    });
    has(&report, Kind::OddLayer, "encoder.layer.1.attention.self.query.weight");
    has(&report, Kind::OddLayer, "encoder.layer.1.attention.self.key.weight");
    let odd = report.findings.iter().filter(|f| f.kind == Kind::OddLayer).count();
    assert_eq!(odd, 2, "{:#?}", report.findings);
    // Scores 400 times as large let every head look at one token.
    has(&report, Kind::EntropyCollapse, "layer 1");
}

#[test]
fn a_start_unlike_the_config_is_found_in_new_models_only() {
    let right = narrow("bert", 2, 64);
    let wrong = EncoderConfig { init: WeightInit::Normal { deviation: 0.2 }, ..right.clone() };
    let (_, params) = build(&wrong, 1);
    let (encoder, own) = build(&right, 1);
    for p in own.iter() {
        p.set(&params.get(p.name()).unwrap().value()).unwrap();
    }
    let report = look(&encoder, &own, true);
    has(&report, Kind::StartScale, "encoder.layer.0.attention.self.query.weight");
    has(&report, Kind::StartScale, "encoder.layer.1.output.dense.weight");
    has(&report, Kind::ActivationScale, "layer 0");
    let trained = look(&encoder, &own, false);
    assert!(trained.findings.iter().all(|f| f.kind != Kind::StartScale), "{:#?}", trained.findings);
}

#[test]
fn numbers_that_are_none_are_named_alone() {
    let report = broken(&narrow("bert", 2, 64), false, |params| {
        let bias = params.get("encoder.layer.1.output.dense.bias").unwrap();
        bias.update::<f32>(|v| (v[3], v[4]) = (f32::NAN, f32::INFINITY)).unwrap();
    });
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    has(&report, Kind::NotFinite, "encoder.layer.1.output.dense.bias");
    assert!(report.findings[0].seen.starts_with("2 of 64"));
}

#[test]
fn a_deep_stack_without_warm_up_is_told_by_what_it_forgets() {
    let deep = EncoderConfig { init: WeightInit::LeCun, ..narrow("bert", 12, 64) };
    let (encoder, params) = build(&deep, 1);
    let report = look(&encoder, &params, true);
    has(&report, Kind::InputLost, "layer 11");
    let told = finding::no_warm_up(&deep, &report).unwrap();
    assert!(told.seen.starts_with("post-norm, 12 layers, no warm-up"), "{told:?}");
    // Few layers of BERT's own start need none, by this measure; nor does pre norm.
    for config in [narrow("bert", 3, 64), EncoderConfig { wiring: Wiring::PreNorm, ..deep }] {
        let (encoder, params) = build(&config, 1);
        assert_eq!(finding::no_warm_up(&config, &look(&encoder, &params, true)), None);
    }
}

#[test]
fn activations_that_explode_without_norms_are_found() {
    let config = EncoderConfig {
        norm: Norm::None,
        init: WeightInit::Normal { deviation: 0.3 },
        position: Position::None,
        ..narrow("bert", 4, 64)
    };
    let (encoder, params) = build(&config, 1);
    let report = look(&encoder, &params, false);
    has(&report, Kind::ActivationGrowth, "layer 3");
    assert!(report.findings.iter().any(|f| f.kind == Kind::GradientRatio), "{:#?}", report.findings);
}

#[test]
fn entropy_without_scores_is_all_of_log_n_and_falls_with_their_size() {
    let config = narrow("bert", 2, 64);
    let (encoder, params) = build(&config, 1);
    scale(&params, "encoder.layer.0.attention.self.query.weight", 0.0);
    scale(&params, "encoder.layer.1.attention.self.query.weight", 30.0);
    for mask in [Mask::Full, Mask::Causal] {
        let batch = Batch::random(&config, 2, 16, mask, 5);
        let found = entropy::entropy(&encoder, &batch).unwrap().unwrap();
        assert_eq!((found.layers.len(), found.layers[0].heads.len()), (2, 4));
        assert!(found.layers[0].heads.iter().all(|share| (share - 1.0).abs() < 1e-6), "{found:?}");
        assert!(found.layers[1].mean.unwrap() < 0.8, "{found:?}");
    }
}

/// Every preset and every axis value: looking changes nothing but rounding, and shows one output per layer.
#[test]
fn to_look_changes_nothing() {
    for (name, config) in configs() {
        let (encoder, _) = small::build(&config, DType::F64);
        let batch = Batch::new(&[vec![3, 7, 1, 4, 4], vec![2], vec![9, 5, 3]], Mask::Full);
        let seen = RefCell::new(Vec::new());
        let watch = |sight: Sight| {
            if let Sight::Hidden(x) = sight {
                seen.borrow_mut().push(x.clone());
            }
            Ok(())
        };
        let looked = encoder.observe(&mut Ctx::inference(), batch.input(), &batch.mask, &watch).unwrap();
        let plain = encoder.forward(&mut Ctx::inference(), batch.input(), &batch.mask).unwrap();
        let apart = |a: &Tensor, b: &Tensor| {
            a.to_f64_vec().iter().zip(b.to_f64_vec()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        assert!(apart(&looked, &plain) < 1e-9, "{name}: {}", apart(&looked, &plain));
        assert_eq!(seen.borrow().len(), config.layers + 1, "{name}");
    }
}

#[test]
fn entropy_is_that_of_the_file() {
    let cases = bert4rs_testing::golden("entropy-invariant-softmax");
    let case = |name: &str| cases.iter().find(|c| c.name == name).unwrap();
    let of_row = |scores: &Tensor| {
        let keys = scores.elements();
        let weights = scores.reshape(&[1, 1, keys]).unwrap().softmax().unwrap();
        entropy::shares(&weights, &[keys])[0].0 * (keys as f64).ln()
    };
    let by_length = case("entropy_by_length");
    let rows = by_length.inputs["scores"].as_array().unwrap();
    let got: Vec<f64> = rows.iter().map(|row| of_row(&bert4rs_testing::tensor_of(row))).collect();
    by_length.assert("entropy_standard", &Tensor::new(got, &[3]).unwrap());
    let one = case("entropy_identities");
    let scores = one.input("s").mul_scalar(one.number("lambda")).unwrap();
    one.assert("entropy", &Tensor::new(vec![of_row(&scores)], &[]).unwrap());
}

//! Published checkpoints: every hidden state, pooling and score of an independent program, and what
//! happens with folders that are not as they should be.
#![allow(clippy::unwrap_used)]

mod published;

use std::fs;
use std::path::Path;

use bert4rs_nn::block::pooling::{Pooling, first_last_mean, pool};
use bert4rs_nn::encoder::{
    Encoder, EncoderConfig, EncoderInput, MaskedLanguageHead, Pooler, Precision, huggingface, preset,
};
use bert4rs_nn::loss::cross_entropy;
use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::io::safetensors::{self, WeightFile};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor};
use published::{CHECKPOINTS, assert_close, assert_tokens, cases, compared, folder, mask, numbers, states};

fn assert_hidden_states(name: &str, dtype: DType) {
    let (_, encoder, _, report) = huggingface::load(&folder(name), dtype).unwrap();
    assert!(report.missing.is_empty(), "{report:?}");
    let heads = ["cls.", "pooler.", "discriminator_predictions.", "lm_head."];
    assert!(report.unexpected.iter().all(|n| heads.iter().any(|head| n.starts_with(head))), "{report:?}");
    for case in cases(name) {
        let input = EncoderInput { ids: &case.ids, segments: Some(&case.segments), batch: &case.batch };
        let all = encoder.forward_all(&mut Ctx::inference(), input, &mask(name)).unwrap();
        let expected = states(name, &case.expected);
        assert_eq!(all.len(), expected.len());
        for (n, (layer, expected)) in all.iter().zip(expected).enumerate() {
            let layer = compared(name, layer);
            assert_tokens(&format!("{name}: layer {n}"), &layer, expected, &case.batch, usize::MAX);
        }
    }
}

#[test]
fn hidden_states_of_every_layer_are_those_of_transformers() {
    for name in CHECKPOINTS {
        assert_hidden_states(name, DType::F32);
        assert_hidden_states(name, DType::F64);
    }
}

#[test]
fn the_encoder_of_t5_gives_the_published_states() {
    for dtype in [DType::F32, DType::F64] {
        let (_, encoder, _, report) = huggingface::load(&folder("t5-tiny"), dtype).unwrap();
        assert!(report.missing.is_empty() && report.unexpected.iter().all(|n| n.starts_with("decoder.")));
        for case in cases("t5-tiny") {
            let input = EncoderInput { ids: &case.ids, segments: None, batch: &case.batch };
            let hidden = encoder.forward(&mut Ctx::inference(), input, &Mask::Full).unwrap();
            let expected = &case.expected["encoder_last_hidden_state"];
            assert_tokens("t5", &compared("t5-tiny", &hidden), expected, &case.batch, usize::MAX);
        }
    }
}

#[test]
fn heads_of_pretraining_give_the_published_scores() {
    for (name, key, dtype) in [
        ("bert-tiny", "prediction_logits", DType::F32),
        ("bert-tiny", "prediction_logits", DType::F64),
        ("bert-legacy-names-tiny", "prediction_logits", DType::F64),
        ("roformer-tiny", "logits", DType::F32),
        ("roformer-tiny", "logits", DType::F64),
        ("roberta-tiny", "logits", DType::F64),
        ("albert-tiny", "prediction_logits", DType::F64),
        ("nezha-tiny", "prediction_logits", DType::F64),
        ("deberta-v2-tiny", "logits", DType::F64),
        ("modernbert-tiny", "logits", DType::F64),
    ] {
        let config = huggingface::read_config(&folder(name)).unwrap();
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let mut builder = Builder::new(&mut params, &mut rng, dtype);
        let encoder = Encoder::to_be_filled(&mut builder, &config).unwrap();
        let head = MaskedLanguageHead::new(&mut builder, &encoder).unwrap();
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        let has_pooler = checkpoint.shape("pooler.dense.weight").is_some();
        let pooler = has_pooler.then(|| Pooler::new(&mut builder, &encoder).unwrap());
        let allow = Allow { missing: vec![], unexpected: vec!["cls.seq_relationship".into()] };
        checkpoint.fill(&params, &allow).unwrap();
        if name == "roberta-tiny" || name == "albert-tiny" {
            // transformers 4.48, of which the expected scores are, unties this bias on loading and
            // adds zeros; transformers 5 adds it, as we do.
            let bias = params.get("cls.predictions.bias").unwrap();
            bias.set(&bias.value().zeros_like()).unwrap();
        }
        let ctx = &mut Ctx::inference();
        for case in cases(name) {
            let input = EncoderInput { ids: &case.ids, segments: Some(&case.segments), batch: &case.batch };
            let hidden = encoder.forward(ctx, input, &Mask::Full).unwrap();
            let logits = compared(name, &head.forward(ctx, &hidden).unwrap());
            assert_tokens(&format!("{name}: logits"), &logits, &case.expected[key], &case.batch, 3);
            if let Some(pooler) = &pooler {
                let pooled = pooler.forward(ctx, &hidden, &case.batch).unwrap();
                let expected = case.expected["pooler_output"].as_array().unwrap();
                let expected: Vec<f64> = expected.iter().flat_map(numbers).collect();
                assert_close(&format!("{name}: pooler"), &pooled.to_f64_vec(), &expected, dtype);
            }
        }
    }
}

#[test]
fn roformer_v2_scores_with_the_tied_embeddings_alone() {
    let name = "roformer-v2-tiny";
    let (_, encoder, _, _) = huggingface::load(&folder(name), DType::F64).unwrap();
    for case in cases(name) {
        let input = EncoderInput { ids: &case.ids, segments: Some(&case.segments), batch: &case.batch };
        let hidden = encoder.forward(&mut Ctx::inference(), input, &Mask::Full).unwrap();
        let logits = linear(&hidden, &encoder.word_embeddings().value(), After::default()).unwrap();
        assert_tokens("logits", &logits, &case.expected["logits"], &case.batch, 3);
    }
}

#[test]
fn poolings_are_those_of_sentence_transformers() {
    for dtype in [DType::F32, DType::F64] {
        let (_, encoder, _, _) = huggingface::load(&folder("bert-tiny"), dtype).unwrap();
        let case = &cases("bert-tiny")[0];
        let input = EncoderInput { ids: &case.ids, segments: Some(&case.segments), batch: &case.batch };
        let all = encoder.forward_all(&mut Ctx::inference(), input, &Mask::Full).unwrap();
        for (how, key) in [
            (Pooling::Cls, "cls"),
            (Pooling::Mean, "mean"),
            (Pooling::Max, "max"),
            (Pooling::MeanSqrtLen, "mean_sqrt_len"),
            (Pooling::WeightedMean, "weighted_mean"),
            (Pooling::Last, "last_token"),
        ] {
            let pooled = pool(&all[2], &case.batch, how).unwrap();
            let expected = case.expected["pooling"][key].as_array().unwrap();
            let expected: Vec<f64> = expected.iter().flat_map(numbers).collect();
            assert_close(key, &pooled.to_f64_vec(), &expected, dtype);
        }
        let both = first_last_mean(&all[1], &all[2], &case.batch).unwrap();
        let mean = |x: &Tensor| pool(x, &case.batch, Pooling::Mean).unwrap();
        let expected = mean(&all[1]).add(&mean(&all[2])).unwrap().mul_scalar(0.5).unwrap();
        assert_close("first_last", &both.to_f64_vec(), &expected.to_f64_vec(), dtype);
    }
}

fn small(name: &str) -> EncoderConfig {
    let mut config = preset(name).unwrap();
    (config.vocab_size, config.hidden_size, config.layers) = (20, 24, 1);
    config.embedding.size = config.embedding.size.map(|_| 6);
    config.embedding.unk_id = 100; // that of BERT, which foreign configs do not say
    config
}

#[test]
fn a_saved_encoder_is_read_back_bit_for_bit() {
    for (name, kind) in [
        ("bert", "bert"),
        ("roformer", "roformer"),
        ("roberta", "roberta"),
        ("electra", "electra"),
        ("albert", "albert"),
        ("albert_unshared", "electra"), // layers of their own, and BERT's with narrow tables
        ("lstm", "bert4rs"),
        ("dgcnn", "bert4rs"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = small(name);
        let (mut params, mut rng) = (Params::new(), Rng::new(4));
        let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config).unwrap();
        huggingface::save(dir.path(), &config, &params).unwrap();
        let text = fs::read_to_string(dir.path().join("config.json")).unwrap();
        assert!(text.contains(&format!("\"model_type\": \"{kind}\"")), "{text}");
        let (again, copy, _, report) = huggingface::load(dir.path(), DType::F32).unwrap();
        assert_eq!(again, config);
        assert_eq!(copy.config(), &config);
        assert_eq!((report.loaded.len(), report.unexpected.len()), (params.len(), 0));
        let batch = Packed::from_lengths(&[4]);
        let input = EncoderInput { ids: &[1, 5, 2, 9], segments: None, batch: &batch };
        let run = |encoder: &Encoder| {
            encoder.forward(&mut Ctx::inference(), input, &Mask::Full).unwrap().to_f64_vec()
        };
        assert_eq!(run(&encoder), run(&copy), "{name}");
    }
}

#[test]
fn what_foreign_keys_cannot_say_is_kept_in_our_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut bigrams = small("bert");
    bigrams.embedding.bigram_buckets = Some(9);
    // transformers would read a bias and subtract means where this model has neither.
    let second_roformer = huggingface::read_config(&folder("roformer-v2-tiny")).unwrap();
    let no_bias = EncoderConfig { bias: false, ..small("roformer") };
    for config in [bigrams, second_roformer, no_bias] {
        huggingface::write_config(dir.path(), &config).unwrap();
        let text = fs::read_to_string(dir.path().join("config.json")).unwrap();
        assert!(text.contains("\"model_type\": \"bert4rs\""), "{text}");
        assert_eq!(huggingface::read_config(dir.path()).unwrap(), config);
    }
}

/// A copy of `bert-tiny` with its tensors changed.
fn changed(change: impl Fn(&mut Vec<(String, Tensor)>)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(folder("bert-tiny").join("config.json"), dir.path().join("config.json")).unwrap();
    let file = WeightFile::open(&folder("bert-tiny").join("model.safetensors")).unwrap();
    let mut tensors: Vec<_> =
        file.names().into_iter().map(|n| (n.clone(), file.tensor(&n, DType::F32).unwrap())).collect();
    change(&mut tensors);
    safetensors::save(&dir.path().join("model.safetensors"), &tensors).unwrap();
    dir
}

fn load_error(dir: &Path) -> String {
    huggingface::load(dir, DType::F32).err().unwrap().to_string()
}

#[test]
fn a_renamed_tensor_is_an_error_that_names_both_sides() {
    let dir = changed(|tensors| {
        let at = tensors.iter().position(|(n, _)| n == "bert.encoder.layer.0.output.dense.bias").unwrap();
        tensors[at].0 = "bert.encoder.layer.0.output.dense.bais".into();
    });
    let error = load_error(dir.path());
    let expected = "the model needs encoder.layer.0.output.dense.bias (the file has \
                    encoder.layer.0.output.dense.bais); the file also has encoder.layer.0.output.dense.bais";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn missing_and_unexpected_tensors_pass_only_by_name() {
    let dir = changed(|tensors| {
        tensors.retain(|(n, _)| n != "bert.encoder.layer.1.output.LayerNorm.bias");
        tensors.push(("extra.weight".into(), Tensor::zeros(&[2], DType::F32)));
    });
    let config = huggingface::read_config(dir.path()).unwrap();
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let before = params.values()[0].1.to_f64_vec();
    assert!(checkpoint.fill(&params, &Allow::default()).is_err());
    assert_eq!(params.values()[0].1.to_f64_vec(), before, "an error changes nothing");
    let mut allow = Allow::default();
    allow.missing.push("encoder.layer.1.output".into());
    allow.unexpected.push("extra.weight".into());
    let report = checkpoint.fill(&params, &allow).unwrap();
    assert_eq!(report.missing, ["encoder.layer.1.output.LayerNorm.bias"]);
    assert!(report.unexpected.contains(&"extra.weight".to_string()));
    assert_eq!(report.loaded.len(), params.len() - 1);
}

#[test]
fn a_tensor_of_another_shape_is_named() {
    let dir = changed(|tensors| {
        let at = tensors.iter().position(|(n, _)| n.ends_with("position_embeddings.weight")).unwrap();
        tensors[at].1 = Tensor::zeros(&[39, 32], DType::F32);
    });
    let error = load_error(dir.path());
    let expected = "embeddings.position_embeddings.weight has shape [39, 32], the model expects [40, 32]";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn the_same_tensor_twice_is_an_error() {
    let dir = changed(|tensors| {
        tensors.push(("pooler.dense.bias".into(), Tensor::zeros(&[32], DType::F32)));
    });
    assert!(
        load_error(dir.path()).contains("bert.pooler.dense.bias and pooler.dense.bias are the same tensor")
    );
}

#[test]
fn shards_are_read_through_their_index() {
    let dir = changed(|_| ());
    let (one, other) = (dir.path().join("model.safetensors"), dir.path().join("b.safetensors"));
    let file = WeightFile::open(&one).unwrap();
    let mut parts = [vec![], vec![]];
    let mut map = serde_json::Map::new();
    for (i, name) in file.names().into_iter().enumerate() {
        parts[i % 2].push((name.clone(), file.tensor(&name, DType::F32).unwrap()));
        map.insert(name, ["a.safetensors", "b.safetensors"][i % 2].into());
    }
    drop(file);
    safetensors::save(&dir.path().join("a.safetensors"), &parts[0]).unwrap();
    safetensors::save(&other, &parts[1]).unwrap();
    fs::remove_file(&one).unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    assert_eq!(huggingface::load(dir.path(), DType::F32).unwrap().3.loaded.len(), 37);
    fs::remove_file(&other).unwrap();
    assert!(load_error(dir.path()).contains("b.safetensors: cannot be opened"));
    fs::write(&index, r#"{"weight_map": {"x": "../a.safetensors"}}"#).unwrap();
    assert!(load_error(dir.path()).contains("../a.safetensors is no file of this folder"));
}

#[test]
fn broken_folders_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let config = |text: &str| fs::write(dir.path().join("config.json"), text).unwrap();
    assert!(load_error(dir.path()).contains("a model folder holds config.json and model.safetensors"));
    config("{");
    assert!(load_error(dir.path()).contains("is no JSON"));
    config(r#"{"hidden_size": 8}"#);
    assert!(load_error(dir.path()).contains("has no model_type; supported are bert, roformer"));
    config(r#"{"model_type": "bloom"}"#);
    assert!(
        load_error(dir.path()).contains("model_type bloom is not supported; supported are bert, roformer")
    );
    config(r#"{"model_type": "bert", "hidden_act": "mish"}"#);
    assert!(load_error(dir.path()).contains("hidden_act mish: expected gelu"));
    config(r#"{"model_type": "bert", "position_embedding_type": "relative_key"}"#);
    assert!(load_error(dir.path()).contains("only absolute is supported"));
    config(r#"{"model_type": "bert", "num_attention_heads": 5}"#);
    assert!(load_error(dir.path()).contains("5 heads do not divide hidden_size 768"));
    config(r#"{"model_type": "bert4rs", "encoder": {"layer": 5}}"#);
    assert!(load_error(dir.path()).contains("unknown field `layer`"));
    config(r#"{"model_type": "bert"}"#);
    assert!(load_error(dir.path()).contains("has no model.safetensors"));
    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    assert!(load_error(dir.path()).contains("not a complete zip archive"));
    fs::remove_file(dir.path().join("pytorch_model.bin")).unwrap();
    let data = fs::read(folder("bert-tiny").join("model.safetensors")).unwrap();
    fs::write(dir.path().join("model.safetensors"), &data[..data.len() - 7]).unwrap();
    assert!(load_error(dir.path()).contains("copy or download it again"));
}

#[test]
fn prepared_heads_of_pretraining_give_the_bits_of_the_trained_ones() {
    let name = "bert-tiny";
    let config = huggingface::read_config(&folder(name)).unwrap();
    let (mut params, mut rng) = (Params::new(), Rng::new(3));
    let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
    let encoder = Encoder::new(&mut builder, &config).unwrap();
    let mut head = MaskedLanguageHead::new(&mut builder, &encoder).unwrap();
    let mut pooler = Pooler::new(&mut builder, &encoder).unwrap();
    let (ctx, case) = (&mut Ctx::inference(), &cases(name)[0]);
    let input = EncoderInput { ids: &case.ids, segments: None, batch: &case.batch };
    let hidden = encoder.forward(ctx, input, &Mask::Full).unwrap();
    let both = |ctx: &Ctx, head: &MaskedLanguageHead, pooler: &Pooler| {
        let pooled = pooler.forward(ctx, &hidden, &case.batch).unwrap();
        [head.forward(ctx, &hidden).unwrap().to_f64_vec(), pooled.to_f64_vec()]
    };
    let trained = both(ctx, &head, &pooler);
    let targets: Vec<i64> = (0..hidden.shape()[0] as i64).map(|i| i % 3 * 7 - 1).collect(); // some have none
    let logits = compared(name, &head.forward(ctx, &hidden).unwrap());
    let plain = cross_entropy(&logits, &targets, 0.1).unwrap().item().unwrap();
    let fused = head.loss(ctx, &hidden, &targets, 0.1).unwrap().item().unwrap();
    assert!((plain - fused).abs() < 1e-5, "{plain}, without an array of scores {fused}");
    head.prepare(Precision::F32.weights()).unwrap();
    pooler.prepare(Precision::F32.weights()).unwrap();
    assert_eq!(both(ctx, &head, &pooler), trained);
    assert!(head.forward(&Ctx::training(Rng::new(0)), &hidden).is_err(), "a prepared head is not trained");

    let mut short =
        Pooler::new(&mut Builder::new(&mut params, &mut rng, DType::F32).at("b"), &encoder).unwrap();
    let before = short.forward(ctx, &hidden, &case.batch).unwrap().to_f64_vec();
    short.prepare(Precision::Int8.weights()).unwrap();
    let after = short.forward(ctx, &hidden, &case.batch).unwrap().to_f64_vec();
    let worst = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst > 0.0 && worst < 0.05, "{worst}");
}

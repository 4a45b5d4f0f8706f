//! Sentence vectors against an independent program, and folders that are not as they should be.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_tasks::Precision;
use bert4rs_tasks::sentence::{Options, SentenceEncoder};
use bert4rs_tensor::io::safetensors;
use bert4rs_tensor::{Rng, Tensor};
use serde_json::Value;

const TINY: &str = "sentence-bert-tiny";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/checkpoints").join(name)
}

/// Texts, their vectors and the ids they were made from.
fn expected() -> (Vec<String>, Vec<Vec<f32>>, Value) {
    let text = fs::read_to_string(folder(TINY).join("expected.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let case = &file["cases"][0];
    let vectors = serde_json::from_value(case["expected"]["sentence_embedding"].clone()).unwrap();
    let texts = serde_json::from_value(case["inputs"]["texts"].clone()).unwrap();
    (texts, vectors, case["expected"].clone())
}

fn views(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// A copy of the tiny folder with files written over it.
fn changed(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["1_Pooling", "2_Dense"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
    }
    for name in ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "modules.json"]
        .into_iter()
        .chain(["sentence_bert_config.json", "1_Pooling/config.json"])
    {
        fs::copy(folder(TINY).join(name), dir.path().join(name)).unwrap();
    }
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn modules(names: &[(&str, &str)]) -> String {
    let entry = |(path, kind): &(&str, &str)| serde_json::json!({ "path": path, "type": kind });
    Value::from(names.iter().map(entry).collect::<Vec<_>>()).to_string()
}

fn error(files: &[(&str, &str)]) -> String {
    SentenceEncoder::open(changed(files).path()).err().unwrap().to_string()
}

fn encode(dir: &Path, text: &str) -> Vec<f32> {
    let model = SentenceEncoder::open(dir).unwrap();
    model.encode(&[text], &Options::default()).unwrap().vectors.remove(0)
}

#[test]
fn vectors_are_those_of_sentence_transformers() {
    let (texts, vectors, expected) = expected();
    let model = SentenceEncoder::open(&folder(TINY)).unwrap();
    assert_eq!((model.width(), model.max_tokens()), (32, Some(12)));
    let got = model.encode(&views(&texts), &Options::default()).unwrap();
    assert_eq!(got.truncated, [2], "the third text has more than 12 tokens");
    for (text, (got, expected)) in got.vectors.iter().zip(&vectors).enumerate() {
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-6, "text {text}: {g}, expected {e}");
        }
        let length: f32 = got.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-6);
    }
    for (text, ids) in texts.iter().zip(expected["input_ids"].as_array().unwrap()) {
        let ids: Vec<u32> = serde_json::from_value(ids.clone()).unwrap();
        let ours = model.tokenizer().encode(text, model.max_tokens()).unwrap().ids;
        assert_eq!(ours, ids[..ours.len()]);
        assert!(ids[ours.len()..].iter().all(|id| *id == 0), "only padding follows");
    }
}

#[test]
fn vectors_do_not_depend_on_neighbours_batches_or_threads() {
    let mut rng = Rng::new(3);
    let letters: Vec<char> = "今天气非常好我喜欢数学和语言模型 hello world!".chars().collect();
    let text = |rng: &mut Rng| -> String {
        let length = rng.next_u64() % 14;
        (0..length).map(|_| letters[rng.next_u64() as usize % letters.len()]).collect()
    };
    let texts: Vec<String> = (0..60).map(|_| text(&mut rng)).collect();
    let model = SentenceEncoder::open(&folder(TINY)).unwrap();
    let together = model.encode(&views(&texts), &Options::default()).unwrap();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for batch_tokens in [1, 33, 100_000] {
            let got = pool.install(|| model.encode(&views(&texts), &Options { batch_tokens }).unwrap());
            assert_eq!(got, together, "{threads} threads, {batch_tokens} tokens");
        }
    }
    let backwards: Vec<&str> = texts.iter().rev().map(String::as_str).collect();
    let mut got = model.encode(&backwards, &Options::default()).unwrap().vectors;
    got.reverse();
    assert_eq!(got, together.vectors);
}

#[test]
fn no_texts_have_no_vectors() {
    let model = SentenceEncoder::open(&folder(TINY)).unwrap();
    let got = model.encode(&[], &Options::default()).unwrap();
    assert!(got.vectors.is_empty() && got.truncated.is_empty());
}

#[test]
fn a_causal_encoder_sees_what_is_before_as_in_its_own_program() {
    // Means of hidden states, by `scripts/parity/tiny.py sentences`.
    let text = fs::read_to_string(folder("gpt2-tiny").join("sentences.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let texts: Vec<String> = serde_json::from_value(file["texts"].clone()).unwrap();
    let means: Vec<Vec<f32>> = serde_json::from_value(file["means"].clone()).unwrap();
    let model = SentenceEncoder::open(&folder("gpt2-tiny")).unwrap();
    let got = model.encode(&views(&texts), &Options::default()).unwrap();
    for (got, expected) in got.vectors.iter().zip(&means) {
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-4 * (1.0 + e.abs()), "{g}, expected {e}");
        }
    }
}

#[test]
fn a_plain_encoder_gives_the_mean_of_its_tokens() {
    let dir = changed(&[]);
    for name in ["modules.json", "sentence_bert_config.json"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let model = SentenceEncoder::open(dir.path()).unwrap();
    assert_eq!(model.max_tokens(), Some(16), "model_max_length of the tokenizer");
    let (texts, vectors, _) = expected();
    let mean = encode(dir.path(), &texts[0]);
    let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() > 0.1, "not normalised");
    assert!(mean.iter().zip(&vectors[0]).all(|(m, e)| (m / length - e).abs() < 1e-6));
}

#[test]
fn folders_of_release_6_open() {
    let kinds = modules(&[
        ("", "sentence_transformers.base.modules.transformer.Transformer"),
        ("1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling"),
        ("3_Normalize", "sentence_transformers.base.modules.normalize.Normalize"),
    ]);
    let pooling = |modes: &str| format!(r#"{{"embedding_dimension": 32, "pooling_mode": {modes}}}"#);
    let (texts, vectors, _) = expected();
    let one = changed(&[("modules.json", &kinds), ("1_Pooling/config.json", &pooling("\"mean\""))]);
    let got = encode(one.path(), &texts[1]);
    assert!(got.iter().zip(&vectors[1]).all(|(g, e)| (g - e).abs() < 1e-6));
    let two = changed(&[("modules.json", &kinds), ("1_Pooling/config.json", &pooling(r#"["cls", "mean"]"#))]);
    let both = encode(two.path(), &texts[1]);
    assert_eq!(both.len(), 64);
    let scale = both[32..].iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(both[32..].iter().zip(&vectors[1]).all(|(b, e)| (b / scale - e).abs() < 1e-6));
}

#[test]
fn a_dense_module_is_a_linear_layer_with_its_activation() {
    let kinds = modules(&[("", "a.Transformer"), ("1_Pooling", "b.Pooling"), ("2_Dense", "c.Dense")]);
    let config = r#"{"in_features": 32, "out_features": 2, "bias": true,
                     "activation_function": "torch.nn.modules.activation.Tanh"}"#;
    let dir = changed(&[("modules.json", &kinds), ("2_Dense/config.json", config)]);
    let error = SentenceEncoder::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("safe_serialization=True"), "{error}");
    let mut weight = vec![0.0f32; 64];
    (weight[3], weight[32 + 5]) = (2.0, -1.0);
    let tensors = [
        ("linear.weight".to_string(), Tensor::new(weight, &[2, 32]).unwrap()),
        ("linear.bias".to_string(), Tensor::new(vec![0.5f32, 0.0], &[2]).unwrap()),
    ];
    safetensors::save(&dir.path().join("2_Dense/model.safetensors"), &tensors).unwrap();
    let got = encode(dir.path(), "今天");
    let prepared = SentenceEncoder::open(dir.path()).unwrap().prepare(Precision::F32).unwrap();
    assert_eq!(prepared.encode(&["今天"], &Options::default()).unwrap().vectors, [&got[..]]);
    fs::write(dir.path().join("modules.json"), modules(&[("", "a.Transformer"), ("1_Pooling", "b.Pooling")]))
        .unwrap();
    let pooled = encode(dir.path(), "今天");
    let by_hand = [(2.0 * pooled[3] + 0.5).tanh(), (-pooled[5]).tanh()];
    assert!(got.iter().zip(by_hand).all(|(g, h)| (g - h).abs() < 1e-6), "{got:?}, by hand {by_hand:?}");
    let wide = config.replace("32", "33");
    let wrong = [("modules.json", kinds.as_str()), ("2_Dense/config.json", &wide)];
    assert!(self::error(&wrong).contains("in_features 33: the module before gives 32 numbers"));
}

#[test]
fn the_default_prompt_stands_before_every_text() {
    let config = r#"{"prompts": {"query": "今天"}, "default_prompt_name": "query"}"#;
    let prompted = changed(&[("config_sentence_transformers.json", config)]);
    assert_eq!(encode(prompted.path(), "天气"), encode(&folder(TINY), "今天天气"));
    let outside = r#"{"include_prompt": false, "pooling_mode": "mean"}"#;
    let files = [("config_sentence_transformers.json", config), ("1_Pooling/config.json", outside)];
    assert!(error(&files).contains("include_prompt false with a default prompt is not supported"));
    let unknown = config.replace(r#""query"}"#, r#""document"}"#);
    assert!(error(&[("config_sentence_transformers.json", &unknown)]).contains("\"document\" is not one of"));
}

#[test]
fn texts_are_lower_cased_where_the_folder_says_so() {
    let lower = r#"{"max_seq_length": 12, "do_lower_case": true}"#;
    let cased = r#"{"do_lower_case": false}"#;
    let dir = changed(&[("sentence_bert_config.json", lower), ("tokenizer_config.json", cased)]);
    assert_eq!(encode(dir.path(), "HELLO"), encode(dir.path(), "hello"));
    let dir = changed(&[("tokenizer_config.json", cased)]);
    assert_ne!(encode(dir.path(), "HELLO"), encode(dir.path(), "hello"));
}

#[test]
fn broken_folders_say_what_is_wrong() {
    let with = |kinds: &[(&str, &str)]| error(&[("modules.json", &modules(kinds))]);
    let transformer = ("", "x.Transformer");
    let pooling = ("1_Pooling", "x.Pooling");
    assert!(
        with(&[transformer, pooling, ("3", "x.WordWeights")])
            .contains("WordWeights is not supported; supported are Transformer, WeightedLayerPooling")
    );
    assert!(with(&[pooling]).contains("begins with a Transformer"));
    assert!(with(&[transformer]).contains("expected a Pooling after the Transformer"));
    assert!(with(&[transformer, ("../x", "x.Pooling")]).contains("leads out of the folder"));
    assert!(with(&[transformer, ("2_Dense", "x.Pooling")]).contains("is missing; it names the pooling"));
    let pooled = |config: &str| error(&[("1_Pooling/config.json", config)]);
    assert!(pooled("{}").contains("names no pooling"));
    assert!(pooled(r#"{"pooling_mode_attention": true}"#).contains("\"attention\" is not supported"));
    assert!(pooled(r#"{"pooling_mode": 3}"#).contains("expected a name or a list of names"));
    assert!(error(&[("modules.json", "{")]).contains("modules.json"));
    let mut vocab = fs::read_to_string(folder(TINY).join("vocab.txt")).unwrap();
    vocab.push_str("surplus\n");
    assert!(error(&[("vocab.txt", &vocab)]).contains("the tokenizer has 201 tokens, the encoder 200"));
    let missing = SentenceEncoder::open(Path::new("no/such/folder")).err().unwrap().to_string();
    assert!(missing.contains("no/such/folder: there is no such folder"), "{missing}");
}

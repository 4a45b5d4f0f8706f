//! Folders converted from every format, with and without another vocabulary, and folders compared.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_nn::Ctx;
use bert4rs_nn::encoder::{EncoderInput, huggingface};
use bert4rs_nn::weights::Checkpoint;
use bert4rs_tasks::convert::{Selection, convert};
use bert4rs_tasks::verify::verify;
use bert4rs_tensor::io::safetensors::{WeightFile, save};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed};
use serde_json::Value;

fn published(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/published").join(name)
}

/// The 30 tokens that these tests give the models.
fn tokens() -> Vec<String> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(String::from);
    let characters = "天地人日月山水火木金".chars().map(String::from);
    special.into_iter().chain(characters).chain((0..15).map(|i| format!("word{i}"))).collect()
}

/// A copy of a published folder with a vocabulary.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(published(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    fs::write(dir.path().join("vocab.txt"), tokens().join("\n") + "\n").unwrap();
    dir
}

fn config(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("config.json")).unwrap()).unwrap()
}

#[test]
fn every_format_becomes_the_same_file() {
    for (original, others) in [
        ("bert", &["bert-torch", "bert-tensorflow"][..]),
        ("albert", &["albert-tensorflow"]),
        ("roformer", &["roformer-tensorflow"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join("one");
        convert(&published(original), &one, None).unwrap();
        for other in others {
            let to = dir.path().join(other);
            let done = convert(&published(other), &to, None).unwrap();
            let bytes = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
            assert!(bytes(&one) == bytes(&to), "{other}");
            assert_eq!(config(&to)["model_type"], original);
            assert_eq!(config(&to)["architectures"], config(&one)["architectures"], "{other}");
            assert!(done.tensors > 20 && done.tokens.is_none(), "{done:?}");
            assert!(!done.copied.iter().any(|name| name.contains("ckpt")), "{done:?}");
        }
    }
}

#[test]
fn a_converted_model_is_the_same_model() {
    for name in ["bert", "bert-torch", "bert-tensorflow", "roformer-tensorflow"] {
        let (from, dir) = (copy(name), tempfile::tempdir().unwrap());
        fs::write(from.path().join("notes.txt"), "").unwrap();
        let to = dir.path().join("new");
        let done = convert(from.path(), &to, None).unwrap();
        assert_eq!(done.unknown, None);
        assert!(
            done.copied.contains(&"vocab.txt".to_string()) && done.not_copied.contains(&"notes.txt".into())
        );
        let same = verify(from.path(), &to, 0.0).unwrap();
        assert_eq!((&same.first_diverging, same.configs.len(), same.layers.len()), (&None, 0, 3), "{same:?}");
        assert!(same.tensors.iter().all(|tensor| tensor.largest == Some(0.0)), "{same:?}");
        assert!(same.only_first.is_empty() && same.only_second.is_empty(), "{same:?}");
    }
}

/// The hidden states of one text.
fn hidden(folder: &Path, ids: &[usize]) -> Vec<f64> {
    let (_, encoder, _, _) = huggingface::load(folder, DType::F32).unwrap();
    let batch = Packed::from_lengths(&[ids.len()]);
    let input = EncoderInput { ids, segments: None, batch: &batch };
    encoder.forward(&mut Ctx::inference(), input, &Mask::Full).unwrap().to_f64_vec()
}

fn kept(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("vocab.txt")).unwrap().lines().map(String::from).collect()
}

#[test]
fn a_model_with_fewer_tokens_answers_as_before_on_those() {
    let (from, dir) = (copy("bert-tensorflow"), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("keep"), "[0, 1, 2,\n3 4 14 9]").unwrap();
    let to = dir.path().join("new");
    let done = convert(from.path(), &to, Some(&Selection::Ids(dir.path().join("keep")))).unwrap();
    assert_eq!(done.tokens, Some((7, 0)));
    assert_eq!(config(&to)["vocab_size"], 7);
    assert_eq!(kept(&to), ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "金", "月"]);
    assert_eq!(hidden(from.path(), &[2, 14, 9, 9, 3]), hidden(&to, &[2, 5, 6, 6, 3]));
    let bias = |folder: &Path| {
        Checkpoint::open(folder).unwrap().tensor("cls.predictions.bias", DType::F64).unwrap().to_f64_vec()
    };
    let old = bias(from.path());
    assert_eq!(bias(&to), [0, 1, 2, 3, 4, 14, 9].map(|id| old[id]));
}

#[test]
fn new_tokens_are_the_means_of_their_pieces() {
    let (from, dir) = (copy("bert"), tempfile::tempdir().unwrap());
    let mut tokens = tokens();
    tokens[29] = "山水火".into(); // ids 10, 11, 12
    fs::write(dir.path().join("tokens"), tokens.join("\n")).unwrap();
    let to = dir.path().join("new");
    let selection = Selection::Tokens(dir.path().join("tokens"));
    let done = convert(from.path(), &to, Some(&selection)).unwrap();
    assert_eq!(done.tokens, Some((30, 1)));
    assert_eq!(kept(&to), tokens);
    let table = |folder: &Path| {
        let checkpoint = Checkpoint::open(folder).unwrap();
        checkpoint.tensor("embeddings.word_embeddings.weight", DType::F64).unwrap().to_f64_vec()
    };
    let (old, new) = (table(from.path()), table(&to));
    assert_eq!(old[..29 * 16], new[..29 * 16]);
    for column in 0..16 {
        let mean = [10, 11, 12].iter().map(|id| old[id * 16 + column]).sum::<f64>() / 3.0;
        assert!((new[29 * 16 + column] - mean).abs() < 1e-7);
    }
    fs::write(dir.path().join("tokens"), "[UNK]\n龍\n").unwrap();
    let error = convert(from.path(), &dir.path().join("other"), Some(&selection)).unwrap_err().to_string();
    assert!(error.contains("token \"龍\" is new, and the old vocabulary has no pieces for it"), "{error}");
}

#[test]
fn a_simplified_vocabulary_has_its_special_tokens_first() {
    let (from, dir) = (copy("bert-torch"), tempfile::tempdir().unwrap());
    let to = dir.path().join("new");
    let mut tokens = tokens();
    tokens.swap(0, 20); // a word first, padding later
    tokens[6] = "##地".into(); // longer than one character, and Chinese
    fs::write(from.path().join("vocab.txt"), tokens.join("\n")).unwrap();
    convert(from.path(), &to, Some(&Selection::Simplified)).unwrap();
    let kept = kept(&to);
    assert_eq!(kept[..5], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
    assert_eq!((kept.len(), kept.contains(&"##地".to_string())), (29, false));
    assert_eq!(config(&to)["pad_token_id"], kept.iter().position(|token| *token == tokens[0]).unwrap());
}

#[test]
fn failures_say_why_and_leave_nothing_behind() {
    let (from, dir) = (copy("bert"), tempfile::tempdir().unwrap());
    let to = dir.path().join("new");
    let ids = |text: &str| {
        fs::write(dir.path().join("ids"), text).unwrap();
        let selection = Selection::Ids(dir.path().join("ids"));
        convert(from.path(), &to, Some(&selection)).unwrap_err().to_string()
    };
    assert!(ids("0 30").contains("id 30 is none of the 30 tokens"));
    assert!(ids("0 x").contains("\"x\" is no id"));
    assert!(ids("").contains("has no ids"));
    assert!(ids("1 1").contains("[UNK]"), "a token twice");
    fs::remove_file(from.path().join("vocab.txt")).unwrap();
    assert!(ids("0").contains("has no vocab.txt"));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["ids"]);
    let error = convert(from.path(), dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("is there already; name a new folder"), "{error}");
    fs::remove_file(from.path().join("model.safetensors")).unwrap();
    let error = convert(from.path(), &to, None).unwrap_err().to_string();
    assert!(error.contains("has no model.safetensors, no pytorch_model.bin and no TensorFlow checkpoint"));
}

#[test]
fn an_incomplete_model_is_not_converted() {
    let (from, dir) = (copy("bert"), tempfile::tempdir().unwrap());
    let path = from.path().join("model.safetensors");
    let file = WeightFile::open(&path).unwrap();
    let names = file.names().into_iter().filter(|name| !name.ends_with("layer.1.output.dense.bias"));
    let tensors: Vec<_> = names.map(|n| (n.clone(), file.tensor(&n, DType::F32).unwrap())).collect();
    drop(file);
    save(&path, &tensors).unwrap();
    let error = convert(from.path(), &dir.path().join("new"), None).unwrap_err().to_string();
    assert!(error.contains("the model needs encoder.layer.1.output.dense.bias"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_first_layer_that_differs_is_named() {
    let changed = copy("bert");
    let path = changed.path().join("model.safetensors");
    let file = WeightFile::open(&path).unwrap();
    let tensor = |name: &String| {
        let tensor = file.tensor(name, DType::F32).unwrap();
        let same = !name.ends_with("layer.1.intermediate.dense.bias");
        (name.clone(), if same { tensor } else { tensor.add_scalar(0.5).unwrap() })
    };
    let tensors: Vec<_> = file.names().iter().map(tensor).collect();
    save(&path, &tensors).unwrap();
    let found = verify(&published("bert"), changed.path(), 1e-5).unwrap();
    assert_eq!(found.first_diverging.as_deref(), Some("layer 1"));
    let differ: Vec<_> = found.tensors.iter().filter(|d| d.largest != Some(0.0)).collect();
    assert_eq!((differ.len(), differ[0].name.as_str()), (1, "encoder.layer.1.intermediate.dense.bias"));
    assert!((differ[0].largest.unwrap() - 0.5).abs() < 1e-6);
    assert_eq!(verify(&published("bert"), changed.path(), 100.0).unwrap().first_diverging, None);

    let mut other = config(changed.path());
    other["hidden_act"] = "relu".into();
    fs::write(changed.path().join("config.json"), other.to_string()).unwrap();
    let found = verify(&published("bert"), changed.path(), 1e-5).unwrap();
    assert_eq!(found.first_diverging.as_deref(), Some("layer 0"));
    assert_eq!(found.configs, ["feed_forward.dense.activation: \"gelu\", \"relu\""]);
    let error = verify(&published("bert"), &published("bert-legacy"), 0.0).unwrap_err().to_string();
    assert!(error.contains("bert-legacy") && error.contains("cannot be read"), "{error}");
}

//! One model in the formats of PyTorch, TensorFlow and safetensors is the same model: the files of
//! tests/data/published, written by those libraries (`scripts/parity/tiny.py`).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_nn::encoder::{EncoderInput, huggingface};
use bert4rs_nn::weights::{Checkpoint, Source, config_file, sources};
use bert4rs_nn::{Ctx, weights};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed};
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/published").join(name)
}

/// Every tensor of both, bit for bit; TensorFlow's files call the encoder of a RoFormer `bert` too.
fn assert_same(one: &Source, other: &Source) {
    let learned = |source: &Source| -> BTreeMap<String, String> {
        let left_out = ["position_ids", "embed_positions", "decoder."]; // buffers, and what is tied
        let names =
            source.names().into_iter().filter(|name| left_out.iter().all(|part| !name.contains(part)));
        names.map(|name| (name.replace("roformer.", "bert."), name)).collect()
    };
    let (ones, others) = (learned(one), learned(other));
    assert!(ones.keys().eq(others.keys()), "{:?} {:?}", ones.keys(), others.keys());
    for (name, theirs) in ones.values().zip(others.values()) {
        let (a, b) = (one.stored(name).unwrap(), other.stored(theirs).unwrap());
        assert_eq!((a.kind(), a.shape()), (b.kind(), b.shape()), "{name}");
        assert_eq!(other.shape(theirs).as_deref(), Some(b.shape()), "{name}");
        assert!(a.bytes() == b.bytes(), "{name}");
    }
}

fn only(name: &str) -> Source {
    let mut all = sources(&folder(name)).unwrap();
    assert_eq!(all.len(), 1);
    all.pop().unwrap()
}

#[test]
fn files_of_tensorflow_and_torch_hold_the_tensors_of_safetensors() {
    for (name, others) in [
        ("bert", &["bert-torch", "bert-tensorflow"][..]),
        ("albert", &["albert-tensorflow"]),
        ("roformer", &["roformer-tensorflow"]),
    ] {
        others.iter().for_each(|other| assert_same(&only(name), &only(other)));
    }
}

#[test]
fn hidden_states_are_those_of_transformers_from_each_format() {
    for (model, format) in [
        ("bert", "bert"),
        ("bert", "bert-torch"),
        ("bert", "bert-tensorflow"),
        ("roformer", "roformer"),
        ("roformer", "roformer-tensorflow"),
    ] {
        let expected = fs::read_to_string(folder(model).join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let numbers = |key: &str| -> Vec<usize> { serde_json::from_value(expected[key].clone()).unwrap() };
        let (ids, segments) = (numbers("ids"), numbers("segments"));
        let batch = Packed::from_lengths(&[ids.len()]);
        let input = EncoderInput { ids: &ids, segments: Some(&segments), batch: &batch };
        let (_, encoder, _, report) = huggingface::load(&folder(format), DType::F64).unwrap();
        assert!(report.missing.is_empty(), "{report:?}");
        let all = encoder.forward_all(&mut Ctx::inference(), input, &Mask::Full).unwrap();
        let states: Vec<Vec<Vec<f64>>> = serde_json::from_value(expected["hidden_states"].clone()).unwrap();
        assert_eq!(all.len(), states.len());
        for (layer, (got, want)) in all.iter().zip(&states).enumerate() {
            for (i, (got, want)) in got.to_f64_vec().iter().zip(want.iter().flatten()).enumerate() {
                // Computed in f32 and kept with six digits after the point.
                assert!((got - want).abs() < 5e-6, "{format}, layer {layer}, number {i}: {got}, {want}");
            }
        }
    }
}

#[test]
fn a_tied_decoder_is_no_tensor_of_its_own() {
    let checkpoint = Checkpoint::open(&folder("bert-torch")).unwrap();
    assert!(only("bert-torch").shape("cls.predictions.decoder.weight").is_some());
    assert!(checkpoint.names().all(|name| !name.contains("decoder")));
    assert_eq!(checkpoint.tensor("cls.predictions.bias", DType::F32).unwrap().shape(), [30]);
    assert!(checkpoint.tensor("none", DType::F32).is_err());
}

#[test]
fn configs_beside_tensorflow_files_learn_their_model_type() {
    for (name, kind, file) in [
        ("bert-tensorflow", "bert", "bert_config.json"),
        ("albert-tensorflow", "albert", "albert_config.json"),
        ("roformer-tensorflow", "roformer", "bert_config.json"),
        ("bert-torch", "bert", "config.json"),
    ] {
        let (path, config) = config_file(&folder(name)).unwrap();
        assert_eq!((path, &config["model_type"]), (folder(name).join(file), &Value::from(kind)));
    }
}

/// A copy of a folder.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

fn error(dir: &Path) -> String {
    weights::sources(dir).err().unwrap().to_string()
}

#[test]
fn one_checkpoint_of_several_is_picked_by_name() {
    let dir = copy("bert-tensorflow");
    let rename = |from: &str, to: &str| {
        for end in ["index", "data-00000-of-00001"] {
            fs::rename(dir.path().join(format!("{from}.{end}")), dir.path().join(format!("{to}.{end}")))
                .unwrap();
        }
    };
    rename("bert_model.ckpt", "model.ckpt-5");
    assert!(weights::sources(dir.path()).is_ok(), "the only one");
    fs::write(dir.path().join("model.ckpt-9.index"), "").unwrap();
    assert!(error(dir.path()).contains("several checkpoints (model.ckpt-5, model.ckpt-9); keep one"));
    let latest = "model_checkpoint_path: \"/elsewhere/model.ckpt-5\"\nall_model_checkpoint_paths: \"x\"\n";
    fs::write(dir.path().join("checkpoint"), latest).unwrap();
    assert!(weights::sources(dir.path()).is_ok(), "the one that TensorFlow calls the latest");
    fs::remove_file(dir.path().join("model.ckpt-5.index")).unwrap();
    fs::remove_file(dir.path().join("model.ckpt-9.index")).unwrap();
    fs::write(dir.path().join("model.ckpt"), "old").unwrap();
    assert!(error(dir.path()).contains("model.ckpt: is a TensorFlow checkpoint without its .index"));
}

#[test]
fn shards_of_torch_are_read_through_their_index() {
    let dir = copy("bert-torch");
    let (whole, shard) = ("pytorch_model.bin", "pytorch_model-00001-of-00001.bin");
    fs::rename(dir.path().join(whole), dir.path().join(shard)).unwrap();
    assert!(error(dir.path()).contains("no pytorch_model.bin and no TensorFlow checkpoint"));
    let index = serde_json::json!({ "weight_map": { "bert.pooler.dense.bias": shard } });
    fs::write(dir.path().join("pytorch_model.bin.index.json"), index.to_string()).unwrap();
    assert_same(&only("bert"), &weights::sources(dir.path()).unwrap()[0]);
}

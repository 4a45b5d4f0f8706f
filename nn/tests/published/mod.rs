//! Published checkpoints and what an independent program made of them, for several tests.
#![allow(clippy::unwrap_used, dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Tensor};
use serde_json::Value;

pub const CHECKPOINTS: [&str; 12] = [
    "bert-tiny",
    "bert-legacy-names-tiny",
    "roformer-tiny",
    "roformer-v2-tiny",
    "roberta-tiny",
    "electra-tiny",
    "albert-tiny",
    "gau-alpha-tiny",
    "nezha-tiny",
    "deberta-v2-tiny",
    "modernbert-tiny",
    "gpt2-tiny",
];

/// As it is compared: transformers turns rotary positions of ModernBERT and softmax of T5 in f32, so
/// that f64 has nothing closer to be compared with.
pub fn compared(name: &str, got: &Tensor) -> Tensor {
    let single = name.starts_with("modernbert") || name.starts_with("t5");
    if single { got.cast(DType::F32).unwrap() } else { got.clone() }
}

/// The mask that a checkpoint was trained with.
pub fn mask(name: &str) -> Mask {
    if name.starts_with("gpt2") { Mask::Causal } else { Mask::Full }
}

/// The expected hidden states, the last as we give it: ModernBERT's list ends before its last norm.
pub fn states<'a>(name: &str, expected: &'a Value) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = expected["hidden_states"].as_array().unwrap().iter().collect();
    if name.starts_with("modernbert") {
        all.pop();
        all.push(&expected["last_hidden_state_after_final_norm"]);
    }
    all
}

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/checkpoints").join(name)
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// One padded case of an `expected.json`, without its padding.
pub struct Case {
    pub ids: Vec<usize>,
    pub segments: Vec<usize>,
    pub batch: Packed,
    pub inputs: Value,
    pub expected: Value,
}

pub fn cases(name: &str) -> Vec<Case> {
    let file: Value =
        serde_json::from_str(&fs::read_to_string(folder(name).join("expected.json")).unwrap()).unwrap();
    let read = |case: &Value| {
        let inputs = &case["inputs"];
        let (mut ids, mut segments, mut lengths) = (vec![], vec![], vec![]);
        for (row, mask) in inputs["attention_mask"].as_array().unwrap().iter().enumerate() {
            let length = numbers(mask).iter().filter(|m| **m == 1.0).count();
            let first =
                |key: &str| numbers(&inputs[key][row])[..length].iter().map(|v| *v as usize).collect();
            let (a, b): (Vec<usize>, Vec<usize>) = match inputs.get("token_type_ids") {
                Some(_) => (first("input_ids"), first("token_type_ids")),
                None => (first("input_ids"), vec![0; length]),
            };
            ids.extend(a);
            segments.extend(b);
            lengths.push(length);
        }
        let (batch, inputs) = (Packed::from_lengths(&lengths), inputs.clone());
        Case { ids, segments, batch, inputs, expected: case["expected"].clone() }
    };
    // Some cases of GPT-2 are about padding on the left and generation.
    let has_states = |case: &&Value| {
        ["hidden_states", "encoder_last_hidden_state"].iter().any(|key| case["expected"].get(key).is_some())
    };
    file["cases"].as_array().unwrap().iter().filter(has_states).map(read).collect()
}

/// f32 within the file's tolerance, f64 100 times closer.
pub fn assert_close(what: &str, got: &[f64], expected: &[f64], dtype: DType) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = if dtype == DType::F32 { 1.0 } else { 0.01 };
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= scale * (1e-4 + 1e-5 * e.abs()), "{what}[{i}] {dtype:?}: {g}, expected {e}");
    }
}

/// Compares the first `at_most` tokens of every text with `expected [B, L, ..]`.
pub fn assert_tokens(what: &str, got: &Tensor, expected: &Value, batch: &Packed, at_most: usize) {
    for b in 0..batch.sequences() {
        for i in 0..batch.length(b).min(at_most) {
            let row = got.narrow(0, batch.offsets()[b] + i, 1).unwrap();
            assert_close(
                &format!("{what}, text {b}, token {i}"),
                &row.to_f64_vec(),
                &numbers(&expected[b][i]),
                got.dtype(),
            );
        }
    }
}

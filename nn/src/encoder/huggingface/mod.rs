//! Model folders in the layout of Hugging Face: `config.json` beside `model.safetensors`.
//!
//! Foreign names are translated here, once. An encoder that no model type there describes is kept
//! as `{"model_type": "bert4rs", "encoder": { our config }}`.

mod bert;
mod deberta;
mod gau_alpha;
mod gpt2;
mod modernbert;
mod t5;

use std::path::Path;

use bert4rs_tensor::io::safetensors::write_atomic;
use bert4rs_tensor::{DType, Params, Rng};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config::EncoderConfig;
use super::model::Encoder;
use crate::weights::{self, Allow, Checkpoint, Layout, LoadReport};
use crate::{Builder, Error, Result};

const OWN: &str = "bert4rs";
const SUPPORTED: &str = "bert, roformer, roberta, electra, albert, nezha, gau_alpha, deberta-v2, modernbert, gpt2, \
                         t5, mt5 and bert4rs";

/// The encoder that the config of a folder describes: `config.json`, or what lies beside a TensorFlow
/// checkpoint.
pub fn read_config(folder: &Path) -> Result<EncoderConfig> {
    let (path, value) = weights::config_file(folder)?;
    let fail = |message: String| Error::Checkpoint { path: path.display().to_string(), message };
    let kind = value.get("model_type").and_then(Value::as_str).unwrap_or_default().to_string();
    let config = match kind.as_str() {
        kind if bert::KINDS.contains(&kind) => bert::read(kind, &value),
        gau_alpha::KIND => keys(value).and_then(|foreign| gau_alpha::ours(&foreign)),
        deberta::KIND => keys(value).and_then(|foreign| deberta::ours(&foreign)),
        modernbert::KIND => keys(value).and_then(|foreign| modernbert::ours(&foreign)),
        gpt2::KIND => keys(value).and_then(|foreign| gpt2::ours(&foreign)),
        kind if t5::KINDS.contains(&kind) => keys(value).and_then(|foreign| t5::ours(&foreign)),
        OWN => serde_json::from_value(value["encoder"].clone()).map_err(|e| format!("encoder: {e}")),
        "" => Err(format!("has no model_type; supported are {SUPPORTED}")),
        other => Err(format!("model_type {other} is not supported; supported are {SUPPORTED}")),
    };
    let config: EncoderConfig = config.map_err(&fail)?;
    config.validate().map_err(|e| fail(e.to_string()))?;
    Ok(config)
}

fn keys<T: DeserializeOwned>(value: Value) -> std::result::Result<T, String> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}

/// Reads a folder: the config, the encoder, its parameters and what was done. Heads of pre-training
/// are left out; to read them too, build them beside the encoder and use [`Checkpoint::fill`].
pub fn load(folder: &Path, dtype: DType) -> Result<(EncoderConfig, Encoder, Params, LoadReport)> {
    let config = read_config(folder)?;
    let (encoder, params, report) = load_as(folder, &config, dtype)?;
    Ok((config, encoder, params, report))
}

/// As [`load`], with the folder's config changed: an ALBERT with `sharing = "none"` has parameters for
/// every layer, which start equal.
pub fn load_as(folder: &Path, config: &EncoderConfig, dtype: DType) -> Result<(Encoder, Params, LoadReport)> {
    let checkpoint = Checkpoint::open(folder)?;
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let encoder = Encoder::to_be_filled(&mut Builder::new(&mut params, &mut rng, dtype), config)?;
    let report = checkpoint.fill(&params, &Allow::default())?;
    Ok((encoder, params, report))
}

/// Writes `config.json` and `model.safetensors`; BERT, RoFormer, RoBERTa, ELECTRA and ALBERT then open
/// in transformers with the same hidden states. It reports as missing what it makes itself: the pooler
/// (BERT, RoBERTa, ALBERT) and the table of positions (RoFormer). What it would compute otherwise keeps
/// our own `model_type`.
pub fn save(folder: &Path, config: &EncoderConfig, params: &Params) -> Result<()> {
    write_config(folder, config)?;
    let layout = match bert::theirs(config) {
        Some(foreign) if foreign.is_albert() => Layout::Albert,
        Some(_) | None => Layout::Bert,
    };
    weights::save(folder, params, layout)
}

/// Writes `config.json`.
pub fn write_config(folder: &Path, config: &EncoderConfig) -> Result<()> {
    let path = folder.join("config.json");
    let text = match (bert::theirs(config), gau_alpha::theirs(config)) {
        (Some(foreign), _) => serde_json::to_string_pretty(&foreign),
        (None, Some(foreign)) => serde_json::to_string_pretty(&foreign),
        (None, None) => {
            serde_json::to_string_pretty(&serde_json::json!({ "model_type": OWN, "encoder": config }))
        }
    };
    let text =
        text.map_err(|e| Error::Checkpoint { path: path.display().to_string(), message: e.to_string() })?;
    Ok(write_atomic(&path, format!("{text}\n").as_bytes())?)
}

/// Sets the keys of `change` in `base`.
fn put(base: &mut Value, change: &Value) {
    if let (Value::Object(base), Value::Object(change)) = (base, change) {
        base.extend(change.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}

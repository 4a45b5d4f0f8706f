//! Model folders in the layout of Hugging Face: `config.json` beside `model.safetensors`.
//!
//! Foreign names are translated here, once. An encoder that no model type there describes is kept
//! as `{"model_type": "bert4rs", "encoder": { our config }}`.

mod bert;
mod deberta;
mod encoder_decoder;
mod gau_alpha;
mod gpt2;
mod modernbert;
mod t5;

use std::path::Path;

use bert4rs_tensor::io::safetensors::write_atomic;
use bert4rs_tensor::{DType, Params, Rng};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config::{EmbeddingConfig, EncoderConfig};
use super::model::Encoder;
use crate::weights::{self, Allow, Checkpoint, Layout, LoadReport};
use crate::{Builder, Error, Result};

pub use encoder_decoder::{load_encoder_decoder, read_encoder_decoder, save_encoder_decoder};

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
        OWN if value.get("encoder_decoder").is_some() => {
            serde_json::from_value(value["encoder_decoder"]["encoder"].clone())
                .map_err(|e| format!("encoder_decoder: {e}"))
        }
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

/// Writes `config.json` and `model.safetensors`; BERT, RoFormer, RoBERTa, ELECTRA, ALBERT, DeBERTa-v3,
/// ModernBERT, GPT-2 and the encoders of T5 and mT5 then open in transformers with the same hidden states. It
/// reports as missing what it makes itself: the pooler (BERT, RoBERTa, ALBERT) and the table of positions
/// (RoFormer). What it would compute otherwise keeps our own `model_type`.
pub fn save(folder: &Path, config: &EncoderConfig, params: &Params) -> Result<()> {
    let (text, layout) = foreign(config);
    write_text(folder, text)?;
    weights::save(folder, params, layout)
}

/// Writes `config.json`, for weights in BERT's layout or none.
pub fn write_config(folder: &Path, config: &EncoderConfig) -> Result<()> {
    write_text(folder, foreign(config).0)
}

/// The config as the first model type that can say it has it, and that type's layout of weights.
fn foreign(config: &EncoderConfig) -> (serde_json::Result<Value>, Layout) {
    if let Some(foreign) = bert::theirs(config) {
        let layout = if foreign.is_albert() { Layout::Albert } else { Layout::Bert };
        return (serde_json::to_value(&foreign), layout);
    }
    if let Some(foreign) = gau_alpha::theirs(config) {
        return (serde_json::to_value(&foreign), Layout::Bert);
    }
    if let Some(foreign) = deberta::theirs(config) {
        return (serde_json::to_value(&foreign), Layout::Deberta);
    }
    if let Some(foreign) = modernbert::theirs(config) {
        return (serde_json::to_value(&foreign), Layout::ModernBert);
    }
    if let Some(foreign) = gpt2::theirs(config) {
        return (serde_json::to_value(&foreign), Layout::Gpt2);
    }
    if let Some((foreign, layout)) = t5::theirs(config) {
        return (serde_json::to_value(&foreign), layout);
    }
    (Ok(serde_json::json!({ "model_type": OWN, "encoder": config })), Layout::Bert)
}

/// Whether foreign keys, read again, say all of `config`: what they cannot say must not be lost.
fn says(read: std::result::Result<EncoderConfig, String>, config: &EncoderConfig) -> bool {
    read == Ok(plain(config))
}

/// The same config without what it says in vain.
fn plain(config: &EncoderConfig) -> EncoderConfig {
    let mut plain = config.clone();
    if plain.embedding.token_dropout == 0.0 {
        plain.embedding.unk_id = EmbeddingConfig::default().unk_id;
    }
    plain.embedding.size = plain.embedding.size.filter(|size| *size != plain.hidden_size);
    plain
}

fn write_text(folder: &Path, value: serde_json::Result<Value>) -> Result<()> {
    let path = folder.join("config.json");
    let text = value
        .and_then(|value| serde_json::to_string_pretty(&value))
        .map_err(|e| Error::Checkpoint { path: path.display().to_string(), message: e.to_string() })?;
    Ok(write_atomic(&path, format!("{text}\n").as_bytes())?)
}

/// Sets the keys of `change` in `base`.
fn put(base: &mut Value, change: &Value) {
    if let (Value::Object(base), Value::Object(change)) = (base, change) {
        base.extend(change.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}

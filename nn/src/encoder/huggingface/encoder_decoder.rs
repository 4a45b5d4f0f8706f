//! Folders of models that read and write: T5, mT5, and ours.

use std::path::Path;

use bert4rs_tensor::{DType, Params, Rng};
use serde_json::{Value, json};

use super::{OWN, keys, t5, write_text};
use crate::decoder::{EncoderDecoder, EncoderDecoderConfig};
use crate::weights::{self, Allow, Checkpoint, Layout, LoadReport};
use crate::{Builder, Error, Result};

/// The key of our own configs.
const KEY: &str = "encoder_decoder";

/// The model that a folder holds. Whether its table of tokens scores words too, the weights tell: without
/// `lm_head.weight`, or with a copy of the table, it does.
pub fn read_encoder_decoder(folder: &Path) -> Result<EncoderDecoderConfig> {
    let (path, value) = weights::config_file(folder)?;
    let fail = |message: String| Error::Checkpoint { path: path.display().to_string(), message };
    let kind = value.get("model_type").and_then(Value::as_str).unwrap_or_default().to_string();
    let config: EncoderDecoderConfig = match kind.as_str() {
        kind if t5::KINDS.contains(&kind) => {
            let tied = Checkpoint::open(folder)?.shape("lm_head.weight").is_none();
            keys(value).and_then(|foreign| t5::both(&foreign, tied)).map_err(fail)?
        }
        OWN if value.get(KEY).is_some() => {
            keys(value[KEY].clone()).map_err(|e| fail(format!("{KEY}: {e}")))?
        }
        other => {
            return Err(fail(format!(
                "model_type {other} has no decoder that is supported: t5 and mt5 have"
            )));
        }
    };
    config.validate().map_err(|e| fail(e.to_string()))?;
    Ok(config)
}

/// Reads a folder: the config, the model, its parameters and what was done.
pub fn load_encoder_decoder(
    folder: &Path,
    dtype: DType,
) -> Result<(EncoderDecoderConfig, EncoderDecoder, Params, LoadReport)> {
    let config = read_encoder_decoder(folder)?;
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let model = EncoderDecoder::to_be_filled(&mut Builder::new(&mut params, &mut rng, dtype), &config)?;
    let allow = Allow { missing: Vec::new(), unexpected: Vec::new() };
    let report = Checkpoint::open(folder)?.fill(&params, &allow)?;
    Ok((config, model, params, report))
}

/// Writes `config.json` and `model.safetensors`; T5 and mT5 open in transformers with the same scores, what
/// they cannot say keeps our own `model_type`.
pub fn save_encoder_decoder(folder: &Path, config: &EncoderDecoderConfig, params: &Params) -> Result<()> {
    let (text, layout) = match t5::both_theirs(config) {
        Some((foreign, layout)) => (serde_json::to_value(&foreign), layout),
        None => (Ok(json!({ "model_type": OWN, KEY: config })), Layout::Bert),
    };
    write_text(folder, text)?;
    weights::save(folder, params, layout)
}

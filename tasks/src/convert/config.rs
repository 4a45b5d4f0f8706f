//! What changes in a `config.json`.

use serde_json::{Value, json};

use super::vocabulary::Rows;

/// Names the class at Hugging Face that has these tensors, where the file names none.
pub(super) fn complete<'a>(config: &mut Value, names: impl Iterator<Item = &'a str> + Clone) {
    let has = |part: &str| names.clone().any(|name| name.contains(part));
    let base = match config.get("model_type").and_then(Value::as_str) {
        Some("bert") => "Bert",
        Some("albert") => "Albert",
        Some("roformer") => "RoFormer",
        Some("electra") => "Electra",
        Some("nezha") => "Nezha",
        _ => return,
    };
    let pretraining = has("seq_relationship.") || has("sop_classifier.") || has("discriminator_predictions.");
    let head = match () {
        () if pretraining => "ForPreTraining",
        () if has("predictions.") => "ForMaskedLM",
        () if has("classifier.") => "ForSequenceClassification",
        () => "Model",
    };
    if let Value::Object(keys) = config {
        keys.entry("architectures").or_insert(json!([format!("{base}{head}")]));
    }
}

/// Gives the config the new number of tokens, and to special tokens their new ids; the old number.
pub(super) fn change_vocabulary(config: &mut Value, rows: &Rows) -> Result<usize, String> {
    let own = config.get("model_type").and_then(Value::as_str) == Some("bert4rs");
    let keys = if own { config.get_mut("encoder") } else { Some(config) };
    let keys = keys.and_then(Value::as_object_mut).ok_or("is no JSON object")?;
    let old = keys.get("vocab_size").and_then(Value::as_u64).ok_or("has no vocab_size")? as usize;
    let new_id = |id: &Value| id.as_u64().and_then(|id| rows.position(id as usize));
    for (key, value) in keys.iter_mut() {
        if key.ends_with("_token_id") && value.is_u64() {
            *value = json!(new_id(value));
        }
    }
    if let Some(embedding) = keys.get_mut("embedding").and_then(Value::as_object_mut)
        && let Some(unk) = embedding.get_mut("unk_id")
        && let Some(id) = new_id(unk)
    {
        *unk = json!(id);
    }
    keys.insert("vocab_size".into(), json!(rows.len()));
    Ok(old)
}

//! The file that says what a folder's model is: `config.json`, or the one that lies beside a TensorFlow
//! checkpoint, which leaves to the reader which model it is of.

use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_tensor::io::tf_checkpoint::TensorFlowFile;
use serde_json::{Map, Value, json};

use super::source::tensorflow_index;
use super::tensorflow::{Family, family};
use crate::{Error, Result};

/// The config of a folder with the file it is from; `config.json` as it is, others with what Hugging
/// Face needs beside: the `model_type`, which the variables tell.
pub fn config_file(folder: &Path) -> Result<(PathBuf, Value)> {
    let path = find(folder);
    let text = fs::read_to_string(&path).or_else(|e| {
        wrong(&path, format!("cannot be read: {e}; a model folder holds config.json and model.safetensors"))
    })?;
    let mut config: Value =
        serde_json::from_str(&text).or_else(|e| wrong(&path, format!("is no JSON: {e}")))?;
    if path.ends_with("config.json") || config.get("model_type").is_some() {
        return Ok((path, config));
    }
    let Value::Object(keys) = &mut config else { return wrong(&path, "is no JSON object") };
    if let Some(index) = tensorflow_index(folder)? {
        let names = TensorFlowFile::open(&index)?.names();
        complete(keys, &names).or_else(|message| wrong(&path, message))?;
    }
    Ok((path, config))
}

/// `config.json`, else `bert_config.json`, else the only one of the names that other models give it.
fn find(folder: &Path) -> PathBuf {
    let known = ["config.json", "bert_config.json"].map(|name| folder.join(name));
    if let Some(path) = known.iter().find(|path| path.exists()) {
        return path.clone();
    }
    let is_config = |name: &str| {
        let starts = ["albert_config", "electra_config", "nezha_config", "roformer_config", "bert_config"];
        name.ends_with(".json") && starts.iter().any(|start| name.starts_with(start))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(is_config))
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => only,
        _ => folder.join("config.json"),
    }
}

fn complete(config: &mut Map<String, Value>, names: &[String]) -> std::result::Result<(), String> {
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    let relative = config.get("use_relative_position").and_then(Value::as_bool).unwrap_or(false)
        || config.contains_key("max_relative_position");
    let kind = match family(names.iter().map(String::as_str)) {
        Family::Albert => "albert",
        Family::Electra => "electra",
        Family::Bert if has("embeddings/position_embeddings") => "bert",
        Family::Bert if relative => "nezha",
        // RoFormerV2: nothing is learned in its norms.
        Family::Bert if !has("/LayerNorm/") => "roformer",
        Family::Bert => {
            return Err("tells not which model it is of, nor do the variables: they have no table of \
                        positions, so it is a RoFormer or a NEZHA; add \"model_type\": \"roformer\" or \"nezha\""
                .into());
        }
    };
    let mut set = |key: &str, value: Value| {
        config.entry(key).or_insert(value);
    };
    set("model_type", json!(kind));
    if kind == "nezha" {
        set("max_relative_position", json!(64)); // of the published models
    }
    if kind == "roformer" && !has("/LayerNorm/") {
        set("norm_type", json!("rms_norm"));
        set("use_bias", json!(has("/bias")));
    }
    // ALBERT's own code computes `gelu` by tanh, and so do its copies at Hugging Face.
    if kind == "albert" && config.get("hidden_act").is_none_or(|name| name == "gelu") {
        config.insert("hidden_act".into(), json!("gelu_new"));
    }
    Ok(())
}

fn wrong<T>(path: &Path, message: impl Into<String>) -> Result<T> {
    Err(Error::Checkpoint { path: path.display().to_string(), message: message.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(config: Value, names: &[&str]) -> std::result::Result<Value, String> {
        let Value::Object(mut keys) = config else { panic!("an object") };
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        complete(&mut keys, &names).map(|()| Value::Object(keys))
    }

    #[test]
    fn the_variables_tell_the_model() {
        let norm = "bert/embeddings/LayerNorm/beta";
        let bert = kind(json!({}), &["bert/embeddings/position_embeddings", norm]).unwrap();
        assert_eq!(bert, json!({ "model_type": "bert" }));
        let nezha = kind(json!({ "use_relative_position": true }), &[norm]).unwrap();
        assert_eq!((&nezha["model_type"], &nezha["max_relative_position"]), (&json!("nezha"), &json!(64)));
        let albert =
            kind(json!({ "hidden_act": "gelu" }), &["bert/encoder/transformer/group_0/inner_group_0/x"]);
        assert_eq!(albert.unwrap(), json!({ "model_type": "albert", "hidden_act": "gelu_new" }));
        let second = kind(json!({}), &["bert/embeddings/word_embeddings"]).unwrap();
        assert_eq!(second, json!({ "model_type": "roformer", "norm_type": "rms_norm", "use_bias": false }));
        assert_eq!(
            kind(json!({}), &["electra/embeddings/word_embeddings"]).unwrap()["model_type"],
            "electra"
        );
        let either = kind(json!({}), &[norm]).unwrap_err();
        assert!(either.contains("add \"model_type\": \"roformer\" or \"nezha\""), "{either}");
    }
}

//! The files of a model folder beside its weights.

use std::fs;
use std::path::{Component, Path};

use serde_json::Value;

use super::Converted;
use super::vocabulary::Rows;
use crate::{Error, Result};

/// What tokenizers, sentence-transformers and we read, and what people do.
const KNOWN: [&str; 20] = [
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "bert4rs.toml",
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
];
/// What lists tokens with their ids, which a new vocabulary changes; made again from `vocab.txt`.
const OF_THE_OLD_VOCABULARY: [&str; 2] = ["tokenizer.json", "added_tokens.json"];

/// Copies what is known; the rest is told in `done`.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    config: &Path,
    rows: Option<&Rows>,
    done: &mut Converted,
) -> Result<()> {
    let entries = fs::read_dir(from).map_err(|e| Error::file(from, e))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let modules = modules(from)?;
    let vocabulary = vocabulary(&names);
    for name in &names {
        let path = from.join(name);
        if path == config || is_weights(name) {
            continue;
        }
        if path.is_dir() && modules.contains(name) {
            copy_folder(&path, &to.join(name))?;
            done.copied.push(name.clone());
            continue;
        }
        let stale = rows.is_some() && OF_THE_OLD_VOCABULARY.contains(&name.as_str());
        let target = match name {
            name if vocabulary.as_ref() == Some(name) => "vocab.txt",
            name if KNOWN.contains(&name.as_str()) && !stale => name,
            _ => {
                done.not_copied.push(name.clone());
                continue;
            }
        };
        match rows {
            Some(rows) if target == "vocab.txt" => rows.write(&to.join(target))?,
            Some(_) if target == "tokenizer_config.json" => without_ids(&path, &to.join(target))?,
            _ => drop(fs::copy(&path, to.join(target)).map_err(|e| Error::file(&path, e))?),
        }
        done.copied.push(target.to_string());
    }
    Ok(())
}

/// The vocabulary of a folder whose file has another name: the only `vocab*.txt`.
pub(super) fn vocabulary(names: &[String]) -> Option<String> {
    let mut found = names.iter().filter(|name| name.starts_with("vocab") && name.ends_with(".txt"));
    match (names.iter().find(|name| *name == "vocab.txt"), found.next(), found.next()) {
        (Some(exact), _, _) => Some(exact.clone()),
        (None, Some(only), None) => Some(only.clone()),
        (None, _, _) => None,
    }
}

fn is_weights(name: &str) -> bool {
    let ends = [".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".index", ".meta"];
    ends.iter().any(|end| name.ends_with(end)) || name.contains(".data-0") || name == "checkpoint"
}

/// The folders that `modules.json` names, where there is one.
fn modules(from: &Path) -> Result<Vec<String>> {
    let path = from.join("modules.json");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(Vec::new()) };
    let list: Vec<Value> = serde_json::from_str(&text).map_err(|e| Error::file(&path, e))?;
    let first = |entry: &Value| match Path::new(entry.get("path")?.as_str()?).components().next()? {
        Component::Normal(name) => name.to_str().map(str::to_string),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    };
    Ok(list.iter().filter_map(first).collect())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|e| Error::file(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| Error::file(from, e))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, target).map_err(|e| Error::file(&path, e))?;
        }
    }
    Ok(())
}

/// A `tokenizer_config.json` without the list of special tokens by their old ids; they are named
/// beside it.
fn without_ids(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read_to_string(from).map_err(|e| Error::file(from, e))?;
    let mut config: Value = serde_json::from_str(&text).map_err(|e| Error::file(from, e))?;
    if let Value::Object(keys) = &mut config {
        keys.remove("added_tokens_decoder");
    }
    fs::write(to, format!("{config:#}\n")).map_err(|e| Error::file(to, e))
}

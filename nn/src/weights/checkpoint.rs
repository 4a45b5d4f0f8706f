//! A folder of published weights: its tensors under our names, and nothing lost silently.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bert4rs_tensor::Params;
use bert4rs_tensor::io::safetensors::{self, WeightFile};

use super::names::{nearest, ours, under};
use crate::{Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// How many names an error lists.
const LISTED: usize = 6;

/// The weights of a model folder, opened but not read.
pub struct Checkpoint {
    folder: PathBuf,
    files: Vec<WeightFile>,
    /// Our name -> (file, name in it).
    tensors: BTreeMap<String, (usize, String)>,
}

/// Tensors that may differ between a file and a model, each by name or by a leading part of it
/// (`cls` covers `cls.predictions.bias`).
#[derive(Clone, Debug)]
pub struct Allow {
    /// Parameters that keep their values when the file has none: new heads.
    pub missing: Vec<String>,
    /// Tensors of the file that the model does not use.
    pub unexpected: Vec<String>,
}

impl Default for Allow {
    /// The heads of pre-training may be left over.
    fn default() -> Self {
        Self { missing: Vec::new(), unexpected: vec!["cls".into(), "pooler".into()] }
    }
}

/// What a load did; lists hold only what was allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters read, in the model's order.
    pub loaded: Vec<String>,
    /// Parameters without a tensor.
    pub missing: Vec<String>,
    /// Tensors without a parameter.
    pub unexpected: Vec<String>,
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the shards of its index.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut paths = vec![folder.join(SINGLE)];
        if !paths[0].exists() {
            paths = shards(folder)?;
        }
        let files = paths.iter().map(|path| Ok(WeightFile::open(path)?)).collect::<Result<Vec<_>>>()?;
        let mut tensors: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            for raw in file.names() {
                let Some(name) = ours(&raw) else { continue };
                if let Some((_, first)) = tensors.get(&name) {
                    return wrong(file.path(), format!("{first} and {raw} are the same tensor; remove one"));
                }
                tensors.insert(name, (i, raw));
            }
        }
        // Newer exports keep the bias of the vocabulary beside the tied decoder only.
        if !tensors.contains_key("cls.predictions.bias")
            && let Some(place) = tensors.remove("cls.predictions.decoder.bias")
        {
            tensors.insert("cls.predictions.bias".into(), place);
        }
        Ok(Self { folder: folder.to_path_buf(), files, tensors })
    }

    /// Our names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, by our name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).and_then(|(file, raw)| self.files[*file].shape(raw))
    }

    /// Gives every parameter its tensor, converted to the parameter's type. Names and shapes are
    /// checked first: after an error no parameter has changed.
    pub fn fill(&self, params: &Params, allow: &Allow) -> Result<LoadReport> {
        let report = self.compare(params, allow)?;
        for parameter in params.iter() {
            if let Some((file, raw)) = self.tensors.get(parameter.name()) {
                parameter.set(&self.files[*file].tensor(raw, parameter.value().dtype())?)?;
            }
        }
        Ok(report)
    }

    fn compare(&self, params: &Params, allow: &Allow) -> Result<LoadReport> {
        let mut report = LoadReport::default();
        for parameter in params.iter() {
            let (name, value) = (parameter.name(), parameter.value());
            match self.shape(name) {
                None => report.missing.push(name.to_string()),
                Some(found) if found == value.shape() => report.loaded.push(name.to_string()),
                Some(found) => {
                    let expected = value.shape();
                    return wrong(
                        &self.folder,
                        format!(
                            "tensor {name} has shape {found:?}, the model expects {expected:?}; do the \
                             config and the weights belong together?"
                        ),
                    );
                }
            }
        }
        report.unexpected = self.names().filter(|n| params.get(n).is_none()).map(str::to_string).collect();
        let refused = |names: &[String], allowed: &[String]| -> Vec<String> {
            names.iter().filter(|n| !allowed.iter().any(|a| under(n, a))).cloned().collect()
        };
        let missing = refused(&report.missing, &allow.missing);
        let unexpected = refused(&report.unexpected, &allow.unexpected);
        if missing.is_empty() && unexpected.is_empty() {
            return Ok(report);
        }
        let mut problems = Vec::new();
        if !missing.is_empty() {
            problems.push(list("the model needs", &missing, &report.unexpected, "the file has"));
        }
        if !unexpected.is_empty() {
            problems.push(list("the file also has", &unexpected, &report.missing, "the model has"));
        }
        let hint = "is this the model the config describes? Names may be allowed to differ";
        wrong(&self.folder, format!("{}; {hint}", problems.join("; ")))
    }
}

/// Names with, for each, the most similar one of the other side.
fn list(verb: &str, names: &[String], others: &[String], owner: &str) -> String {
    let one = |name: &String| match nearest(name, others.iter().map(String::as_str)) {
        Some(near) => format!("{name} ({owner} {near})"),
        None => name.clone(),
    };
    let shown: Vec<String> = names.iter().take(LISTED).map(one).collect();
    let more = names.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{verb} {}{more}", shown.join(", "))
}

/// The files of a sharded model.
fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let path = folder.join(INDEX);
    let Ok(text) = std::fs::read_to_string(&path) else {
        let hint = if folder.join("pytorch_model.bin").exists() {
            "pytorch_model.bin cannot be read; save the model once with safe_serialization=True"
        } else {
            "a model folder holds config.json and model.safetensors"
        };
        return wrong(folder, format!("has no {SINGLE}; {hint}"));
    };
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_str(&text).or_else(|e| wrong(&path, e.to_string()))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    // A shard is a file of this folder; anything else in the index is not followed.
    match names.iter().find(|n| Path::new(n).file_name() != Some(n.as_ref())) {
        Some(name) => wrong(&path, format!("{name} is no file of this folder")),
        None => Ok(names.iter().map(|name| folder.join(name)).collect()),
    }
}

/// Writes all parameters to `model.safetensors` of a folder, replacing it in one step.
pub fn save(folder: &Path, params: &Params) -> Result<()> {
    Ok(safetensors::save(&folder.join(SINGLE), &params.values())?)
}

fn wrong<T>(path: &Path, message: impl Into<String>) -> Result<T> {
    Err(Error::Checkpoint { path: path.display().to_string(), message: message.into() })
}

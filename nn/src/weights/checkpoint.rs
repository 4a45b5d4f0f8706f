//! A folder of published weights: its tensors under our names, and nothing lost silently.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bert4rs_tensor::io::safetensors;
use bert4rs_tensor::{DType, Params, Tensor};

use super::family;
use super::layout::{self, Layout};
use super::names::{nearest, ours, under};
use super::piece::Piece;
use super::source::{SINGLE, Source, sources};
use crate::{Error, Result};

/// How many names an error lists.
const LISTED: usize = 6;

/// The weights of a model folder, opened but not read.
pub struct Checkpoint {
    folder: PathBuf,
    files: Vec<Source>,
    /// By our name.
    tensors: BTreeMap<String, Place>,
}

/// Where a tensor is.
#[derive(Clone)]
struct Place {
    file: usize,
    raw: String,
    piece: Piece,
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
        let heads = [
            "cls",
            "pooler",
            "discriminator_predictions",
            "generator_predictions",
            "generator_lm_head",
            "decoder", // T5's other half
            "lm_head",
        ];
        Self { missing: Vec::new(), unexpected: heads.map(String::from).to_vec() }
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
    /// Opens the weights of a folder: safetensors, files of PyTorch or of TensorFlow, in the order of
    /// [`sources`](super::sources).
    pub fn open(folder: &Path) -> Result<Self> {
        let files = sources(folder)?;
        let mut tensors: BTreeMap<String, Place> = BTreeMap::new();
        // Heads of ours are called so too, but have no norm.
        let has =
            |test: &dyn Fn(&str) -> bool| files.iter().any(|file| file.names().iter().any(|name| test(name)));
        let modern = has(&family::is_modern_bert) && has(&|name| name == "head.norm.weight");
        for (i, file) in files.iter().enumerate() {
            for raw in file.names() {
                let names = match family::modern_bert_head(&raw) {
                    Some(name) if modern => vec![(name, Piece::Whole)],
                    Some(_) | None => ours(&raw),
                };
                for (name, piece) in names {
                    if let Some(Place { raw: first, .. }) = tensors.get(&name) {
                        let message = format!("{first} and {raw} are the same tensor; remove one");
                        return wrong(file.path(), message);
                    }
                    tensors.insert(name, Place { file: i, raw: raw.clone(), piece });
                }
            }
        }
        // Newer exports keep the bias of the vocabulary beside the tied decoder only.
        if !tensors.contains_key("cls.predictions.bias")
            && let Some(place) = tensors.remove("cls.predictions.decoder.bias")
        {
            tensors.insert("cls.predictions.bias".into(), place);
        }
        let mut checkpoint = Self { folder: folder.to_path_buf(), files, tensors };
        // Files of PyTorch hold what is shared under each of its names.
        for (copy, original) in [
            ("cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"),
            ("cls.predictions.decoder.bias", "cls.predictions.bias"),
            ("lm_head.weight", "embeddings.word_embeddings.weight"),
            ("decoder.weight", "embeddings.word_embeddings.weight"),
        ] {
            if checkpoint.is_copy(copy, original)? {
                checkpoint.tensors.remove(copy);
            }
        }
        Ok(checkpoint)
    }

    fn is_copy(&self, copy: &str, original: &str) -> Result<bool> {
        let (Some(copy), Some(original)) = (self.tensors.get(copy), self.tensors.get(original)) else {
            return Ok(false);
        };
        let stored = |place: &Place| self.files[place.file].stored(&place.raw);
        Ok(stored(copy)? == stored(original)?)
    }

    /// A tensor by our name.
    pub fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor> {
        match self.tensors.get(name) {
            Some(place) => self.read(place, dtype),
            None => wrong(&self.folder, format!("has no tensor {name}")),
        }
    }

    /// Our names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, by our name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let place = self.tensors.get(name)?;
        place.piece.shape(self.files[place.file].shape(&place.raw)?)
    }

    fn read(&self, Place { file, raw, piece }: &Place, dtype: DType) -> Result<Tensor> {
        match piece {
            Piece::Whole => self.files[*file].tensor(raw, dtype),
            Piece::Rows { .. } => Ok(piece.of(self.files[*file].stored(raw)?)?.to_tensor(dtype)?),
        }
    }

    /// Gives every parameter its tensor, converted to the parameter's type. Names and shapes are
    /// checked first: after an error no parameter has changed. Where the file's layers share their
    /// parameters and the model's do not, each layer gets a copy of its own.
    pub fn fill(&self, params: &Params, allow: &Allow) -> Result<LoadReport> {
        let report = self.compare(params, allow)?;
        let sources = self.sources(params);
        for (parameter, source) in params.iter().zip(&sources) {
            if let Some(place) = self.tensors.get(source) {
                parameter.set(&self.read(place, parameter.value().dtype())?)?;
            }
        }
        Ok(report)
    }

    /// The tensor that each parameter is read from, where there is one.
    fn sources(&self, params: &Params) -> Vec<String> {
        let groups = layout::count(self.names(), true);
        let layers = layout::count(params.iter().map(|p| p.name()), false);
        let source = |name: &str| {
            if groups == 0 || self.tensors.contains_key(name) {
                return name.to_string();
            }
            layout::shared_source(name, layers, groups).unwrap_or_else(|| name.to_string())
        };
        params.iter().map(|p| source(p.name())).collect()
    }

    /// What [`Checkpoint::fill`] would do, with its errors.
    pub fn compare(&self, params: &Params, allow: &Allow) -> Result<LoadReport> {
        let mut report = LoadReport::default();
        let sources = self.sources(params);
        for (parameter, source) in params.iter().zip(&sources) {
            let (name, value) = (parameter.name(), parameter.value());
            match self.shape(source) {
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
        let used: BTreeSet<&str> = sources.iter().map(String::as_str).collect();
        report.unexpected = self.names().filter(|n| !used.contains(n)).map(str::to_string).collect();
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

/// Writes all parameters to `model.safetensors` of a folder, replacing it in one step.
pub fn save(folder: &Path, params: &Params, layout: Layout) -> Result<()> {
    let values = params.values();
    let mut joined: BTreeMap<String, Vec<(&Tensor, Piece)>> = BTreeMap::new();
    for (name, value) in &values {
        let (name, piece) =
            family::theirs(name, layout).unwrap_or_else(|| (layout::theirs(name, layout), Piece::Whole));
        joined.entry(name).or_default().push((value, piece));
    }
    let mut tensors = Vec::with_capacity(joined.len());
    for (name, mut parts) in joined {
        parts.sort_by_key(|(_, piece)| piece.index());
        tensors.push((name, Piece::joined(&parts)?));
    }
    Ok(safetensors::save(&folder.join(SINGLE), &tensors)?)
}

fn wrong<T>(path: &Path, message: impl Into<String>) -> Result<T> {
    Err(Error::Checkpoint { path: path.display().to_string(), message: message.into() })
}

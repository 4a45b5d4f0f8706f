//! The files with a folder's weights, whatever wrote them, under the names that Hugging Face uses.
//!
//! Order:  the first of these that is there: `model.safetensors`; the shards of
//!         `model.safetensors.index.json`; `pytorch_model.bin`; the shards of
//!         `pytorch_model.bin.index.json`; a TensorFlow checkpoint `NAME.index`: the one that the file
//!         `checkpoint` names, else `bert_model.ckpt`, else the only one

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_tensor::io::safetensors::WeightFile;
use bert4rs_tensor::io::tf_checkpoint::TensorFlowFile;
use bert4rs_tensor::io::torch_zip::TorchFile;
use bert4rs_tensor::io::{ElementType, Stored};
use bert4rs_tensor::{DType, Tensor};

use super::tensorflow::{self, Variable};
use crate::{Error, Result};

pub(super) const SINGLE: &str = "model.safetensors";
const TORCH: &str = "pytorch_model.bin";

/// An open file of weights, or a TensorFlow checkpoint of several.
pub enum Source {
    /// `.safetensors`.
    Safetensors(WeightFile),
    /// A zip archive of PyTorch.
    Torch(TorchFile),
    /// A checkpoint of TensorFlow, its names translated.
    TensorFlow(TensorFlowFile, BTreeMap<String, Variable>),
}

/// Opens the weights of a folder; the order is in the head of this file.
pub fn sources(folder: &Path) -> Result<Vec<Source>> {
    let safetensors = |path: PathBuf| Ok(Source::Safetensors(WeightFile::open(&path)?));
    let torch = |path: PathBuf| Ok(Source::Torch(TorchFile::open(&path)?));
    if folder.join(SINGLE).exists() {
        return Ok(vec![safetensors(folder.join(SINGLE))?]);
    }
    if let Some(paths) = shards(folder, SINGLE)? {
        return paths.into_iter().map(safetensors).collect();
    }
    if folder.join(TORCH).exists() {
        return Ok(vec![torch(folder.join(TORCH))?]);
    }
    if let Some(paths) = shards(folder, TORCH)? {
        return paths.into_iter().map(torch).collect();
    }
    match tensorflow_index(folder)? {
        Some(index) => Ok(vec![Source::tensorflow(&index)?]),
        None => wrong(
            folder,
            format!(
                "has no {SINGLE}, no {TORCH} and no TensorFlow checkpoint (NAME.index); what else is \
                     there is saved as one of them by the library that wrote it"
            ),
        ),
    }
}

impl Source {
    fn tensorflow(index: &Path) -> Result<Self> {
        let file = TensorFlowFile::open(index)?;
        let names = tensorflow::translate(&file.names()).or_else(|message| wrong(index, message))?;
        Ok(Source::TensorFlow(file, names))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Source::Safetensors(file) => file.path(),
            Source::Torch(file) => file.path(),
            Source::TensorFlow(file, _) => file.path(),
        }
    }

    /// The names of its tensors, sorted, without what optimizers keep.
    pub fn names(&self) -> Vec<String> {
        match self {
            Source::Safetensors(file) => file.names(),
            Source::Torch(file) => file.names(),
            Source::TensorFlow(_, names) => names.keys().cloned().collect(),
        }
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match self {
            Source::Safetensors(file) => file.shape(name).map(<[usize]>::to_vec),
            Source::Torch(file) => file.shape(name).map(<[usize]>::to_vec),
            Source::TensorFlow(file, names) => {
                let variable = names.get(name)?;
                let mut shape = file.shape(&variable.name)?.to_vec();
                if variable.turned {
                    shape.reverse();
                }
                Some(shape)
            }
        }
    }

    /// The number type of a tensor; none where there is no such tensor, or not one of numbers.
    pub fn kind(&self, name: &str) -> Option<ElementType> {
        match self {
            Source::Safetensors(file) => file.kind(name),
            Source::Torch(file) => file.kind(name),
            Source::TensorFlow(file, names) => file.kind(&names.get(name)?.name),
        }
    }

    /// A tensor as the file has it, in the order of axes that Hugging Face uses.
    pub fn stored(&self, name: &str) -> Result<Stored<'_>> {
        match self {
            Source::Safetensors(file) => Ok(file.stored(name)?),
            Source::Torch(file) => Ok(file.stored(name)?),
            Source::TensorFlow(file, names) => match names.get(name) {
                Some(variable) if variable.turned => Ok(file.stored(&variable.name)?.transposed()?),
                Some(variable) => Ok(file.stored(&variable.name)?),
                None => wrong(file.path(), format!("has no variable for {name}")),
            },
        }
    }

    /// A tensor in the wanted type.
    pub fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor> {
        Ok(self.stored(name)?.to_tensor(dtype)?)
    }
}

/// The files that the index of `name` lists, if there is one.
fn shards(folder: &Path, name: &str) -> Result<Option<Vec<PathBuf>>> {
    let index = folder.join(format!("{name}.index.json"));
    let Ok(text) = fs::read_to_string(&index) else { return Ok(None) };
    let parsed: Option<BTreeSet<String>> = serde_json::from_str(&text)
        .ok()
        .and_then(|value: serde_json::Value| value.get("weight_map").cloned())
        .and_then(|map| serde_json::from_value::<BTreeMap<String, String>>(map).ok())
        .map(|map| map.into_values().collect());
    let Some(names) = parsed else {
        return wrong(&index, "is not an index of weight files: expected {\"weight_map\": {name: file}}");
    };
    match names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        Some(name) => wrong(&index, format!("{name} is no file of this folder")),
        None => Ok(Some(names.iter().map(|name| folder.join(name)).collect())),
    }
}

/// The index of the TensorFlow checkpoint of a folder, if there is one.
pub(super) fn tensorflow_index(folder: &Path) -> Result<Option<PathBuf>> {
    let names: BTreeSet<String> = fs::read_dir(folder)
        .map(|entries| entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    let indices: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".index")).collect();
    let latest = fs::read_to_string(folder.join("checkpoint")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("model_checkpoint_path:"))?;
        let path = line.trim().trim_matches('"').to_string();
        Path::new(&path).file_name()?.to_str().map(str::to_string)
    });
    let picked = match (indices.as_slice(), latest) {
        (all, Some(latest)) if all.contains(&latest.as_str()) => latest,
        (all, _) if all.contains(&"bert_model.ckpt") => "bert_model.ckpt".to_string(),
        ([only], _) => only.to_string(),
        ([], _) => {
            return match names.iter().find(|name| name.ends_with(".ckpt")) {
                None => Ok(None),
                Some(old) => wrong(
                    &folder.join(old),
                    "is a TensorFlow checkpoint without its .index; one of version 1 is rewritten by \
                     tf.compat.v1.train.Saver(write_version=2)",
                ),
            };
        }
        (several, _) => {
            let message = format!("has several checkpoints ({}); keep one", several.join(", "));
            return wrong(folder, message);
        }
    };
    Ok(Some(folder.join(format!("{picked}.index"))))
}

fn wrong<T>(path: &Path, message: impl Into<String>) -> Result<T> {
    Err(Error::Checkpoint { path: path.display().to_string(), message: message.into() })
}

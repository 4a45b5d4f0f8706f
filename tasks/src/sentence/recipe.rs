//! Folders of sentence-transformers: `modules.json` lists the steps, each with its own settings.
//!
//! Read:   Transformer, WeightedLayerPooling, Pooling, Dense, Normalize, as written before and since
//!         release 6; a folder without `modules.json` is an encoder whose last layer is averaged
//! Limit:  `max_seq_length`, else the tokenizer's limit, never more than the encoder's positions

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bert4rs_nn::block::pooling::Pooling;
use bert4rs_nn::encoder::huggingface;
use bert4rs_tensor::io::safetensors::WeightFile;
use bert4rs_tensor::op::activation::Activation;
use bert4rs_tensor::{DType, Tensor};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::pooling_file::PoolingConfig;
use crate::{Error, Result};

pub(super) const MODULES: &str = "modules.json";

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TransformerConfig {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Prompts {
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

#[derive(Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: String,
}

fn yes() -> bool {
    true
}

/// What turns the hidden states of an encoder into vectors, and how texts reach it.
#[derive(Clone)]
pub(crate) struct Recipe {
    /// Where the encoder and its tokenizer are.
    pub(crate) folder: PathBuf,
    /// The longest text, when the folder says so.
    pub(crate) max_tokens: Option<usize>,
    /// Put before every text.
    pub(crate) prompt: String,
    pub(crate) lower_case: bool,
    /// Weights of the embedding and of every layer, whose mean is read; none for the last alone.
    pub(crate) layers: Option<Vec<f64>>,
    /// The first is a pooling.
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone)]
pub(crate) enum Step {
    /// Several poolings stand side by side.
    Pooling(Vec<Pooling>),
    Dense(DenseStep),
    Normalize,
}

/// `f(x W^T + b)`
#[derive(Clone)]
pub(crate) struct DenseStep {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) activation: Option<Activation>,
}

#[derive(Deserialize)]
struct LayersConfig {
    layer_start: usize,
    num_hidden_layers: usize,
}

impl Recipe {
    /// The recipe of an encoder without one: the mean of the last layer.
    pub(crate) fn mean(folder: PathBuf) -> Self {
        let steps = vec![Step::Pooling(vec![Pooling::Mean])];
        Self { folder, max_tokens: None, prompt: String::new(), lower_case: false, layers: None, steps }
    }

    /// Reads a folder of sentence-transformers, or of an encoder alone.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            let message = "there is no such folder; expected one with modules.json or config.json";
            return Err(Error::model(dir, message));
        }
        let entries: Option<Vec<Entry>> = read(&dir.join(MODULES))?;
        let Some(entries) = entries else {
            return Ok(Self::mean(dir.to_path_buf()));
        };
        let Some((first, mut rest)) = entries.split_first().filter(|(first, _)| name(first) == "Transformer")
        else {
            let message = "expected a list of modules that begins with a Transformer";
            return Err(Error::model(&dir.join(MODULES), message));
        };
        let folder = under(dir, &first.path)?;
        let mut layers = None;
        if let Some((second, others)) = rest.split_first().filter(|(e, _)| name(e) == "WeightedLayerPooling")
        {
            layers = Some(layer_weights(&under(dir, &second.path)?)?);
            rest = others;
        }
        if rest.first().is_none_or(|second| name(second) != "Pooling") {
            let message =
                "expected a Pooling after the Transformer; without one there is no vector of a text";
            return Err(Error::model(&dir.join(MODULES), message));
        }
        let config: TransformerConfig = read(&folder.join("sentence_bert_config.json"))?.unwrap_or_default();
        let prompt = prompt(dir)?;
        let encoder = huggingface::read_config(&folder)?;
        if let Some(weights) = layers.as_ref().filter(|w| w.len() != encoder.layers + 1) {
            let message = format!(
                "weights of the embedding and {} layers, but the encoder has {}",
                weights.len() - 1,
                encoder.layers
            );
            return Err(Error::model(dir, message));
        }
        let mut width = encoder.hidden_size;
        let mut steps = Vec::with_capacity(rest.len());
        for entry in rest {
            let (step, wider) = step(dir, entry, width, !prompt.is_empty())?;
            steps.push(step);
            width = wider;
        }
        let (max_tokens, lower_case) = (config.max_seq_length, config.do_lower_case);
        Ok(Self { folder, max_tokens, prompt, lower_case, layers, steps })
    }
}

/// Weights of the embedding and all layers; those before `layer_start` are 0.
fn layer_weights(dir: &Path) -> Result<Vec<f64>> {
    let file = dir.join("config.json");
    let config: LayersConfig =
        read(&file)?.ok_or_else(|| Error::model(&file, "is missing; it says which layers count"))?;
    let count = config.num_hidden_layers + 1;
    let weights = weights(dir, "layer_weights", &[count.saturating_sub(config.layer_start)])?.to_f64_vec();
    if weights.is_empty() || weights.iter().sum::<f64>() == 0.0 {
        return Err(Error::model(&file, "no layer counts; expected weights that add up to some number"));
    }
    Ok(std::iter::repeat_n(0.0, config.layer_start).chain(weights).collect())
}

/// A step that takes vectors of `width` numbers, and the width of what it gives.
fn step(dir: &Path, entry: &Entry, width: usize, prompted: bool) -> Result<(Step, usize)> {
    let dir = under(dir, &entry.path)?;
    let file = dir.join("config.json");
    match name(entry) {
        "Pooling" => {
            let config: PoolingConfig =
                read(&file)?.ok_or_else(|| Error::model(&file, "is missing; it names the pooling"))?;
            if prompted && config.excludes_prompt() {
                let message = "include_prompt false with a default prompt is not supported; set \
                               default_prompt_name to null in config_sentence_transformers.json";
                return Err(Error::model(&file, message));
            }
            let hows = config.poolings().map_err(|message| Error::model(&file, message))?;
            let width = width * hows.len();
            Ok((Step::Pooling(hows), width))
        }
        "Dense" => dense(&dir, width),
        "Normalize" => Ok((Step::Normalize, width)),
        other => Err(Error::model(
            &dir,
            format!(
                "{MODULES}: {other} is not supported; supported are Transformer, WeightedLayerPooling, Pooling, \
                 Dense and Normalize"
            ),
        )),
    }
}

fn dense(dir: &Path, width: usize) -> Result<(Step, usize)> {
    let file = dir.join("config.json");
    let config: DenseConfig =
        read(&file)?.ok_or_else(|| Error::model(&file, "is missing; it describes the Dense module"))?;
    if config.in_features != width {
        let message = format!("in_features {}: the module before gives {width} numbers", config.in_features);
        return Err(Error::model(&file, message));
    }
    let activation = match config.activation_function.rsplit('.').next().unwrap_or_default() {
        "Identity" => None,
        "Tanh" => Some(Activation::Tanh),
        "ReLU" => Some(Activation::Relu),
        "GELU" => Some(Activation::Gelu),
        "SiLU" => Some(Activation::Silu),
        other => {
            let message = format!("activation_function {other}: expected Identity, Tanh, ReLU, GELU or SiLU");
            return Err(Error::model(&file, message));
        }
    };
    let out = config.out_features;
    let weight = weights(dir, "linear.weight", &[out, width])?;
    let bias = config.bias.then(|| weights(dir, "linear.bias", &[out])).transpose()?;
    Ok((Step::Dense(DenseStep { weight, bias, activation }), out))
}

/// A tensor of a module's own weight file.
fn weights(dir: &Path, name: &str, shape: &[usize]) -> Result<Tensor> {
    let file = dir.join("model.safetensors");
    if !file.is_file() {
        let message = "has no model.safetensors; save the model once with safe_serialization=True";
        return Err(Error::model(dir, message));
    }
    let tensor = WeightFile::open(&file)?.tensor(name, DType::F32)?;
    if tensor.shape() == shape {
        return Ok(tensor);
    }
    let message = format!("{name} has shape {:?}, config.json says {shape:?}", tensor.shape());
    Err(Error::model(&file, message))
}

/// The text put before every text, by default none.
fn prompt(dir: &Path) -> Result<String> {
    let file = dir.join("config_sentence_transformers.json");
    let config: Prompts = read(&file)?.unwrap_or_default();
    match config.default_prompt_name {
        None => Ok(String::new()),
        Some(name) => config.prompts.get(&name).cloned().ok_or_else(|| {
            Error::model(&file, format!("default_prompt_name {name:?} is not one of the prompts"))
        }),
    }
}

/// The class without its Python modules, which have moved between releases.
fn name(entry: &Entry) -> &str {
    entry.kind.rsplit('.').next().unwrap_or_default()
}

/// A folder inside the model's: a path that leads elsewhere is not followed.
fn under(dir: &Path, path: &str) -> Result<PathBuf> {
    if Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(dir.join(path));
    }
    Err(Error::model(&dir.join(MODULES), format!("path {path:?} leads out of the folder")))
}

/// `None` when there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::model(path, e.to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file(path, e)),
    }
}

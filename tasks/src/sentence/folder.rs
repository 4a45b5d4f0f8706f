//! Folders of sentence-transformers: `modules.json` lists the steps, each with its own settings.
//!
//! Read:   Transformer, Pooling, Dense, Normalize, as written before and since release 6; a folder
//!         without `modules.json` is an encoder whose last layer is averaged
//! Limit:  `max_seq_length`, else the tokenizer's limit, never more than the encoder's positions

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bert4rs_nn::block::pooling::Pooling;
use bert4rs_nn::encoder::huggingface;
use bert4rs_tensor::DType;
use bert4rs_tensor::io::safetensors::WeightFile;
use bert4rs_tensor::op::activation::Activation;
use bert4rs_text::Tokenizer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Dense, Module, SentenceEncoder, Weight};
use crate::{Error, Result};

const MODULES: &str = "modules.json";

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
struct PoolingConfig {
    /// Since release 6: one name or a list of names.
    pooling_mode: Option<Value>,
    include_prompt: Option<bool>,
    /// Before: `pooling_mode_cls_token = true` and so on.
    #[serde(flatten)]
    flags: BTreeMap<String, Value>,
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

impl SentenceEncoder {
    /// Whether a folder is one of sentence-transformers, or holds an encoder and no task of ours.
    pub fn is_folder(dir: &Path) -> bool {
        dir.join(MODULES).is_file()
            || (dir.join("config.json").is_file() && !dir.join("bert4rs.toml").is_file())
    }

    /// Opens a folder of sentence-transformers, or one with an encoder alone: then a text's vector
    /// is the mean of its tokens' vectors.
    pub fn open(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            let message = "there is no such folder; expected one with modules.json or config.json";
            return Err(Error::model(dir, message));
        }
        let entries: Option<Vec<Entry>> = read(&dir.join(MODULES))?;
        let Some(entries) = entries else {
            return build(dir, TransformerConfig::default(), String::new(), |width| {
                Ok((vec![Module::Pooling(vec![Pooling::Mean])], width))
            });
        };
        let Some((first, rest)) = entries.split_first().filter(|(first, _)| name(first) == "Transformer")
        else {
            let message = "expected a list of modules that begins with a Transformer";
            return Err(Error::model(&dir.join(MODULES), message));
        };
        if rest.first().is_none_or(|second| name(second) != "Pooling") {
            let message =
                "expected a Pooling after the Transformer; without one there is no vector of a text";
            return Err(Error::model(&dir.join(MODULES), message));
        }
        let encoder = under(dir, &first.path)?;
        let config = read(&encoder.join("sentence_bert_config.json"))?.unwrap_or_default();
        let prompt = prompt(dir)?;
        build(&encoder, config, prompt.clone(), |mut width| {
            let mut modules = Vec::with_capacity(rest.len());
            for entry in rest {
                let (module, wider) = module(dir, entry, width, !prompt.is_empty())?;
                modules.push(module);
                width = wider;
            }
            Ok((modules, width))
        })
    }
}

fn build(
    dir: &Path,
    config: TransformerConfig,
    prompt: String,
    modules: impl FnOnce(usize) -> Result<(Vec<Module>, usize)>,
) -> Result<SentenceEncoder> {
    let tokenizer = Tokenizer::from_dir(dir)?;
    let (_, encoder, _, _) = huggingface::load(dir, DType::F32)?;
    let (tokens, rows) = (tokenizer.vocab_size(), encoder.config().vocab_size);
    if tokens > rows {
        let message = format!(
            "the tokenizer has {tokens} tokens, the encoder {rows}; are their files of the same model?"
        );
        return Err(Error::model(dir, message));
    }
    let limits = [config.max_seq_length.or(tokenizer.max_length()), encoder.max_length()];
    let (modules, width) = modules(encoder.output_size())?;
    Ok(SentenceEncoder {
        max_tokens: limits.into_iter().flatten().min(),
        lower_case: config.do_lower_case,
        tokenizer,
        encoder,
        prompt,
        modules,
        width,
    })
}

/// A module that takes vectors of `width` numbers, and the width of what it gives.
fn module(dir: &Path, entry: &Entry, width: usize, prompted: bool) -> Result<(Module, usize)> {
    let dir = under(dir, &entry.path)?;
    let file = dir.join("config.json");
    match name(entry) {
        "Pooling" => {
            let config: PoolingConfig =
                read(&file)?.ok_or_else(|| Error::model(&file, "is missing; it names the pooling"))?;
            if prompted && config.include_prompt == Some(false) {
                let message = "include_prompt false with a default prompt is not supported; set \
                               default_prompt_name to null in config_sentence_transformers.json";
                return Err(Error::model(&file, message));
            }
            let hows = poolings(&config).map_err(|message| Error::model(&file, message))?;
            let width = width * hows.len();
            Ok((Module::Pooling(hows), width))
        }
        "Dense" => dense(&dir, width),
        "Normalize" => Ok((Module::Normalize, width)),
        other => Err(Error::model(
            &dir,
            format!(
                "{MODULES}: {other} is not supported; supported are Transformer, Pooling, Dense and Normalize"
            ),
        )),
    }
}

fn poolings(config: &PoolingConfig) -> std::result::Result<Vec<Pooling>, String> {
    let names: Vec<&str> = match &config.pooling_mode {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().map(|one| one.as_str().unwrap_or_default()).collect(),
        Some(other) => return Err(format!("pooling_mode {other}: expected a name or a list of names")),
        None => {
            // In the order in which sentence-transformers concatenates, whatever the file's.
            let order = ["cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken"];
            let on = config.flags.iter().filter(|(_, value)| **value == Value::Bool(true));
            let on = on.filter_map(|(key, _)| key.strip_prefix("pooling_mode_"));
            let mut on: Vec<&str> =
                on.map(|key| key.trim_end_matches("_tokens").trim_end_matches("_token")).collect();
            on.sort_by_key(|key| order.iter().position(|known| known == key));
            on
        }
    };
    if names.is_empty() {
        return Err("names no pooling; expected one such as pooling_mode_mean_tokens = true".into());
    }
    let one = |name: &str| {
        Ok(match name {
            "cls" => Pooling::Cls,
            "max" => Pooling::Max,
            "mean" => Pooling::Mean,
            "mean_sqrt_len" | "mean_sqrt_len_tokens" => Pooling::MeanSqrtLen,
            "weightedmean" => Pooling::WeightedMean,
            "lasttoken" => Pooling::Last,
            other => {
                return Err(format!(
                    "pooling {other:?} is not supported; supported are cls, max, mean, \
                     mean_sqrt_len_tokens, weightedmean and lasttoken"
                ));
            }
        })
    };
    names.into_iter().map(one).collect()
}

fn dense(dir: &Path, width: usize) -> Result<(Module, usize)> {
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
    let weights = dir.join("model.safetensors");
    if !weights.is_file() {
        let message = "has no model.safetensors; save the model once with safe_serialization=True";
        return Err(Error::model(dir, message));
    }
    let opened = WeightFile::open(&weights)?;
    let get = |name: &str, shape: &[usize]| {
        let tensor = opened.tensor(name, DType::F32)?;
        if tensor.shape() == shape {
            return Ok(tensor);
        }
        let message = format!("{name} has shape {:?}, config.json says {shape:?}", tensor.shape());
        Err(Error::model(&weights, message))
    };
    let out = config.out_features;
    let weight = get("linear.weight", &[out, width])?;
    let bias = config.bias.then(|| get("linear.bias", &[out])).transpose()?;
    Ok((Module::Dense(Dense { weight: Weight::Trained(weight), bias, activation }), out))
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

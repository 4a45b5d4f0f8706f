//! Writing a folder that sentence-transformers opens.

use std::fs;
use std::path::Path;

use bert4rs_nn::encoder::{EncoderConfig, huggingface};
use bert4rs_tensor::io::safetensors;
use bert4rs_tensor::op::activation::Activation;
use bert4rs_tensor::{Params, Tensor};
use serde_json::{Value, json};

use super::network::DENSE;
use super::recipe::{MODULES, Step};
use super::{SentenceEncoder, pooling_file};
use crate::{Error, Result};

impl SentenceEncoder {
    /// Writes the files of encoder, tokenizer and steps into an existing folder. `params` may hold others
    /// beside the model's, with names that begin with `head`: they are not written.
    pub(crate) fn save(&self, dir: &Path, encoder: &EncoderConfig, params: &Params) -> Result<()> {
        let mut own = Params::new();
        for parameter in
            params.iter().filter(|p| !p.name().starts_with("head") && !p.name().starts_with(DENSE))
        {
            own.add(parameter.name(), &parameter.value(), parameter.kind())?;
        }
        self.tokenizer.save(dir)?;
        huggingface::save(dir, encoder, &own)?;
        let mut modules = vec![("", "Transformer")];
        let mut names: Vec<String> = Vec::new();
        let recipe = self.recipe();
        if let Some(weights) = &recipe.layers {
            let config = json!({
                "word_embedding_dimension": encoder.hidden_size, "num_hidden_layers": encoder.layers, "layer_start": 0,
            });
            names.push("1_WeightedLayerPooling".into());
            let tensor = Tensor::new(weights.iter().map(|&w| w as f32).collect(), &[weights.len()])?;
            write(dir, "1_WeightedLayerPooling", &config, &[("layer_weights".into(), tensor)])?;
            modules.push(("1_WeightedLayerPooling", "WeightedLayerPooling"));
            let path = dir.join("config.json");
            let bytes = fs::read(&path).map_err(|e| Error::file(&path, e))?;
            let mut config: Value = serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e))?;
            config["output_hidden_states"] = true.into();
            put(&path, &config)?;
        }
        let offset = modules.len();
        let mut width = encoder.hidden_size;
        let mut steps = Vec::new();
        for (i, step) in recipe.steps.iter().enumerate() {
            let kind = match step {
                Step::Pooling(_) => "Pooling",
                Step::Dense(_) => "Dense",
                Step::Normalize => "Normalize",
            };
            let name = format!("{}_{kind}", i + offset);
            match step {
                Step::Pooling(hows) => {
                    write(dir, &name, &pooling_file::write(width, hows), &[])?;
                    width *= hows.len();
                }
                Step::Dense(dense) => {
                    let tensor = |what: &str| params.get(&format!("{DENSE}{i}.{what}")).map(|p| p.value());
                    let mut tensors = Vec::new();
                    for what in ["weight", "bias"] {
                        tensors.extend(tensor(what).map(|t| (format!("linear.{what}"), t)));
                    }
                    let out = dense.weight.shape()[0];
                    let config = json!({
                        "in_features": width, "out_features": out, "bias": dense.bias.is_some(),
                        "activation_function": activation(dense.activation),
                    });
                    write(dir, &name, &config, &tensors)?;
                    width = out;
                }
                Step::Normalize => {
                    let folder = dir.join(&name);
                    fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
                }
            }
            steps.push((name, kind));
        }
        let all = modules.iter().map(|(path, kind)| (*path, *kind));
        let all = all.chain(steps.iter().map(|(name, kind)| (name.as_str(), *kind)));
        let entry = |(i, (path, kind)): (usize, (&str, &str))| json!({ "idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}") });
        put(&dir.join(MODULES), &Value::from(all.enumerate().map(entry).collect::<Vec<_>>()))?;
        let limit = json!({ "max_seq_length": self.max_tokens(), "do_lower_case": recipe.lower_case });
        put(&dir.join("sentence_bert_config.json"), &limit)?;
        let prompts = match recipe.prompt.as_str() {
            "" => json!({ "prompts": {}, "default_prompt_name": null, "similarity_fn_name": "cosine" }),
            prompt => json!({
                "prompts": { "default": prompt }, "default_prompt_name": "default", "similarity_fn_name": "cosine",
            }),
        };
        put(&dir.join("config_sentence_transformers.json"), &prompts)
    }
}

fn activation(activation: Option<Activation>) -> String {
    let name = match activation {
        None => "linear.Identity",
        Some(Activation::Tanh) => "activation.Tanh",
        Some(Activation::Relu) => "activation.ReLU",
        Some(Activation::Silu) => "activation.SiLU",
        Some(_) => "activation.GELU", // folders are read with these five only
    };
    format!("torch.nn.modules.{name}")
}

fn write(dir: &Path, name: &str, config: &Value, tensors: &[(String, Tensor)]) -> Result<()> {
    let folder = dir.join(name);
    fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
    put(&folder.join("config.json"), config)?;
    if !tensors.is_empty() {
        safetensors::save(&folder.join("model.safetensors"), tensors)?;
    }
    Ok(())
}

fn put(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::file(path, e))?;
    fs::write(path, format!("{text}\n")).map_err(|e| Error::file(path, e))
}

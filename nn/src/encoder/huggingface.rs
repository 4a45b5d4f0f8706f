//! Model folders in the layout of Hugging Face: `config.json` beside `model.safetensors`.
//!
//! Foreign names are translated here, once. An encoder that no model type there describes is kept
//! as `{"model_type": "bert4rs", "encoder": { our config }}`.

use std::path::Path;

use bert4rs_tensor::io::safetensors::write_atomic;
use bert4rs_tensor::{DType, Params, Rng};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{EmbeddingConfig, EncoderConfig};
use super::model::Encoder;
use super::parts::{Activation, FeedForward, Mixer, Norm, Position, WeightInit};
use crate::weights::{self, Allow, Checkpoint, LoadReport};
use crate::{Builder, Error, Result};

const OWN: &str = "bert4rs";
const SUPPORTED: &str = "bert, roformer and bert4rs";

/// The keys of `config.json` that we understand, with the defaults of transformers' `BertConfig`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
struct Foreign {
    model_type: String,
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    initializer_range: f64,
    layer_norm_eps: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    position_embedding_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotary_value: Option<bool>,
    /// Read only, as `use_bias`: transformers ignores both and would compute something else.
    #[serde(skip_serializing)]
    norm_type: Option<String>,
    #[serde(skip_serializing)]
    use_bias: Option<bool>,
    #[serde(skip_serializing)]
    add_cross_attention: bool,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            architectures: Vec::new(),
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            position_embedding_type: None,
            embedding_size: None,
            rotary_value: None,
            norm_type: None,
            use_bias: None,
            add_cross_attention: false,
        }
    }
}

/// The encoder that the config of a folder describes: `config.json`, or what lies beside a TensorFlow
/// checkpoint.
pub fn read_config(folder: &Path) -> Result<EncoderConfig> {
    let (path, value) = weights::config_file(folder)?;
    let fail = |message: String| Error::Checkpoint { path: path.display().to_string(), message };
    let kind = value.get("model_type").and_then(Value::as_str).unwrap_or_default().to_string();
    let config = match kind.as_str() {
        "bert" | "roformer" => serde_json::from_value(value)
            .map_err(|e| e.to_string())
            .and_then(|foreign: Foreign| ours(&foreign)),
        OWN => serde_json::from_value(value["encoder"].clone()).map_err(|e| format!("encoder: {e}")),
        "" => Err(format!("has no model_type; supported are {SUPPORTED}")),
        other => Err(format!("model_type {other} is not supported; supported are {SUPPORTED}")),
    };
    let config: EncoderConfig = config.map_err(&fail)?;
    config.validate().map_err(|e| fail(e.to_string()))?;
    Ok(config)
}

/// Reads a folder: the config, the encoder, its parameters and what was done. Heads of pre-training
/// are left out; to read them too, build them beside the encoder and use [`Checkpoint::fill`].
pub fn load(folder: &Path, dtype: DType) -> Result<(EncoderConfig, Encoder, Params, LoadReport)> {
    let config = read_config(folder)?;
    let checkpoint = Checkpoint::open(folder)?;
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let encoder = Encoder::to_be_filled(&mut Builder::new(&mut params, &mut rng, dtype), &config)?;
    let report = checkpoint.fill(&params, &Allow::default())?;
    Ok((config, encoder, params, report))
}

/// Writes `config.json` and `model.safetensors`; BERT and RoFormer then open in transformers with
/// the same hidden states. It reports as missing what it makes itself: the pooler (BERT) and the
/// table of positions (RoFormer). What it would compute otherwise keeps our own `model_type`.
pub fn save(folder: &Path, config: &EncoderConfig, params: &Params) -> Result<()> {
    write_config(folder, config)?;
    weights::save(folder, params)
}

/// Writes `config.json`.
pub fn write_config(folder: &Path, config: &EncoderConfig) -> Result<()> {
    let path = folder.join("config.json");
    let text = match theirs(config) {
        Some(foreign) => serde_json::to_string_pretty(&foreign),
        None => serde_json::to_string_pretty(&serde_json::json!({ "model_type": OWN, "encoder": config })),
    };
    let text =
        text.map_err(|e| Error::Checkpoint { path: path.display().to_string(), message: e.to_string() })?;
    Ok(write_atomic(&path, format!("{text}\n").as_bytes())?)
}

fn ours(foreign: &Foreign) -> std::result::Result<EncoderConfig, String> {
    let rotary = foreign.model_type == "roformer";
    if foreign.add_cross_attention {
        return Err("add_cross_attention: decoders are not supported".into());
    }
    match foreign.position_embedding_type.as_deref() {
        None | Some("absolute") => {}
        Some(other) => return Err(format!("position_embedding_type {other}: only absolute is supported")),
    }
    if foreign.rotary_value == Some(true) {
        return Err("rotary_value true: values that turn are not supported".into());
    }
    let norm = match foreign.norm_type.as_deref() {
        None | Some("layer_norm") => Norm::Layer { eps: foreign.layer_norm_eps },
        Some("rms_norm") => Norm::Rms { eps: foreign.layer_norm_eps, gain: false },
        Some(other) => return Err(format!("norm_type {other}: expected layer_norm or rms_norm")),
    };
    let position = if rotary {
        Position::rotary()
    } else {
        Position::Learned { max_positions: foreign.max_position_embeddings }
    };
    Ok(EncoderConfig {
        vocab_size: foreign.vocab_size,
        hidden_size: foreign.hidden_size,
        layers: foreign.num_hidden_layers,
        bias: foreign.use_bias.unwrap_or(true),
        dropout: foreign.hidden_dropout_prob,
        norm,
        init: WeightInit::Normal { deviation: foreign.initializer_range },
        embedding: EmbeddingConfig {
            size: foreign.embedding_size.filter(|size| *size != foreign.hidden_size),
            segments: foreign.type_vocab_size,
            dropout: foreign.hidden_dropout_prob,
            ..EmbeddingConfig::default()
        },
        position,
        mixer: Mixer::Attention {
            heads: foreign.num_attention_heads,
            key_size: None,
            dropout: foreign.attention_probs_dropout_prob,
        },
        feed_forward: FeedForward::Dense {
            size: foreign.intermediate_size,
            activation: activation(&foreign.hidden_act)?,
        },
        ..EncoderConfig::default()
    })
}

/// The config in foreign words, if they describe the same encoder.
fn theirs(config: &EncoderConfig) -> Option<Foreign> {
    let Mixer::Attention { heads, dropout, .. } = config.mixer else { return None };
    let FeedForward::Dense { size, activation } = config.feed_forward else { return None };
    let WeightInit::Normal { deviation } = config.init else { return None };
    if config.embedding.segments == 0 {
        return None; // there, every model looks a segment up
    }
    let (model_type, model, max_positions) = match config.position {
        Position::Learned { max_positions } => ("bert", "BertModel", max_positions),
        Position::Rotary { .. } => ("roformer", "RoFormerModel", 1536), // transformers' default table
        Position::None => return None,
    };
    let Norm::Layer { eps: layer_norm_eps } = config.norm else { return None };
    let foreign = Foreign {
        model_type: model_type.into(),
        architectures: vec![model.into()],
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        num_hidden_layers: config.layers,
        num_attention_heads: heads,
        intermediate_size: size,
        hidden_act: activation_name(activation).into(),
        hidden_dropout_prob: config.dropout,
        attention_probs_dropout_prob: dropout,
        max_position_embeddings: max_positions,
        type_vocab_size: config.embedding.segments,
        initializer_range: deviation,
        layer_norm_eps,
        embedding_size: (model_type == "roformer").then(|| config.embedding_size()),
        ..Foreign::default()
    };
    // Whatever the foreign keys cannot say must not be lost: then the round trip differs.
    let mut said = config.clone();
    if said.embedding.token_dropout == 0.0 {
        said.embedding.unk_id = EmbeddingConfig::default().unk_id; // not used
    }
    said.embedding.size = said.embedding.size.filter(|size| *size != said.hidden_size);
    (ours(&foreign).as_ref() == Ok(&said)).then_some(foreign)
}

fn activation(name: &str) -> std::result::Result<Activation, String> {
    Ok(match name {
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        other => return Err(format!("hidden_act {other}: expected gelu, gelu_new, relu, silu or tanh")),
    })
}

fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Relu => "relu",
        Activation::Silu => "silu",
        Activation::Tanh => "tanh",
    }
}

//! GAU-alpha, in the keys of its published PyTorch files.

use serde::{Deserialize, Serialize};

use crate::encoder::{EmbeddingConfig, EncoderConfig, GatedWeights, Mixer, Norm, gau_alpha};

type Read<T> = std::result::Result<T, String>;

/// The model type read here.
pub(super) const KIND: &str = "gau_alpha";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Foreign {
    model_type: String,
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    embedding_size: Option<usize>,
    intermediate_size: usize,
    num_hidden_layers: usize,
    attention_key_size: usize,
    attention_scale: bool,
    hidden_act: String,
    normalization: String,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
    layer_norm_eps: f64,
    type_vocab_size: usize,
    use_bias: bool,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            model_type: KIND.into(),
            architectures: vec!["GAUAlphaModel".into()],
            vocab_size: 12_000,
            hidden_size: 768,
            embedding_size: None,
            intermediate_size: 1536,
            num_hidden_layers: 24,
            attention_key_size: 128,
            attention_scale: true,
            hidden_act: "swish".into(),
            normalization: "softmax_plus".into(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            layer_norm_eps: 1e-12,
            type_vocab_size: 2,
            use_bias: false,
        }
    }
}

pub(super) fn ours(foreign: &Foreign) -> Read<EncoderConfig> {
    if !matches!(foreign.hidden_act.as_str(), "swish" | "silu") {
        return Err(format!("hidden_act {}: gated attention units have swish", foreign.hidden_act));
    }
    if !foreign.attention_scale {
        return Err("attention_scale false: scores without scale are not supported".into());
    }
    let weights = match foreign.normalization.as_str() {
        "softmax_plus" => GatedWeights::SoftmaxPlus,
        "softmax" => GatedWeights::Softmax,
        "squared_relu" => GatedWeights::SquaredRelu,
        other => {
            return Err(format!("normalization {other}: expected softmax_plus, softmax or squared_relu"));
        }
    };
    Ok(EncoderConfig {
        vocab_size: foreign.vocab_size,
        hidden_size: foreign.hidden_size,
        layers: foreign.num_hidden_layers,
        bias: foreign.use_bias,
        dropout: foreign.hidden_dropout_prob,
        norm: Norm::Rms { eps: foreign.layer_norm_eps, gain: false },
        embedding: EmbeddingConfig {
            size: foreign.embedding_size.filter(|size| *size != foreign.hidden_size),
            segments: foreign.type_vocab_size,
            dropout: foreign.hidden_dropout_prob,
            ..EmbeddingConfig::default()
        },
        mixer: Mixer::GatedAttention {
            size: foreign.intermediate_size,
            key_size: foreign.attention_key_size,
            weights,
            chunk: None,
            dropout: foreign.attention_probs_dropout_prob,
        },
        ..gau_alpha()
    })
}

/// The config in these keys, if they describe the same encoder.
pub(super) fn theirs(config: &EncoderConfig) -> Option<Foreign> {
    let Mixer::GatedAttention { size, key_size, weights, dropout, .. } = config.mixer else { return None };
    let Norm::Rms { eps: layer_norm_eps, .. } = config.norm else { return None };
    let normalization = match weights {
        GatedWeights::SoftmaxPlus => "softmax_plus",
        GatedWeights::Softmax => "softmax",
        GatedWeights::SquaredRelu => "squared_relu",
        GatedWeights::SquaredReluFixed { .. } | GatedWeights::SquaredReluSum => return None,
    };
    let foreign = Foreign {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        embedding_size: Some(config.embedding_size()),
        intermediate_size: size,
        num_hidden_layers: config.layers,
        attention_key_size: key_size,
        normalization: normalization.into(),
        hidden_dropout_prob: config.dropout,
        attention_probs_dropout_prob: dropout,
        layer_norm_eps,
        type_vocab_size: config.embedding.segments,
        use_bias: config.bias,
        ..Foreign::default()
    };
    // What these keys cannot say must not be lost: then the round trip differs.
    let mut said = config.clone();
    if said.embedding.token_dropout == 0.0 {
        said.embedding.unk_id = EmbeddingConfig::default().unk_id; // not used
    }
    (ours(&foreign).as_ref() == Ok(&said)).then_some(foreign)
}

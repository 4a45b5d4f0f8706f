//! The encoder of T5 and mT5, in the keys of their `config.json`.

use serde::Deserialize;

use super::bert::activation;
use crate::block::attention::AttentionScale;
use crate::encoder::{
    AttentionConfig, EmbeddingConfig, EncoderConfig, FeedForward, Mixer, Norm, Position, t5,
};

type Read<T> = std::result::Result<T, String>;

/// The model types read here.
pub(super) const KINDS: [&str; 3] = ["t5", "mt5", "umt5"];

#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Foreign {
    model_type: String,
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    dropout_rate: f64,
    layer_norm_epsilon: f64,
    feed_forward_proj: String,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            vocab_size: 32_128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".into(),
        }
    }
}

pub(super) fn ours(foreign: &Foreign) -> Read<EncoderConfig> {
    if foreign.model_type == "umt5" {
        return Err("umt5: a bias for each layer is not supported".into());
    }
    let size = foreign.d_ff;
    let feed_forward = match foreign.feed_forward_proj.as_str() {
        // Files of T5 1.1 say gelu and mean its approximation by tanh.
        "gated-gelu" => FeedForward::Gated { size, activation: activation("gelu_new")? },
        other => match other.strip_prefix("gated-") {
            Some(name) => FeedForward::Gated { size, activation: activation(name)? },
            None => FeedForward::Dense { size, activation: activation(other)? },
        },
    };
    Ok(EncoderConfig {
        vocab_size: foreign.vocab_size,
        hidden_size: foreign.d_model,
        layers: foreign.num_layers,
        dropout: foreign.dropout_rate,
        norm: Norm::Rms { eps: foreign.layer_norm_epsilon, gain: true },
        embedding: EmbeddingConfig {
            segments: 0,
            norm: false,
            dropout: foreign.dropout_rate,
            ..EmbeddingConfig::default()
        },
        position: Position::Buckets {
            buckets: foreign.relative_attention_num_buckets,
            max_distance: foreign.relative_attention_max_distance,
            both_ways: true,
        },
        mixer: Mixer::Attention(AttentionConfig {
            head_size: Some(foreign.d_kv),
            scale: AttentionScale::None,
            ..AttentionConfig::plain(foreign.num_heads, foreign.dropout_rate)
        }),
        feed_forward,
        ..t5()
    })
}

//! ModernBERT, in the keys of its `config.json`.

use serde::Deserialize;

use super::bert::activation;
use crate::encoder::{
    AttentionConfig, EmbeddingConfig, EncoderConfig, FeedForward, LocalAttention, Mixer, Norm, Position,
    WeightInit, modernbert,
};

type Read<T> = std::result::Result<T, String>;

/// The model type read here.
pub(super) const KIND: &str = "modernbert";

#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Foreign {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_activation: String,
    initializer_range: f64,
    norm_eps: f64,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    attention_dropout: f64,
    embedding_dropout: f64,
    mlp_dropout: f64,
    global_attn_every_n_layers: usize,
    local_attention: usize,
    global_rope_theta: f64,
    local_rope_theta: f64,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            vocab_size: 50_368,
            hidden_size: 768,
            intermediate_size: 1152,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            hidden_activation: "gelu".into(),
            initializer_range: 0.02,
            norm_eps: 1e-5,
            norm_bias: false,
            attention_bias: false,
            mlp_bias: false,
            attention_dropout: 0.0,
            embedding_dropout: 0.0,
            mlp_dropout: 0.0,
            global_attn_every_n_layers: 3,
            local_attention: 128,
            global_rope_theta: 160_000.0,
            local_rope_theta: 10_000.0,
        }
    }
}

pub(super) fn ours(foreign: &Foreign) -> Read<EncoderConfig> {
    if foreign.attention_bias || foreign.mlp_bias || foreign.norm_bias {
        return Err(
            "attention_bias, mlp_bias or norm_bias true: ModernBERT has none, others are not read".into()
        );
    }
    if foreign.mlp_dropout != 0.0 {
        return Err("mlp_dropout: dropout between gates is not supported".into());
    }
    let local = LocalAttention {
        radius: foreign.local_attention / 2,
        global_every: foreign.global_attn_every_n_layers,
        theta: Some(foreign.local_rope_theta),
    };
    Ok(EncoderConfig {
        vocab_size: foreign.vocab_size,
        hidden_size: foreign.hidden_size,
        layers: foreign.num_hidden_layers,
        norm: Norm::Layer { eps: foreign.norm_eps, gain: true },
        init: WeightInit::Normal { deviation: foreign.initializer_range },
        embedding: EmbeddingConfig {
            segments: 0,
            dropout: foreign.embedding_dropout,
            norm_is_first: true,
            ..EmbeddingConfig::default()
        },
        position: Position::rotary_half(foreign.global_rope_theta),
        mixer: Mixer::Attention(AttentionConfig {
            local: Some(local),
            ..AttentionConfig::plain(foreign.num_attention_heads, foreign.attention_dropout)
        }),
        feed_forward: FeedForward::Gated {
            size: foreign.intermediate_size,
            activation: activation(&foreign.hidden_activation)?,
        },
        ..modernbert()
    })
}

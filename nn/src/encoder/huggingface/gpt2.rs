//! GPT-2, in the keys of its `config.json`.

use serde::{Deserialize, Serialize};

use super::bert::{activation, activation_name};
use crate::encoder::{
    AttentionConfig, EmbeddingConfig, EncoderConfig, FeedForward, Mixer, Norm, Position, WeightInit, gpt2,
};

type Read<T> = std::result::Result<T, String>;

/// The model type read here.
pub(super) const KIND: &str = "gpt2";

#[derive(Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Foreign {
    model_type: String,
    architectures: Vec<String>,
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: String,
    resid_pdrop: f64,
    embd_pdrop: f64,
    attn_pdrop: f64,
    layer_norm_epsilon: f64,
    initializer_range: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    add_cross_attention: bool,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            model_type: KIND.into(),
            architectures: vec!["GPT2Model".into()],
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".into(),
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
        }
    }
}

pub(super) fn ours(foreign: &Foreign) -> Read<EncoderConfig> {
    if !foreign.scale_attn_weights || foreign.scale_attn_by_inverse_layer_idx || foreign.add_cross_attention {
        return Err(
            "scale_attn_weights false, scale_attn_by_inverse_layer_idx and add_cross_attention are not \
                    supported"
                .into(),
        );
    }
    Ok(EncoderConfig {
        vocab_size: foreign.vocab_size,
        hidden_size: foreign.n_embd,
        layers: foreign.n_layer,
        dropout: foreign.resid_pdrop,
        norm: Norm::Layer { eps: foreign.layer_norm_epsilon, gain: true },
        init: WeightInit::Normal { deviation: foreign.initializer_range },
        embedding: EmbeddingConfig {
            segments: 0,
            norm: false,
            dropout: foreign.embd_pdrop,
            ..EmbeddingConfig::default()
        },
        position: Position::Learned { max_positions: foreign.n_positions, first: 0 },
        mixer: Mixer::Attention(AttentionConfig::plain(foreign.n_head, foreign.attn_pdrop)),
        feed_forward: FeedForward::Dense {
            size: foreign.n_inner.unwrap_or(4 * foreign.n_embd),
            activation: activation(&foreign.activation_function)?,
        },
        ..gpt2()
    })
}

/// The config in foreign words, if they describe the same encoder.
pub(super) fn theirs(config: &EncoderConfig) -> Option<Foreign> {
    let Position::Learned { max_positions, .. } = config.position else { return None };
    let Mixer::Attention(AttentionConfig { heads, dropout, .. }) = config.mixer else { return None };
    let FeedForward::Dense { size, activation } = config.feed_forward else { return None };
    let WeightInit::Normal { deviation } = config.init else { return None };
    let Norm::Layer { eps, .. } = config.norm else { return None };
    let foreign = Foreign {
        vocab_size: config.vocab_size,
        n_positions: max_positions,
        n_embd: config.hidden_size,
        n_layer: config.layers,
        n_head: heads,
        n_inner: Some(size),
        activation_function: activation_name(activation).into(),
        resid_pdrop: config.dropout,
        embd_pdrop: config.embedding.dropout,
        attn_pdrop: dropout,
        layer_norm_epsilon: eps,
        initializer_range: deviation,
        ..Foreign::default()
    };
    super::says(ours(&foreign), config).then_some(foreign)
}

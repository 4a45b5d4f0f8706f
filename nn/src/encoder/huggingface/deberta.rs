//! DeBERTa of the second and third version, in the keys of its `config.json`.

use serde::{Deserialize, Serialize};

use super::bert::{activation, activation_name};
use crate::encoder::{
    AttentionConfig, EmbeddingConfig, EncoderConfig, FeedForward, Mixer, Norm, Position, WeightInit,
    deberta_v2,
};

type Read<T> = std::result::Result<T, String>;

/// The model type read here.
pub(super) const KIND: &str = "deberta-v2";

#[derive(Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Foreign {
    model_type: String,
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_size: Option<usize>,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
    max_position_embeddings: usize,
    max_relative_positions: i64,
    type_vocab_size: usize,
    initializer_range: f64,
    layer_norm_eps: f64,
    relative_attention: bool,
    position_buckets: i64,
    position_biased_input: bool,
    share_att_key: bool,
    norm_rel_ebd: String,
    pos_att_type: PositionTypes,
    conv_kernel_size: usize,
}

/// Listed, or joined by bars.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PositionTypes {
    List(Vec<String>),
    Text(String),
}

impl PositionTypes {
    fn has_both(&self) -> bool {
        let has = |name: &str| match self {
            PositionTypes::List(list) => list.iter().any(|kind| kind == name),
            PositionTypes::Text(text) => text.split('|').any(|kind| kind.trim() == name),
        };
        has("c2p") && has("p2c")
    }
}

impl Default for Foreign {
    /// What transformers takes where a file says nothing.
    fn default() -> Self {
        Self {
            model_type: KIND.into(),
            architectures: vec!["DebertaV2Model".into()],
            vocab_size: 128_100,
            hidden_size: 1536,
            embedding_size: None,
            num_hidden_layers: 24,
            num_attention_heads: 24,
            intermediate_size: 6144,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            max_relative_positions: -1,
            type_vocab_size: 0,
            initializer_range: 0.02,
            layer_norm_eps: 1e-7,
            relative_attention: false,
            position_buckets: -1,
            position_biased_input: true,
            share_att_key: false,
            norm_rel_ebd: "none".into(),
            pos_att_type: PositionTypes::List(Vec::new()),
            conv_kernel_size: 0,
        }
    }
}

pub(super) fn ours(foreign: &Foreign) -> Read<EncoderConfig> {
    let supported = [
        (foreign.relative_attention, "relative_attention true"),
        (foreign.share_att_key, "share_att_key true"),
        (foreign.norm_rel_ebd == "layer_norm", "norm_rel_ebd layer_norm"),
        (foreign.pos_att_type.has_both(), "pos_att_type p2c and c2p"),
        (!foreign.position_biased_input, "position_biased_input false"),
        (foreign.conv_kernel_size == 0, "conv_kernel_size 0"),
    ];
    if let Some((_, wanted)) = supported.iter().find(|(is, _)| !is) {
        return Err(format!("only {wanted} is supported, as in DeBERTa-v3"));
    }
    let longest = usize::try_from(foreign.max_relative_positions).ok().filter(|&n| n > 0);
    let buckets = usize::try_from(foreign.position_buckets).ok().filter(|&n| n > 0);
    let Some(buckets) = buckets else {
        return Err("position_buckets: distances without buckets are not supported".into());
    };
    Ok(EncoderConfig {
        vocab_size: foreign.vocab_size,
        hidden_size: foreign.hidden_size,
        layers: foreign.num_hidden_layers,
        dropout: foreign.hidden_dropout_prob,
        norm: Norm::Layer { eps: foreign.layer_norm_eps, gain: true },
        init: WeightInit::Normal { deviation: foreign.initializer_range },
        embedding: EmbeddingConfig {
            size: foreign.embedding_size.filter(|size| *size != foreign.hidden_size),
            segments: foreign.type_vocab_size,
            dropout: foreign.hidden_dropout_prob,
            ..EmbeddingConfig::default()
        },
        position: Position::Disentangled {
            buckets,
            max_positions: longest.unwrap_or(foreign.max_position_embeddings),
        },
        mixer: Mixer::Attention(AttentionConfig::plain(
            foreign.num_attention_heads,
            foreign.attention_probs_dropout_prob,
        )),
        feed_forward: FeedForward::Dense {
            size: foreign.intermediate_size,
            activation: activation(&foreign.hidden_act)?,
        },
        ..deberta_v2()
    })
}

/// The config in foreign words, if they describe the same encoder.
pub(super) fn theirs(config: &EncoderConfig) -> Option<Foreign> {
    let Position::Disentangled { buckets, max_positions } = config.position else { return None };
    let Mixer::Attention(AttentionConfig { heads, dropout, .. }) = config.mixer else { return None };
    let FeedForward::Dense { size, activation } = config.feed_forward else { return None };
    let WeightInit::Normal { deviation } = config.init else { return None };
    let Norm::Layer { eps: layer_norm_eps, .. } = config.norm else { return None };
    let foreign = Foreign {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        embedding_size: config.embedding.size,
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
        relative_attention: true,
        position_buckets: buckets as i64,
        position_biased_input: false,
        share_att_key: true,
        norm_rel_ebd: "layer_norm".into(),
        pos_att_type: PositionTypes::List(vec!["p2c".into(), "c2p".into()]),
        ..Foreign::default()
    };
    super::says(ours(&foreign), config).then_some(foreign)
}

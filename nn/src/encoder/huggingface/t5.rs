//! T5 and mT5, in the keys of their `config.json`: the encoder, and both halves.

use serde::{Deserialize, Serialize};

use super::bert::{activation, activation_name};
use crate::block::attention::AttentionScale;
use crate::decoder::EncoderDecoderConfig;
use crate::encoder::{
    Activation, AttentionConfig, EmbeddingConfig, EncoderConfig, FeedForward, Mixer, Norm, Position, t5,
};
use crate::weights::Layout;

type Read<T> = std::result::Result<T, String>;

/// The model types read here.
pub(super) const KINDS: [&str; 3] = ["t5", "mt5", "umt5"];

#[derive(Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Foreign {
    model_type: String,
    architectures: Vec<String>,
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_decoder_layers: Option<usize>,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    dropout_rate: f64,
    layer_norm_epsilon: f64,
    feed_forward_proj: String,
    is_encoder_decoder: bool,
    decoder_start_token_id: usize,
    eos_token_id: usize,
    /// Older files say by it whether hidden states are scaled before they are scored; what is tied, the
    /// weights tell.
    tie_word_embeddings: bool,
    /// Newer ones say it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    scale_decoder_outputs: Option<bool>,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            model_type: "t5".into(),
            architectures: vec!["T5EncoderModel".into()],
            vocab_size: 32_128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".into(),
            is_encoder_decoder: true,
            decoder_start_token_id: 0,
            eos_token_id: 1,
            tie_word_embeddings: true,
            scale_decoder_outputs: None,
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
            head_size: Some(foreign.d_kv).filter(|size| size * foreign.num_heads != foreign.d_model),
            scale: AttentionScale::None,
            ..AttentionConfig::plain(foreign.num_heads, foreign.dropout_rate)
        }),
        feed_forward,
        ..t5()
    })
}

/// Both halves; `tied` where the file has no table of its own for scores.
pub(super) fn both(foreign: &Foreign, tied: bool) -> Read<EncoderDecoderConfig> {
    let encoder = ours(foreign)?;
    let mut config = EncoderDecoderConfig::t5(encoder);
    config.decoder.layers = foreign.num_decoder_layers.unwrap_or(foreign.num_layers);
    // transformers 5 scales in T5 only.
    let scaled = match foreign.scale_decoder_outputs {
        Some(scaled) => scaled,
        None => foreign.model_type == "t5" && foreign.tie_word_embeddings,
    };
    config.tied = tied;
    if !scaled {
        config.output_scale = 1.0;
    }
    (config.start_id, config.end_id) = (foreign.decoder_start_token_id, foreign.eos_token_id);
    Ok(config)
}

/// The encoder in foreign words, if they describe the same.
pub(super) fn theirs(config: &EncoderConfig) -> Option<(Foreign, Layout)> {
    let foreign = Foreign { is_encoder_decoder: false, ..words(config)? };
    super::says(ours(&foreign), config).then_some((foreign, layout(config)))
}

/// Both halves in foreign words, if they describe the same.
pub(super) fn both_theirs(config: &EncoderDecoderConfig) -> Option<(Foreign, Layout)> {
    let scaled = config.output_scale != 1.0;
    // Readers of mT5 never scale, those of T5 do by what is tied or by a key of their own.
    let (model_type, model) = match (config.tied, scaled) {
        (true, false) => ("mt5", "MT5ForConditionalGeneration"),
        (true, true) | (false, false) => ("t5", "T5ForConditionalGeneration"),
        (false, true) => return None,
    };
    let foreign = Foreign {
        model_type: model_type.into(),
        architectures: vec![model.into()],
        num_decoder_layers: Some(config.decoder.layers),
        decoder_start_token_id: config.start_id,
        eos_token_id: config.end_id,
        tie_word_embeddings: config.tied,
        scale_decoder_outputs: (model_type == "t5").then_some(scaled),
        ..words(&config.encoder)?
    };
    let [encoder, decoder] = [&config.encoder, &config.decoder].map(super::plain);
    let same = both(&foreign, config.tied) == Ok(EncoderDecoderConfig { encoder, decoder, ..config.clone() });
    same.then(|| (foreign, layout(&config.encoder)))
}

fn words(config: &EncoderConfig) -> Option<Foreign> {
    let Position::Buckets { buckets, max_distance, .. } = config.position else { return None };
    let Mixer::Attention(attention) = &config.mixer else { return None };
    let Norm::Rms { eps, .. } = config.norm else { return None };
    let (size, feed_forward_proj) = match config.feed_forward {
        FeedForward::Dense { size, activation } => (size, activation_name(activation).to_string()),
        FeedForward::Gated { size, activation: Activation::GeluTanh } => (size, "gated-gelu".into()),
        FeedForward::Gated { size, activation } => (size, format!("gated-{}", activation_name(activation))),
        FeedForward::None => return None,
    };
    Some(Foreign {
        vocab_size: config.vocab_size,
        d_model: config.hidden_size,
        d_kv: attention.sizes(config.hidden_size)[1],
        d_ff: size,
        num_layers: config.layers,
        num_heads: attention.heads,
        relative_attention_num_buckets: buckets,
        relative_attention_max_distance: max_distance,
        dropout_rate: config.dropout,
        layer_norm_epsilon: eps,
        feed_forward_proj,
        ..Foreign::default()
    })
}

fn layout(config: &EncoderConfig) -> Layout {
    match config.feed_forward {
        FeedForward::Gated { .. } => Layout::T5Gated,
        FeedForward::Dense { .. } | FeedForward::None => Layout::T5,
    }
}

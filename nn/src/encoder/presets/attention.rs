//! BERT and its relatives.

use super::super::attention::{AttentionConfig, LocalAttention, ResidualScores};
use super::super::config::{EmbeddingConfig, EncoderConfig};
use super::super::parts::{Activation, FeedForward, Mixer, Position, Sharing, TextMask};
use super::super::weight_init::WeightInit;
use super::super::wiring::{Norm, Wiring};
use super::Preset;
use crate::block::attention::AttentionScale;

/// By name.
pub(super) const PRESETS: &[(&str, Preset)] = &[
    ("bert", bert),
    ("bert_large", bert_large),
    ("roberta", roberta),
    ("electra", electra),
    ("albert", albert),
    ("albert_unshared", albert_unshared),
    ("roformer", roformer),
    ("roformer_small", roformer_small),
    ("roformer_v2", roformer_v2),
    ("simbert", simbert),
    ("roformer_sim", roformer_sim),
    ("nezha", nezha),
    ("realformer", realformer),
    ("deberta_v2", deberta_v2),
    ("modernbert", modernbert),
    ("gpt2", gpt2),
    ("t5", t5),
    ("mt5", mt5),
];

/// BERT base.
pub fn bert() -> EncoderConfig {
    EncoderConfig::default()
}

/// BERT large.
pub fn bert_large() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 1024,
        layers: 24,
        mixer: Mixer::Attention(AttentionConfig::plain(16, 0.1)),
        feed_forward: FeedForward::Dense { size: 4096, activation: Activation::Gelu },
        ..bert()
    }
}

/// RoBERTa base: one segment, and positions that count from the row after the padding's.
pub fn roberta() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 50_265,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        embedding: EmbeddingConfig { segments: 1, unk_id: 3, ..EmbeddingConfig::default() },
        position: Position::Learned { max_positions: 514, first: 2 },
        ..bert()
    }
}

/// ELECTRA small, its discriminator: BERT with narrow tables.
pub fn electra() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 256,
        embedding: EmbeddingConfig { size: Some(128), ..EmbeddingConfig::default() },
        mixer: Mixer::Attention(AttentionConfig::plain(4, 0.1)),
        feed_forward: FeedForward::Dense { size: 1024, activation: Activation::Gelu },
        ..bert()
    }
}

/// ALBERT base: one layer's parameters for all, narrow tables, no dropout.
pub fn albert() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 30_000,
        sharing: Sharing::AllLayers,
        dropout: 0.0,
        embedding: EmbeddingConfig { size: Some(128), dropout: 0.0, ..EmbeddingConfig::default() },
        mixer: Mixer::Attention(AttentionConfig::plain(12, 0.0)),
        feed_forward: FeedForward::Dense { size: 3072, activation: Activation::GeluTanh },
        ..bert()
    }
}

/// ALBERT with parameters for every layer, which all start as the one of a loaded file.
pub fn albert_unshared() -> EncoderConfig {
    EncoderConfig { sharing: Sharing::None, ..albert() }
}

/// RoFormer base: BERT with rotary positions instead of a position table.
pub fn roformer() -> EncoderConfig {
    EncoderConfig { vocab_size: 50_000, position: Position::rotary(), ..bert() }
}

/// A RoFormer that a laptop trains from nothing: 4 layers of width 256.
pub fn roformer_small() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 256,
        layers: 4,
        mixer: Mixer::Attention(AttentionConfig::plain(4, 0.1)),
        feed_forward: FeedForward::Dense { size: 1024, activation: Activation::Gelu },
        ..roformer()
    }
}

/// RealFormer: BERT whose layers add up their scores.
pub fn realformer() -> EncoderConfig {
    let attention =
        AttentionConfig { residual_scores: ResidualScores::RunningSum, ..AttentionConfig::default() };
    EncoderConfig { mixer: Mixer::Attention(attention), ..bert() }
}

/// NEZHA base: BERT with fixed vectors of distances in place of a position table.
pub fn nezha() -> EncoderConfig {
    EncoderConfig { vocab_size: 21_128, position: Position::RelativeKeys { max_distance: 64 }, ..bert() }
}

/// RoFormerV2 base: no biases, norms without parameters, small starts.
pub fn roformer_v2() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 12_000,
        bias: false,
        norm: Norm::Rms { eps: 1e-7, gain: false },
        init: WeightInit::DepthScaled { order: 2.0 },
        ..roformer()
    }
}

/// SimBERT base: BERT for Chinese, trained with the mask of UniLM.
pub fn simbert() -> EncoderConfig {
    EncoderConfig { vocab_size: 13_685, ..bert() }
}

/// RoFormer-Sim base: SimBERT with rotary positions.
pub fn roformer_sim() -> EncoderConfig {
    EncoderConfig { vocab_size: 12_000, ..roformer() }
}

/// DeBERTa-v3 base: contents and distances scored apart.
pub fn deberta_v2() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 128_100,
        norm: Norm::Layer { eps: 1e-7, gain: true },
        embedding: EmbeddingConfig { segments: 0, ..EmbeddingConfig::default() },
        position: Position::Disentangled { buckets: 256, max_positions: 512 },
        ..bert()
    }
}

/// ModernBERT base: norms before parts, gates, two layers of three see a window only.
pub fn modernbert() -> EncoderConfig {
    let local = Some(LocalAttention { radius: 64, global_every: 3, theta: Some(10_000.0) });
    EncoderConfig {
        vocab_size: 50_368,
        layers: 22,
        bias: false,
        dropout: 0.0,
        wiring: Wiring::PreNorm,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        embedding: EmbeddingConfig {
            segments: 0,
            dropout: 0.0,
            norm_is_first: true,
            ..EmbeddingConfig::default()
        },
        position: Position::rotary_half(160_000.0),
        mixer: Mixer::Attention(AttentionConfig { local, ..AttentionConfig::plain(12, 0.0) }),
        feed_forward: FeedForward::Gated { size: 1152, activation: Activation::Gelu },
        ..bert()
    }
}

/// GPT-2 small: norms before parts, and every token sees those before it.
pub fn gpt2() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 50_257,
        wiring: Wiring::PreNorm,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        embedding: EmbeddingConfig { segments: 0, norm: false, ..EmbeddingConfig::default() },
        position: Position::Learned { max_positions: 1024, first: 0 },
        feed_forward: FeedForward::Dense { size: 3072, activation: Activation::GeluTanh },
        mask: TextMask::Causal,
        ..bert()
    }
}

/// The encoder of T5 base.
pub fn t5() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 32_128,
        bias: false,
        wiring: Wiring::T5,
        norm: Norm::Rms { eps: 1e-6, gain: true },
        init: WeightInit::T5,
        embedding: EmbeddingConfig { segments: 0, norm: false, ..EmbeddingConfig::default() },
        position: Position::Buckets { buckets: 32, max_distance: 128, both_ways: true },
        mixer: Mixer::Attention(AttentionConfig {
            scale: AttentionScale::None,
            ..AttentionConfig::default()
        }),
        feed_forward: FeedForward::Dense { size: 3072, activation: Activation::Relu },
        ..bert()
    }
}

/// The encoder of mT5 base: gates, and a large vocabulary.
pub fn mt5() -> EncoderConfig {
    let feed_forward = FeedForward::Gated { size: 2048, activation: Activation::GeluTanh };
    EncoderConfig { vocab_size: 250_112, feed_forward, ..t5() }
}

//! Encoders whose tokens meet by other means than attention of several heads.

use super::super::config::{EmbeddingConfig, EncoderConfig};
use super::super::parts::{DropoutMask, FeedForward, Mixer, Position};
use super::super::weight_init::WeightInit;
use super::super::wiring::{Norm, Wiring};
use super::Preset;
use super::attention::bert;

/// By name.
pub(super) const PRESETS: &[(&str, Preset)] = &[
    ("gau_alpha", gau_alpha),
    ("fnet", fnet),
    ("gmlp", gmlp),
    ("mlp_mixer", mlp_mixer),
    ("lstm", lstm),
    ("gru", gru),
    ("dgcnn", dgcnn),
];

/// GAU-alpha base: 24 gated attention units, no biases, norms without parameters.
pub fn gau_alpha() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 12_000,
        layers: 24,
        bias: false,
        norm: Norm::Rms { eps: 1e-7, gain: false },
        init: WeightInit::DepthScaled { order: 3.0 },
        position: Position::rotary(),
        mixer: Mixer::gated_attention(1536, 128),
        feed_forward: FeedForward::None,
        ..bert()
    }
}

/// FNet base: BERT with the Fourier transform in place of attention.
pub fn fnet() -> EncoderConfig {
    EncoderConfig { vocab_size: 32_000, mixer: Mixer::Fourier, ..bert() }
}

/// gMLP base for text: gated blocks that mix positions by learned weights, no position table.
pub fn gmlp() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 512,
        layers: 48,
        wiring: Wiring::PreNorm,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        position: Position::None,
        mixer: Mixer::SpatialGate { size: 3072, max_length: 512, attention: None },
        feed_forward: FeedForward::None,
        ..bert()
    }
}

/// MLP-Mixer base: products over positions, then over channels.
pub fn mlp_mixer() -> EncoderConfig {
    EncoderConfig {
        wiring: Wiring::PreNorm,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        position: Position::None,
        mixer: Mixer::MlpMixer { size: 384, max_length: 512 },
        ..bert()
    }
}

/// One bidirectional GRU in place of the LSTM.
pub fn gru() -> EncoderConfig {
    EncoderConfig { mixer: Mixer::Gru { bidirectional: true }, ..lstm() }
}

/// One bidirectional LSTM, 256 per direction, with variational dropout: tagging from little text.
pub fn lstm() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 512,
        layers: 1,
        dropout: 0.5,
        dropout_mask: DropoutMask::Sequence,
        mixer: Mixer::Lstm { bidirectional: true },
        embedding: EmbeddingConfig { size: Some(256), dropout: 0.5, ..plain_embedding() },
        ..recurrent()
    }
}

/// Twelve dilated gated convolutions: Su's reading-comprehension DGCNN, 2018.
pub fn dgcnn() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 256,
        layers: 12,
        dropout: 0.1,
        mixer: Mixer::DilatedGatedConvolution {
            window: 3,
            dilations: vec![1, 2, 5, 1, 2, 5, 1, 2, 5, 1, 1, 1],
        },
        ..recurrent()
    }
}

/// What models of words in order share: no norms, no residuals, no feed-forward parts.
fn recurrent() -> EncoderConfig {
    EncoderConfig {
        wiring: Wiring::Stack,
        norm: Norm::None,
        init: WeightInit::Xavier,
        embedding: plain_embedding(),
        position: Position::None,
        feed_forward: FeedForward::None,
        ..bert()
    }
}

fn plain_embedding() -> EmbeddingConfig {
    EmbeddingConfig { segments: 0, ..EmbeddingConfig::default() }
}

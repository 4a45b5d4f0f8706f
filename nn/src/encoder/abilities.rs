//! What an architecture can take: lengths, masks; and what its mixer brings with it.

use bert4rs_tensor::op::attention::Mask;

use super::attention::{AttentionConfig, ResidualScores};
use super::config::EncoderConfig;
use super::parts::{Mixer, Position};
use super::wiring::Norm;
use crate::{Error, Result};

/// The masks that a mixer can follow.
enum Masks {
    /// Any.
    All,
    /// Everything, or what is before.
    FullAndCausal,
    /// It sees the whole text, whatever is asked for; the name says which.
    Full(&'static str),
}

impl EncoderConfig {
    /// The longest texts in tokens, each with what sets the limit.
    pub(crate) fn limits(&self) -> Vec<(usize, &'static str)> {
        let position = match self.position {
            Position::Learned { max_positions, first } => Some((max_positions - first, "the position table")),
            Position::None
            | Position::Rotary { .. }
            | Position::Sinusoidal
            | Position::RelativeKeys { .. }
            | Position::Buckets { .. }
            | Position::Disentangled { .. }
            | Position::Alibi => None,
        };
        let mixer = match self.mixer {
            Mixer::SpatialGate { max_length, .. }
            | Mixer::MlpMixer { max_length, .. }
            | Mixer::ResMlp { max_length }
            | Mixer::FeedForwardOnly { max_length, .. }
            | Mixer::Synthesizer { max_length, .. } => Some((max_length, "the mixer's max_length")),
            Mixer::Attention(_)
            | Mixer::Lstm { .. }
            | Mixer::Gru { .. }
            | Mixer::DilatedGatedConvolution { .. }
            | Mixer::GatedAttention { .. }
            | Mixer::ExternalAttention { .. }
            | Mixer::Fourier
            | Mixer::LightConvolution { .. } => None,
        };
        position.into_iter().chain(mixer).collect()
    }

    fn masks(&self) -> Masks {
        match self.mixer {
            Mixer::Attention(_) | Mixer::Synthesizer { .. } | Mixer::SpatialGate { .. } => Masks::All,
            Mixer::GatedAttention { chunk: None, .. } => Masks::All,
            Mixer::GatedAttention { chunk: Some(_), .. } | Mixer::LightConvolution { .. } => {
                Masks::FullAndCausal
            }
            // One that reads forwards sees nothing else than what is before.
            Mixer::Lstm { bidirectional: false } | Mixer::Gru { bidirectional: false } => {
                Masks::FullAndCausal
            }
            Mixer::Lstm { bidirectional: true } => Masks::Full("lstm in both directions"),
            Mixer::Gru { bidirectional: true } => Masks::Full("gru in both directions"),
            Mixer::DilatedGatedConvolution { .. } => Masks::Full("dilated_gated_convolution"),
            Mixer::MlpMixer { .. } => Masks::Full("mlp_mixer"),
            Mixer::ResMlp { .. } => Masks::Full("res_mlp"),
            Mixer::FeedForwardOnly { .. } => Masks::Full("feed_forward_only"),
            Mixer::ExternalAttention { .. } => Masks::Full("external_attention"),
            Mixer::Fourier => Masks::Full("fourier"),
        }
    }

    /// An error for a mask that the mixer cannot follow.
    pub(crate) fn check_mask(&self, mask: &Mask) -> Result<()> {
        let refuse = |name: &str| {
            Err(Error::Input(format!(
                "encoder: the mixer {name} cannot hide what a mask hides; use attention, gated_attention, \
                 synthesizer or spatial_gate"
            )))
        };
        match (self.masks(), mask) {
            (_, Mask::Full) | (Masks::All, Mask::Causal | Mask::Prefix(_)) => Ok(()),
            (Masks::FullAndCausal, Mask::Causal) => Ok(()),
            (Masks::FullAndCausal, Mask::Prefix(_)) => refuse("of this config"),
            (Masks::Full(name), Mask::Causal | Mask::Prefix(_)) => refuse(name),
        }
    }

    /// Whether the mixer normalises what it reads by itself.
    pub(crate) fn mixer_has_own_norm(&self) -> bool {
        self.feeds_first()
    }

    /// Whether the feed-forward part comes before the mixer.
    pub(crate) fn feeds_first(&self) -> bool {
        match self.mixer {
            Mixer::FeedForwardOnly { .. } => true,
            Mixer::Attention(_)
            | Mixer::Lstm { .. }
            | Mixer::Gru { .. }
            | Mixer::DilatedGatedConvolution { .. }
            | Mixer::GatedAttention { .. }
            | Mixer::SpatialGate { .. }
            | Mixer::MlpMixer { .. }
            | Mixer::ResMlp { .. }
            | Mixer::ExternalAttention { .. }
            | Mixer::Fourier
            | Mixer::Synthesizer { .. }
            | Mixer::LightConvolution { .. } => false,
        }
    }

    /// The attention of several heads, if the mixer is that.
    pub fn attention(&self) -> Option<&AttentionConfig> {
        match &self.mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::GatedAttention { .. }
            | Mixer::Lstm { .. }
            | Mixer::Gru { .. }
            | Mixer::DilatedGatedConvolution { .. }
            | Mixer::SpatialGate { .. }
            | Mixer::MlpMixer { .. }
            | Mixer::ResMlp { .. }
            | Mixer::FeedForwardOnly { .. }
            | Mixer::ExternalAttention { .. }
            | Mixer::Fourier
            | Mixer::Synthesizer { .. }
            | Mixer::LightConvolution { .. } => None,
        }
    }

    /// Whether layers hand scores on to the next.
    pub(crate) fn carries_scores(&self) -> bool {
        self.attention().is_some_and(|attention| attention.residual_scores != ResidualScores::Off)
    }

    /// Width of queries and keys, where there are any.
    pub(crate) fn key_size(&self) -> Option<usize> {
        match &self.mixer {
            Mixer::Attention(attention) => Some(attention.sizes(self.hidden_size)[0]),
            Mixer::GatedAttention { key_size, .. } => Some(*key_size),
            Mixer::Lstm { .. }
            | Mixer::Gru { .. }
            | Mixer::DilatedGatedConvolution { .. }
            | Mixer::SpatialGate { .. }
            | Mixer::MlpMixer { .. }
            | Mixer::ResMlp { .. }
            | Mixer::FeedForwardOnly { .. }
            | Mixer::ExternalAttention { .. }
            | Mixer::Fourier
            | Mixer::Synthesizer { .. }
            | Mixer::LightConvolution { .. } => None,
        }
    }

    /// Channels of a head that turn, with attention and rotary positions.
    pub(crate) fn rotary_size(&self) -> Option<usize> {
        match self.position {
            Position::Rotary { size, .. } => self.key_size().map(|key| size.unwrap_or(key)),
            Position::None
            | Position::Learned { .. }
            | Position::Sinusoidal
            | Position::RelativeKeys { .. }
            | Position::Buckets { .. }
            | Position::Disentangled { .. }
            | Position::Alibi => None,
        }
    }

    /// Whether a norm follows the last layer.
    pub(crate) fn has_final_norm(&self) -> bool {
        self.wiring.reads_normed() && self.norm != Norm::None
    }
}

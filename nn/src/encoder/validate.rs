//! Combinations that no encoder can be built from, told when the config is read.

use super::attention::{AttentionConfig, ResidualScores};
use super::config::EncoderConfig;
use super::parts::{FeedForward, GatedWeights, Mixer, Position, Sharing};
use super::weight_init::WeightInit;
use super::wiring::{Norm, ResidualScale, Wiring};
use crate::block::position::{Scaling, inverse_frequencies};
use crate::{Error, Result};

impl EncoderConfig {
    /// An error for the first field (or pair of fields) that does not fit, with what to try.
    pub fn validate(&self) -> Result<()> {
        positive("vocab_size", self.vocab_size)?;
        positive("hidden_size", self.hidden_size)?;
        rate("dropout", self.dropout)?;
        self.validate_embedding()?;
        self.validate_sharing()?;
        self.validate_mixer()?;
        self.validate_position()?;
        match self.feed_forward {
            FeedForward::None => {}
            FeedForward::Dense { size, .. } => positive("feed_forward.dense.size", size)?,
            FeedForward::Gated { size, .. } => positive("feed_forward.gated.size", size)?,
        }
        match self.norm {
            Norm::None | Norm::Affine => {}
            Norm::Layer { eps, .. } | Norm::Rms { eps, .. } | Norm::Scale { eps }
                if eps >= 0.0 && eps.is_finite() => {}
            Norm::Layer { eps, .. } | Norm::Rms { eps, .. } | Norm::Scale { eps } => {
                return wrong(
                    "norm",
                    format!("eps {eps} is not a small number of at least 0, such as 1e-12"),
                );
            }
        }
        self.validate_wiring()?;
        self.validate_init()?;
        self.check_mask(&self.mask.into()).map_err(|e| Error::Config(format!("encoder.mask: {e}")))?;
        Ok(())
    }

    fn validate_wiring(&self) -> Result<()> {
        if let Wiring::DeepNorm { alpha: Some(alpha) } = self.wiring
            && !(alpha > 0.0 && alpha.is_finite())
        {
            return wrong(
                "wiring.deep_norm.alpha",
                format!("{alpha} is no factor above 0; without it (2 layers)^(1/4)"),
            );
        }
        let factor = match self.residual_scale {
            ResidualScale::None => 1.0,
            ResidualScale::Fixed { factor } => factor,
            ResidualScale::Scalar { start } | ResidualScale::Channels { start } => start,
        };
        if !factor.is_finite() {
            return wrong(
                "residual_scale",
                format!("{factor} is no factor; LayerScale starts at 0.1, ReZero at 0"),
            );
        }
        if self.wiring == Wiring::Stack && self.residual_scale != ResidualScale::None {
            return wrong(
                "residual_scale",
                "scales what is added to a residual, and wiring \"stack\" has none",
            );
        }
        Ok(())
    }

    fn validate_init(&self) -> Result<()> {
        let (name, value) = match self.init {
            WeightInit::Normal { deviation } => ("normal.deviation", deviation),
            WeightInit::TruncatedNormal { sigma } => ("truncated_normal.sigma", sigma),
            WeightInit::TruncatedNormalExact { deviation } => ("truncated_normal_exact.deviation", deviation),
            WeightInit::Uniform { deviation } => ("uniform.deviation", deviation),
            WeightInit::DepthScaled { order } if order > 0.0 && order.is_finite() => return Ok(()),
            WeightInit::DepthScaled { order } => {
                return wrong(
                    "init.depth_scaled.order",
                    format!("{order} is no root; RoFormerV2 has 2, GAU-alpha 3"),
                );
            }
            WeightInit::Xavier
            | WeightInit::LeCun
            | WeightInit::He
            | WeightInit::Ntk
            | WeightInit::T5
            | WeightInit::DeepNorm => return Ok(()),
        };
        match value >= 0.0 && value.is_finite() {
            true => Ok(()),
            false => wrong(&format!("init.{name}"), format!("{value} is no deviation; BERT has 0.02")),
        }
    }

    fn validate_embedding(&self) -> Result<()> {
        let embedding = &self.embedding;
        positive("embedding.size", self.embedding_size())?;
        rate("embedding.dropout", embedding.dropout)?;
        if !embedding.scale.is_finite() {
            return wrong("embedding.scale", format!("{} is no factor", embedding.scale));
        }
        rate("embedding.token_dropout", embedding.token_dropout)?;
        if let Some(buckets) = embedding.bigram_buckets {
            positive("embedding.bigram_buckets", buckets)?;
        }
        if embedding.token_dropout > 0.0 && embedding.unk_id >= self.vocab_size {
            return wrong(
                "embedding.unk_id",
                format!(
                    "{} is outside the vocabulary of {}; set the id of the unknown token",
                    embedding.unk_id, self.vocab_size
                ),
            );
        }
        Ok(())
    }

    fn validate_sharing(&self) -> Result<()> {
        if let Sharing::Groups { groups } = self.sharing
            && (groups == 0 || groups > self.layers)
        {
            let layers = self.layers;
            return wrong(
                "sharing.groups",
                format!("{groups} groups for {layers} layers; expected 1 to {layers}"),
            );
        }
        match &self.mixer {
            Mixer::DilatedGatedConvolution { dilations, .. }
                if self.sharing != Sharing::None && dilations.len() > 1 =>
            {
                wrong("sharing", "layers of different dilations share nothing; use sharing = \"none\"")
            }
            Mixer::DilatedGatedConvolution { .. }
            | Mixer::Attention(_)
            | Mixer::Lstm { .. }
            | Mixer::Gru { .. }
            | Mixer::GatedAttention { .. }
            | Mixer::SpatialGate { .. }
            | Mixer::MlpMixer { .. }
            | Mixer::ResMlp { .. }
            | Mixer::FeedForwardOnly { .. }
            | Mixer::ExternalAttention { .. }
            | Mixer::Fourier
            | Mixer::Synthesizer { .. }
            | Mixer::LightConvolution { .. } => Ok(()),
        }
    }

    fn validate_mixer(&self) -> Result<()> {
        let size = self.hidden_size;
        match &self.mixer {
            Mixer::Attention(attention) => self.validate_attention(attention),
            Mixer::Lstm { bidirectional } | Mixer::Gru { bidirectional }
                if *bidirectional && size % 2 == 1 =>
            {
                wrong("mixer", format!("hidden_size {size} cannot be shared by two directions; make it even"))
            }
            Mixer::Lstm { .. } | Mixer::Gru { .. } | Mixer::Fourier => Ok(()),
            Mixer::GatedAttention { size, key_size, weights, chunk, dropout } => {
                positive("mixer.gated_attention.size", *size)?;
                positive("mixer.gated_attention.key_size", *key_size)?;
                rate("mixer.gated_attention.dropout", *dropout)?;
                match chunk {
                    None => Ok(()),
                    Some(0) => wrong("mixer.gated_attention.chunk", "is 0; FLASH has 256"),
                    Some(_) if *weights == GatedWeights::SquaredRelu => Ok(()),
                    Some(_) => wrong(
                        "mixer.gated_attention.chunk",
                        "sums between chunks have no softmax; set weights = \"squared_relu\"",
                    ),
                }
            }
            Mixer::SpatialGate { size, max_length, attention } => {
                positive("mixer.spatial_gate.max_length", *max_length)?;
                positive("mixer.spatial_gate.attention", attention.unwrap_or(1))?;
                match *size > 0 && size.is_multiple_of(2) {
                    true => Ok(()),
                    false => {
                        wrong("mixer.spatial_gate.size", format!("{size} has no two halves; make it even"))
                    }
                }
            }
            Mixer::MlpMixer { size, max_length } | Mixer::FeedForwardOnly { size, max_length } => {
                positive("mixer.size", *size)?;
                positive("mixer.max_length", *max_length)
            }
            Mixer::ResMlp { max_length } => positive("mixer.res_mlp.max_length", *max_length),
            Mixer::ExternalAttention { slots, .. } => positive("mixer.external_attention.slots", *slots),
            Mixer::Synthesizer { heads, max_length } => {
                positive("mixer.synthesizer.max_length", *max_length)?;
                divides("mixer.synthesizer.heads", *heads, size)
            }
            Mixer::LightConvolution { window, heads, .. } => {
                divides("mixer.light_convolution.heads", *heads, size)?;
                odd("mixer.light_convolution.window", *window)
            }
            Mixer::DilatedGatedConvolution { window, dilations } => {
                odd("mixer.dilated_gated_convolution.window", *window)?;
                if dilations.is_empty() || dilations.contains(&0) {
                    return wrong(
                        "mixer.dilated_gated_convolution.dilations",
                        format!(
                            "{dilations:?}: expected at least one distance, each at least 1, such as [1, 2, 5]"
                        ),
                    );
                }
                Ok(())
            }
        }
    }

    fn validate_attention(&self, attention: &AttentionConfig) -> Result<()> {
        let (heads, size) = (attention.heads, self.hidden_size);
        positive("mixer.attention.heads", heads)?;
        rate("mixer.attention.dropout", attention.dropout)?;
        attention.scale.validate()?;
        positive("mixer.attention.key_size", attention.key_size.unwrap_or(1))?;
        positive("mixer.attention.head_size", attention.head_size.unwrap_or(1))?;
        if attention.head_size.is_none() && !size.is_multiple_of(heads) {
            return wrong(
                "mixer.attention.heads",
                format!("{heads} heads do not divide hidden_size {size}; change one or set head_size"),
            );
        }
        let [keys, values] = attention.sizes(size);
        if matches!(self.position, Position::RelativeKeys { .. }) && keys != values {
            let message =
                format!("relative keys are added to values too, but key_size {keys} is not {values}");
            return wrong("mixer.attention.key_size", message);
        }
        if attention.residual_scores != ResidualScores::Off && attention.local.is_some() {
            return wrong("mixer.attention.local", "scores of windows cannot be added up; drop one of both");
        }
        Ok(())
    }

    fn validate_position(&self) -> Result<()> {
        let needs_attention = |name: &str| match self.attention() {
            Some(_) => Ok(()),
            None => wrong(
                "position",
                format!("{name} changes the scores of attention, which this mixer has none of; use \"none\""),
            ),
        };
        match &self.position {
            Position::None | Position::Sinusoidal => Ok(()),
            Position::Alibi => needs_attention("alibi"),
            Position::RelativeKeys { max_distance } => {
                positive("position.relative_keys.max_distance", *max_distance)?;
                needs_attention("relative_keys")
            }
            Position::Buckets { buckets, max_distance, both_ways } => {
                let exact = if *both_ways { buckets / 4 } else { buckets / 2 };
                if exact == 0 || *max_distance <= exact {
                    let message =
                        format!("{buckets} buckets up to distance {max_distance}; T5 has 32 up to 128");
                    return wrong("position.buckets", message);
                }
                needs_attention("buckets")
            }
            Position::Disentangled { buckets, max_positions } => {
                if *buckets < 2 || *max_positions <= buckets / 2 + 1 {
                    let message =
                        format!("{buckets} buckets for {max_positions} positions; DeBERTa has 256 for 512");
                    return wrong("position.disentangled", message);
                }
                needs_attention("disentangled")
            }
            Position::Learned { max_positions, first } if first < max_positions => Ok(()),
            Position::Learned { max_positions, first } => wrong(
                "position.learned.max_positions",
                format!("{max_positions} rows with the first token at row {first} leave no position"),
            ),
            Position::Rotary { theta, scaling, log_n, .. } => {
                let Some(size) = self.rotary_size() else {
                    return wrong(
                        "position.rotary",
                        "turns the queries and keys of attention, and this mixer has none; use position = \"none\"",
                    );
                };
                if log_n.is_some_and(|n| n < 2) {
                    return wrong("position.rotary.log_n", "is the training length in tokens, at least 2");
                }
                if matches!(scaling, Scaling::Rerope { .. }) {
                    needs_attention("rerope")?;
                    if log_n.is_some() {
                        return wrong(
                            "position.rotary.log_n",
                            "does not go with rerope; use attention's scale log_dagger",
                        );
                    }
                }
                if self.key_size().is_some_and(|key| size > key) {
                    return wrong("position.rotary.size", format!("{size} is more than a head has"));
                }
                inverse_frequencies(size, *theta, scaling, 0)
                    .map(|_| ())
                    .or_else(|e| wrong("position.rotary", e.to_string()))
            }
        }
    }
}

fn positive(field: &str, value: usize) -> Result<()> {
    if value == 0 { wrong(field, "is 0; expected at least 1") } else { Ok(()) }
}

fn odd(field: &str, window: usize) -> Result<()> {
    match window % 2 {
        1 => Ok(()),
        _ => wrong(field, format!("{window} has no middle token; choose an odd number such as 3")),
    }
}

fn divides(field: &str, heads: usize, size: usize) -> Result<()> {
    match heads > 0 && size.is_multiple_of(heads) {
        true => Ok(()),
        false => wrong(field, format!("{heads} heads do not divide hidden_size {size}")),
    }
}

fn rate(field: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    wrong(field, format!("{value} is no probability below 1; dropout is usually 0 to 0.5"))
}

fn wrong<T>(field: &str, message: impl std::fmt::Display) -> Result<T> {
    Err(Error::Config(format!("encoder.{field}: {message}")))
}

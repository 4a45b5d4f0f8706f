//! Combinations that no encoder can be built from, told when the config is read.

use super::config::EncoderConfig;
use super::parts::{FeedForward, Mixer, Norm, Position, Sharing, WeightInit, Wiring};
use crate::block::position::inverse_frequencies;
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
            Norm::None => {}
            Norm::Layer { eps } | Norm::Rms { eps, .. } if eps >= 0.0 && eps.is_finite() => {}
            Norm::Layer { eps } | Norm::Rms { eps, .. } => {
                return wrong(
                    "norm",
                    format!("eps {eps} is not a small number of at least 0, such as 1e-12"),
                );
            }
        }
        if let WeightInit::Normal { deviation } = self.init
            && !(deviation >= 0.0 && deviation.is_finite())
        {
            return wrong("init.normal.deviation", format!("{deviation} is no deviation; BERT has 0.02"));
        }
        Ok(())
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
            Mixer::Attention { .. } | Mixer::Lstm { .. } | Mixer::DilatedGatedConvolution { .. } => Ok(()),
        }
    }

    fn validate_mixer(&self) -> Result<()> {
        let size = self.hidden_size;
        match &self.mixer {
            Mixer::Attention { heads, key_size, dropout } => {
                positive("mixer.attention.heads", *heads)?;
                rate("mixer.attention.dropout", *dropout)?;
                match key_size {
                    Some(key_size) => positive("mixer.attention.key_size", *key_size),
                    None if size.is_multiple_of(*heads) => Ok(()),
                    None => wrong(
                        "mixer.attention.heads",
                        format!("{heads} heads do not divide hidden_size {size}; change one or set key_size"),
                    ),
                }
            }
            Mixer::Lstm { bidirectional } if *bidirectional && size % 2 == 1 => wrong(
                "mixer.lstm",
                format!("hidden_size {size} cannot be shared by two directions; make it even"),
            ),
            Mixer::Lstm { .. } => Ok(()),
            Mixer::DilatedGatedConvolution { window, dilations } => {
                if window % 2 == 0 {
                    return wrong(
                        "mixer.dilated_gated_convolution.window",
                        format!("{window} has no middle token; choose an odd number such as 3"),
                    );
                }
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

    fn validate_position(&self) -> Result<()> {
        match &self.position {
            Position::None => Ok(()),
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
                if scaling.depends_on_length() {
                    return wrong(
                        "position.rotary.scaling",
                        "ntk_dynamic changes with each text's length, which an encoder does not do; use ntk_aware",
                    );
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

    /// Width of a head, with attention.
    pub(crate) fn key_size(&self) -> Option<usize> {
        match &self.mixer {
            Mixer::Attention { heads, key_size, .. } => Some(key_size.unwrap_or(self.hidden_size / heads)),
            Mixer::Lstm { .. } | Mixer::DilatedGatedConvolution { .. } => None,
        }
    }

    /// Channels of a head that turn, with attention and rotary positions.
    pub(crate) fn rotary_size(&self) -> Option<usize> {
        match self.position {
            Position::Rotary { size, .. } => self.key_size().map(|key| size.unwrap_or(key)),
            Position::None | Position::Learned { .. } => None,
        }
    }

    /// Whether a norm follows the last layer.
    pub(crate) fn has_final_norm(&self) -> bool {
        self.wiring == Wiring::PreNorm && self.norm != Norm::None
    }
}

fn positive(field: &str, value: usize) -> Result<()> {
    if value == 0 { wrong(field, "is 0; expected at least 1") } else { Ok(()) }
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

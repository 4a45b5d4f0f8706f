//! An encoder and a decoder as a value.

use bert4rs_tensor::Packed;
use serde::{Deserialize, Serialize};

use crate::encoder::{EncoderConfig, Position, ResidualScores, Sharing, TalkingHeads, TextMask};
use crate::{Error, Result};

/// What an encoder with a decoder is made of; both read the same table of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderDecoderConfig {
    /// What reads.
    pub encoder: EncoderConfig,
    /// What writes: the layers of an encoder that sees what is before, each with attention to what was read.
    pub decoder: EncoderConfig,
    /// Whether the table of tokens scores the words too; otherwise `lm_head` does.
    pub tied: bool,
    /// Factor of hidden states before they are scored (T5 with the tied table: `1 / sqrt(width)`).
    pub output_scale: f64,
    /// The token before the first of every text.
    pub start_id: usize,
    /// The token that ends a text.
    pub end_id: usize,
}

impl EncoderDecoderConfig {
    /// T5 and its relatives: a decoder like the encoder, its distances in one direction, that scores with the
    /// table of tokens.
    pub fn t5(encoder: EncoderConfig) -> Self {
        let mut decoder = EncoderConfig { mask: TextMask::Causal, ..encoder.clone() };
        if let Position::Buckets { both_ways, .. } = &mut decoder.position {
            *both_ways = false;
        }
        let output_scale = (encoder.hidden_size as f64).sqrt().recip();
        Self { encoder, decoder, tied: true, output_scale, start_id: 0, end_id: 1 }
    }

    /// An error for what no decoder can be built from.
    pub fn validate(&self) -> Result<()> {
        self.encoder.validate()?;
        self.decoder.validate().map_err(|e| Error::Config(format!("decoder: {e}")))?;
        let wrong = |message: String| Err(Error::Config(format!("decoder: {message}")));
        let (encoder, decoder) = (&self.encoder, &self.decoder);
        let Some(attention) = decoder.attention() else {
            return wrong("its mixer is not attention; use mixer = { attention = { .. } }".into());
        };
        if attention.residual_scores != ResidualScores::Off
            || attention.talking_heads != TalkingHeads::None
            || attention.local.is_some()
        {
            return wrong("residual_scores, talking_heads and local are not there step by step".into());
        }
        match decoder.position {
            Position::None | Position::Alibi | Position::Buckets { both_ways: false, .. } => {}
            Position::Buckets { both_ways: true, .. } => {
                return wrong("keys that follow are never seen; set both_ways = false".into());
            }
            Position::Learned { .. }
            | Position::Rotary { .. }
            | Position::Sinusoidal
            | Position::RelativeKeys { .. }
            | Position::Disentangled { .. } => {
                return wrong("its positions must be distances: use buckets, alibi or none".into());
            }
        }
        if decoder.mask != TextMask::Causal {
            return wrong("what it writes sees what is before it; set mask = \"causal\"".into());
        }
        if decoder.sharing != Sharing::None || decoder.embedding.bigram_buckets.is_some() {
            return wrong("shared layers and pairs of tokens are not supported".into());
        }
        let table = |config: &EncoderConfig| (config.vocab_size, config.embedding_size());
        if table(encoder) != table(decoder) {
            let (a, b) = (table(encoder), table(decoder));
            return wrong(format!("its table of tokens {b:?} is that of the encoder, {a:?}"));
        }
        if self.tied && decoder.embedding_size() != decoder.hidden_size {
            return wrong("a narrow table of tokens cannot score its hidden states; set tied = false".into());
        }
        if !(self.output_scale > 0.0 && self.output_scale.is_finite()) {
            return wrong(format!("output_scale {} is no factor above 0", self.output_scale));
        }
        match [self.start_id, self.end_id].into_iter().find(|&id| id >= decoder.vocab_size) {
            None => Ok(()),
            Some(id) => wrong(format!("token {id} is outside the vocabulary of {}", decoder.vocab_size)),
        }
    }

    /// What the decoder reads to write `texts`: each without its last token, after the start token.
    pub fn inputs_of(&self, texts: &[usize], batch: &Packed) -> Vec<usize> {
        let one = |b: usize| {
            let text = &texts[batch.range(b)];
            let kept = text.len().saturating_sub(1);
            (!text.is_empty()).then_some(self.start_id).into_iter().chain(text[..kept].iter().copied())
        };
        (0..batch.sequences()).flat_map(one).collect()
    }
}

//! An encoder with a decoder: T5, mT5 and what is composed like them.

use bert4rs_tensor::{Packed, Tensor};

use super::config::EncoderDecoderConfig;
use super::language_head::LanguageHead;
use super::model::Decoder;
use crate::encoder::{Encoder, EncoderInput, Precision};
use crate::{Builder, Ctx, Result};

/// Texts to read and what is written about each, packed apart.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    /// Token ids that are read `[M]`.
    pub source: &'a [usize],
    /// Where these texts begin and end.
    pub sources: &'a Packed,
    /// Token ids that the decoder reads `[T]`; see [`EncoderDecoderConfig::inputs_of`].
    pub target: &'a [usize],
    /// Where those texts begin and end.
    pub targets: &'a Packed,
}

/// A model that reads one text and writes another.
pub struct EncoderDecoder {
    config: EncoderDecoderConfig,
    /// What reads.
    pub encoder: Encoder,
    /// What writes.
    pub decoder: Decoder,
    /// What scores words.
    pub head: LanguageHead,
}

impl EncoderDecoder {
    /// A new model; parameters are named as those of [`Encoder`], with `decoder.` and `lm_head` besides.
    pub fn new(builder: &mut Builder, config: &EncoderDecoderConfig) -> Result<Self> {
        config.validate()?;
        let encoder = Encoder::new(builder, &config.encoder)?;
        let decoder = Decoder::new(builder, &config.decoder, &encoder)?;
        let head = LanguageHead::new(builder, config, &encoder)?;
        Ok(Self { config: config.clone(), encoder, decoder, head })
    }

    /// As [`EncoderDecoder::new`], but weights start at 0: for values that are read next.
    pub fn to_be_filled(builder: &mut Builder, config: &EncoderDecoderConfig) -> Result<Self> {
        Self::new(&mut builder.blank(), config)
    }

    /// The hidden states of the encoder `[M, S]`.
    pub fn read(&self, ctx: &mut Ctx, ids: &[usize], batch: &Packed) -> Result<Tensor> {
        self.encoder.forward(ctx, EncoderInput { ids, segments: None, batch }, &self.encoder.mask())
    }

    /// The hidden states of the decoder `[T, D]`.
    pub fn forward(&self, ctx: &mut Ctx, pairs: Pairs) -> Result<Tensor> {
        let source = self.read(ctx, pairs.source, pairs.sources)?; // [M, S]
        self.decoder.forward(ctx, (pairs.target, pairs.targets), (&source, pairs.sources))
    }

    /// Makes the model ready for inference; see [`Encoder::prepare`].
    pub fn prepare(&mut self, precision: Precision) -> Result<()> {
        self.encoder.prepare(precision)?;
        self.decoder.prepare(precision.weights())?;
        self.head.prepare(precision.weights())
    }

    /// The config it was made from.
    pub fn config(&self) -> &EncoderDecoderConfig {
        &self.config
    }
}

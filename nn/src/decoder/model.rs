//! The decoder: layers that see what was written before and read another text.
//! Shapes:      ids [T], source [M, S] -> hidden [T, D]; text b reads sequence b of the source
//! Numerics:    step by step the bits of the whole text; a text depends on no other of the batch

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Tensor};

use super::memory::Memory;
use crate::block::attention::{Past, Reading};
use crate::encoder::{Encoder, EncoderConfig, EncoderInput, Stack, TokenEmbedding};
use crate::{Builder, Ctx, Error, Result};

/// A model from what was written, and what is read, to the next hidden states.
pub struct Decoder {
    config: EncoderConfig,
    embedding: TokenEmbedding,
    stack: Stack,
}

impl Decoder {
    /// `decoder.layer.N` as layers of an encoder are named, with `crossattention` besides; tokens are looked up
    /// in the table of `encoder`, whose hidden states it reads.
    pub(super) fn new(builder: &mut Builder, config: &EncoderConfig, encoder: &Encoder) -> Result<Self> {
        let mut at = builder.at("decoder");
        let embedding = TokenEmbedding::with_words(&mut at, config, Some(encoder.words()))?;
        let stack = Stack::new(&mut at, config, Some(encoder.output_size()))?;
        Ok(Self { config: config.clone(), embedding, stack })
    }

    pub(super) fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.embedding.prepare(precision)?;
        self.stack.prepare(precision)
    }

    /// The hidden states `[T, D]` of whole texts, each beside its own source.
    pub fn forward(
        &self,
        ctx: &mut Ctx,
        (ids, batch): (&[usize], &Packed),
        (source, of_source): (&Tensor, &Packed),
    ) -> Result<Tensor> {
        let mut readings = self.readings(ctx, source, of_source, None)?;
        self.run(ctx, ids, batch, &mut readings, batch.longest())
    }

    /// Texts without tokens yet, each with its own sequence of `source [M, S]`.
    pub fn start(&self, ctx: &Ctx, source: &Tensor, batch: &Packed) -> Result<Memory> {
        let past = Past::new(batch.sequences());
        let written = past.batch().clone();
        Ok(Memory { layers: self.readings(ctx, source, batch, Some(past))?, written })
    }

    /// The hidden states of the next tokens, any number of each text, which `memory` has seen from then on.
    pub fn step(&self, ctx: &mut Ctx, memory: &mut Memory, ids: &[usize], batch: &Packed) -> Result<Tensor> {
        let before = &memory.written;
        if before.sequences() != batch.sequences() {
            return wrong(format!("{} texts go on as {}", before.sequences(), batch.sequences()));
        }
        let lengths: Vec<usize> =
            (0..batch.sequences()).map(|b| before.length(b) + batch.length(b)).collect();
        let written = Packed::from_lengths(&lengths);
        // An error leaves the memory as it was.
        let mut readings = memory.layers.clone();
        let hidden = self.run(ctx, ids, batch, &mut readings, written.longest())?;
        *memory = Memory { layers: readings, written };
        Ok(hidden)
    }

    /// Keys and values of the source for every layer.
    fn readings(
        &self,
        ctx: &Ctx,
        source: &Tensor,
        batch: &Packed,
        past: Option<Past>,
    ) -> Result<Vec<Reading>> {
        if source.shape().first() != Some(&batch.tokens()) {
            let (shape, tokens) = (source.shape(), batch.tokens());
            return wrong(format!("a source of {shape:?} for {tokens} packed tokens"));
        }
        let one = |index| {
            let Some(cross) = self.stack.layer(index).cross() else {
                return wrong("has no attention".into());
            };
            let source = cross.keys_and_values(ctx, source)?;
            Ok(Reading { source, batch: batch.clone(), past: past.clone() })
        };
        (0..self.config.layers).map(one).collect()
    }

    fn run(
        &self,
        ctx: &mut Ctx,
        ids: &[usize],
        batch: &Packed,
        readings: &mut [Reading],
        longest: usize,
    ) -> Result<Tensor> {
        let sources = readings.first().map_or(batch.sequences(), |reading| reading.batch.sequences());
        if sources != batch.sequences() {
            return wrong(format!("{} texts with {sources} sources", batch.sequences()));
        }
        let input = EncoderInput { ids, segments: None, batch };
        self.embedding.check(&input, self.config.limits())?;
        let around = self.stack.positions.around_up_to(ctx, batch, &Mask::Causal, longest)?;
        let x = self.embedding.forward(ctx, &input)?; // [T, D]
        self.stack.run(ctx, x, &around, readings, |_| Ok(()))
    }

    /// The config it was made from.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }
}

fn wrong<T>(message: String) -> Result<T> {
    Err(Error::Input(format!("decoder: {message}")))
}

//! The encoder: embedding, layers, and what they share.
//! Shapes:      ids [T] -> hidden [T, D]
//! Numerics:    a text's result does not depend on the other texts of the batch

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{Packed, Parameter, Tensor};

use super::config::EncoderConfig;
use super::embedding::TokenEmbedding;
use super::stack::Stack;
use crate::block::{Embedding, Sight, Surroundings, Watch};
use crate::{Builder, Ctx, Result};

/// What an encoder reads.
#[derive(Clone, Copy)]
pub struct EncoderInput<'a> {
    /// Token ids `[T]`.
    pub ids: &'a [usize],
    /// Segment ids `[T]`; all 0 where there are none.
    pub segments: Option<&'a [usize]>,
    /// Where texts begin and end.
    pub batch: &'a Packed,
}

/// A model from token ids to hidden states, as its config describes it.
pub struct Encoder {
    config: EncoderConfig,
    pub(super) embedding: TokenEmbedding,
    pub(super) stack: Stack,
}

impl Encoder {
    /// A new encoder; parameters are named as in the files of BERT, without a model prefix.
    pub fn new(builder: &mut Builder, config: &EncoderConfig) -> Result<Self> {
        config.validate()?;
        let embedding = TokenEmbedding::new(builder, config)?;
        let stack = Stack::new(&mut builder.at("encoder"), config, None)?;
        Ok(Self { config: config.clone(), embedding, stack })
    }

    /// As [`Encoder::new`], but weights start at 0: for values that are read next, which saves the
    /// time of random ones.
    pub fn to_be_filled(builder: &mut Builder, config: &EncoderConfig) -> Result<Self> {
        Self::new(&mut builder.blank(), config)
    }

    /// The hidden states `[T, D]` of the last layer.
    pub fn forward(&self, ctx: &mut Ctx, input: EncoderInput, mask: &Mask) -> Result<Tensor> {
        self.run(ctx, input, mask, None, |_| Ok(()))
    }

    /// The embedding and the output of every layer, the last as [`Encoder::forward`] gives it.
    pub fn forward_all(&self, ctx: &mut Ctx, input: EncoderInput, mask: &Mask) -> Result<Vec<Tensor>> {
        let mut all = Vec::with_capacity(self.config.layers + 1);
        let last = self.run(ctx, input, mask, None, |x| {
            all.push(x.clone());
            Ok(())
        })?;
        all.pop();
        all.push(last);
        Ok(all)
    }

    /// As [`Encoder::forward`], and shows what happens: the embedding; of every layer what its parts show,
    /// the sums around them, and its output. Weights of attention come text by text, in their order,
    /// without those that are empty. Results differ from `forward` by rounding only.
    pub fn observe(&self, ctx: &mut Ctx, input: EncoderInput, mask: &Mask, watch: &Watch) -> Result<Tensor> {
        self.run(ctx, input, mask, Some(watch), |x| watch(Sight::Hidden(x)))
    }

    fn run(
        &self,
        ctx: &mut Ctx,
        input: EncoderInput,
        mask: &Mask,
        watch: Option<&Watch>,
        mut seen: impl FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        self.config.check_mask(mask)?;
        self.embedding.check(&input, self.config.limits())?;
        let around = Surroundings { watch, ..self.stack.positions.around(ctx, input.batch, mask)? };
        let x = self.embedding.forward(ctx, &input)?; // [T, D]
        seen(&x)?;
        self.stack.run(ctx, x, &around, &mut [], seen)
    }

    /// Sets the scales of Admin's wiring by one batch in training mode, before training starts: each
    /// becomes the deviation of the stream that reaches it. Other wirings stay as they are.
    pub fn profile(&self, ctx: &mut Ctx, input: EncoderInput, mask: &Mask) -> Result<()> {
        self.config.check_mask(mask)?;
        self.embedding.check(&input, self.config.limits())?;
        let around = self.stack.positions.around(ctx, input.batch, mask)?;
        let (mut x, mut spread) = (self.embedding.forward(ctx, &input)?, 1.0);
        for index in 0..self.config.layers {
            x = self.stack.layer(index).profile(ctx, &x, &around, &mut spread)?;
        }
        Ok(())
    }

    /// The mask that its config names, for who has no other.
    pub fn mask(&self) -> Mask {
        self.config.mask.into()
    }

    /// The config it was made from.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The width of its hidden states.
    pub fn output_size(&self) -> usize {
        self.config.hidden_size
    }

    /// The longest text in tokens, where there is a limit.
    pub fn max_length(&self) -> Option<usize> {
        self.config.limits().iter().map(|(limit, _)| *limit).min()
    }

    /// The table of token vectors `[V, D]`, for heads that share it.
    pub fn word_embeddings(&self) -> &Parameter {
        self.embedding.word.table()
    }

    /// The same, to look rows up.
    pub(crate) fn words(&self) -> &Embedding {
        &self.embedding.word
    }
}

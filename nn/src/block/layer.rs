//! One layer: a mixer and a feed-forward part, joined by the wiring.
//! Shapes:      x [T, D] -> [T, D]

use std::cell::RefCell;

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Tensor};

use super::attention::{Carried, CrossAttention, Reading, Relative};
use super::mixer::Mixer;
use super::position::Rotation;
use super::{FeedForward, Junction, Part, PartKind, Watch};
use crate::encoder::{self, EncoderConfig, Role};
use crate::{Builder, Ctx, Result};

/// What is the same for all layers of one pass.
pub struct Surroundings<'a> {
    /// Where sequences begin and end.
    pub batch: &'a Packed,
    /// Which tokens see which.
    pub mask: &'a Mask,
    /// How queries and keys turn, with rotary positions.
    pub rotation: Option<Rotation>,
    /// The same in local layers, where it differs.
    pub local_rotation: Option<Rotation>,
    /// Added to scores by head and distance, `[H, 2 S - 1]`.
    pub bias: Option<Tensor>,
    /// What distances mean inside scores.
    pub relative: Option<Relative>,
    /// What residual scores hand from layer to layer.
    pub carried: RefCell<Carried>,
    /// Who looks on, if anybody does.
    pub watch: Option<&'a Watch<'a>>,
    /// What the layer of a decoder that runs next reads besides its input.
    pub reading: RefCell<Option<Reading>>,
}

impl<'a> Surroundings<'a> {
    /// Nothing but a batch and a mask.
    pub fn plain(batch: &'a Packed, mask: &'a Mask) -> Self {
        let (carried, reading) = (RefCell::default(), RefCell::default());
        Self {
            batch,
            mask,
            rotation: None,
            local_rotation: None,
            bias: None,
            relative: None,
            carried,
            watch: None,
            reading,
        }
    }
}

/// How a part is joined to the stream.
type Join<'a> = &'a mut dyn FnMut(&Junction, &mut Ctx, &Tensor, Part) -> Result<Tensor>;

/// One layer of an encoder or a decoder.
#[derive(Clone)]
pub struct Layer {
    mixer: (Mixer, Junction),
    /// In decoders: attention to another text.
    cross: Option<(CrossAttention, Junction)>,
    feed_forward: Option<(FeedForward, Junction)>,
    /// Whether the feed-forward part comes before the mixer.
    feeds_first: bool,
}

impl Layer {
    /// Layer `index` of `config`; `inputs` is the width it reads.
    pub fn new(builder: &mut Builder, config: &EncoderConfig, index: usize, inputs: usize) -> Result<Self> {
        Self::reading(builder, config, index, inputs, None)
    }

    /// The same, of a decoder that reads from another text of width `source`.
    pub(crate) fn reading(
        builder: &mut Builder,
        config: &EncoderConfig,
        index: usize,
        inputs: usize,
        source: Option<usize>,
    ) -> Result<Self> {
        let mixer = Mixer::new(builder, config, index, inputs)?;
        let stands_in = config.embedding.norm_is_first && index == 0;
        let has_norm = !config.mixer_has_own_norm() && !stands_in;
        let norm = if has_norm { config.norm } else { encoder::Norm::None };
        let junction = Junction::new(builder, "attention.output", config, norm)?;
        let cross = match source.zip(config.attention()) {
            None => None,
            Some((source, attention)) => {
                let part = CrossAttention::new(&mut builder.at("crossattention"), config, attention, source)?;
                Some((part, Junction::new(builder, "crossattention.output", config, config.norm)?))
            }
        };
        let mut feed_forward = |size, activation: encoder::Activation, gated| {
            let (width, inits) = (config.hidden_size, [config.init_of(Role::Branch); 2]);
            let part = FeedForward::new(builder, width, size, activation.into(), gated, config.bias, inits)?;
            Ok::<_, crate::Error>(Some((part, Junction::new(builder, "output", config, config.norm)?)))
        };
        let feed_forward = match config.feed_forward {
            encoder::FeedForward::None => Ok(None),
            encoder::FeedForward::Dense { size, activation } => feed_forward(size, activation, false),
            encoder::FeedForward::Gated { size, activation } => feed_forward(size, activation, true),
        }?;
        Ok(Self { mixer: (mixer, junction), cross, feed_forward, feeds_first: config.feeds_first() })
    }

    /// Attention to another text, in decoders.
    pub(crate) fn cross(&self) -> Option<&CrossAttention> {
        self.cross.as_ref().map(|(part, _)| part)
    }

    /// Arranges the weights of products for inference.
    pub(crate) fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.mixer.0.prepare(precision)?;
        if let Some((part, _)) = &mut self.cross {
            part.prepare(precision)?;
        }
        self.feed_forward.as_mut().map_or(Ok(()), |(part, _)| part.prepare(precision))
    }

    /// The layer's output.
    pub fn forward(&self, ctx: &mut Ctx, x: &Tensor, around: &Surroundings) -> Result<Tensor> {
        let Some(watch) = around.watch else {
            return self.run(ctx, x, around, &mut |junction, ctx, x, part| {
                junction.join(ctx, x, around.batch, part)
            });
        };
        self.run(ctx, x, around, &mut |junction, ctx, x, part| {
            let mut mixers = [Some(&self.mixer.1), self.cross.as_ref().map(|cross| &cross.1)].into_iter();
            let mixes = mixers.any(|mixer| mixer.is_some_and(|mixer| std::ptr::eq(junction, mixer)));
            let kind = if mixes { PartKind::Mixer } else { PartKind::FeedForward };
            junction.observe(ctx, x, around.batch, part, kind, watch)
        })
    }

    /// As [`Layer::forward`], and sets the scales of Admin by the branches seen; see
    /// [`Junction::profile`].
    pub(crate) fn profile(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        around: &Surroundings,
        spread: &mut f64,
    ) -> Result<Tensor> {
        self.run(ctx, x, around, &mut |junction, ctx, x, part| {
            junction.profile(ctx, x, around.batch, part, spread)
        })
    }

    fn run(&self, ctx: &mut Ctx, x: &Tensor, around: &Surroundings, join: Join) -> Result<Tensor> {
        let (mixer, mixer_junction) = &self.mixer;
        let mix: Part = &|ctx, x, residual| mixer.forward(ctx, x, around, residual);
        let feed = |join: Join, ctx: &mut Ctx, x: Tensor| match &self.feed_forward {
            None => Ok(x),
            Some((part, junction)) => {
                join(junction, ctx, &x, &|ctx, x, residual| part.forward(ctx, x, residual))
            }
        };
        if self.feeds_first {
            let x = feed(join, ctx, x.clone())?;
            return join(mixer_junction, ctx, &x, mix);
        }
        let mut x = join(mixer_junction, ctx, x, mix)?;
        if let Some((part, junction)) = &self.cross {
            x = join(junction, ctx, &x, &|ctx, x, residual| part.forward(ctx, x, around, residual))?;
        }
        feed(join, ctx, x)
    }
}

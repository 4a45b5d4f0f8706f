//! One layer: a mixer and a feed-forward part, joined by the wiring.
//! Shapes:      x [T, D] -> [T, D]

use std::cell::RefCell;

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Tensor};

use super::attention::{Carried, Relative};
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
}

impl<'a> Surroundings<'a> {
    /// Nothing but a batch and a mask.
    pub fn plain(batch: &'a Packed, mask: &'a Mask) -> Self {
        let carried = RefCell::default();
        Self {
            batch,
            mask,
            rotation: None,
            local_rotation: None,
            bias: None,
            relative: None,
            carried,
            watch: None,
        }
    }
}

/// One layer of an encoder.
#[derive(Clone)]
pub struct Layer {
    mixer: (Mixer, Junction),
    feed_forward: Option<(FeedForward, Junction)>,
    /// Whether the feed-forward part comes before the mixer.
    feeds_first: bool,
}

impl Layer {
    /// Layer `index` of `config`; `inputs` is the width it reads.
    pub fn new(builder: &mut Builder, config: &EncoderConfig, index: usize, inputs: usize) -> Result<Self> {
        let mixer = Mixer::new(builder, config, index, inputs)?;
        let stands_in = config.embedding.norm_is_first && index == 0;
        let has_norm = !config.mixer_has_own_norm() && !stands_in;
        let norm = if has_norm { config.norm } else { encoder::Norm::None };
        let junction = Junction::new(builder, "attention.output", config, norm)?;
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
        Ok(Self { mixer: (mixer, junction), feed_forward, feeds_first: config.feeds_first() })
    }

    /// Arranges the weights of products for inference.
    pub(crate) fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.mixer.0.prepare(precision)?;
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
            let mixes = std::ptr::eq(junction, &self.mixer.1);
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

    fn run(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        around: &Surroundings,
        join: &mut dyn FnMut(&Junction, &mut Ctx, &Tensor, Part) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (mixer, mixer_junction) = &self.mixer;
        let mix: Part = &|ctx, x, residual| mixer.forward(ctx, x, around, residual);
        let Some((part, junction)) = &self.feed_forward else {
            return join(mixer_junction, ctx, x, mix);
        };
        let feed: Part = &|ctx, x, residual| part.forward(ctx, x, residual);
        if self.feeds_first {
            let x = join(junction, ctx, x, feed)?;
            return join(mixer_junction, ctx, &x, mix);
        }
        let x = join(mixer_junction, ctx, x, mix)?;
        join(junction, ctx, &x, feed)
    }
}

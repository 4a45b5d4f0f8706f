//! One layer: a mixer and a feed-forward part, joined by the wiring.
//! Definition:  post norm: x = norm(x + mix(x)), x = norm(x + feed(x)); pre norm: x = x + mix(norm(x)),
//!              x = x + feed(norm(x)); stack: x = norm(mix(x)), x = norm(feed(x))
//! Shapes:      x [T, D] -> [T, D]

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Tensor};

use super::position::Rotation;
use super::{FeedForward, GatedConvolution, Lstm, Norm, SelfAttention, dropout};
use crate::encoder::{self, DropoutMask, EncoderConfig, Wiring};
use crate::{Builder, Ctx, Result};

/// What is the same for all layers of one pass.
pub struct Surroundings<'a> {
    /// Where sequences begin and end.
    pub batch: &'a Packed,
    /// Which tokens see which.
    pub mask: &'a Mask,
    /// How queries and keys turn, with rotary positions.
    pub rotation: Option<Rotation>,
}

#[derive(Clone)]
enum Mixer {
    Attention(SelfAttention),
    Lstm(Lstm),
    GatedConvolution(GatedConvolution),
}

/// One layer of an encoder.
#[derive(Clone)]
pub struct Layer {
    mixer: Mixer,
    mixer_norm: Norm,
    feed_forward: Option<(FeedForward, Norm)>,
    wiring: Wiring,
    dropout: f64,
    dropout_mask: DropoutMask,
}

impl Layer {
    /// Layer `index` of `config`; `inputs` is the width it reads.
    pub fn new(builder: &mut Builder, config: &EncoderConfig, index: usize, inputs: usize) -> Result<Self> {
        let (width, bias, init) = (config.hidden_size, config.bias, config.init);
        let mixer = match &config.mixer {
            encoder::Mixer::Attention { heads, key_size, dropout } => Mixer::Attention(SelfAttention::new(
                &mut builder.at("attention"),
                width,
                *heads,
                key_size.unwrap_or(width / heads),
                *dropout,
                bias,
                init.matrix(),
            )?),
            encoder::Mixer::Lstm { bidirectional } => {
                Mixer::Lstm(Lstm::new(&mut builder.at("lstm"), inputs, width, *bidirectional, bias, init)?)
            }
            encoder::Mixer::DilatedGatedConvolution { window, dilations } => {
                let dilation = dilations[index % dilations.len()];
                let init = init.matrix();
                Mixer::GatedConvolution(GatedConvolution::new(builder, width, *window, dilation, bias, init)?)
            }
        };
        let mixer_norm = Norm::new(&mut builder.at("attention.output.LayerNorm"), width, config.norm, bias)?;
        let mut feed_forward = |size, activation: encoder::Activation, gated| {
            let inits = [init.matrix(); 2];
            let part = FeedForward::new(builder, width, size, activation.into(), gated, bias, inits)?;
            Ok::<_, crate::Error>(Some((
                part,
                Norm::new(&mut builder.at("output.LayerNorm"), width, config.norm, bias)?,
            )))
        };
        let feed_forward = match config.feed_forward {
            encoder::FeedForward::None => Ok(None),
            encoder::FeedForward::Dense { size, activation } => feed_forward(size, activation, false),
            encoder::FeedForward::Gated { size, activation } => feed_forward(size, activation, true),
        }?;
        let (wiring, dropout, dropout_mask) = (config.wiring, config.dropout, config.dropout_mask);
        Ok(Self { mixer, mixer_norm, feed_forward, wiring, dropout, dropout_mask })
    }

    /// Arranges the weights of products for inference.
    pub(crate) fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        match &mut self.mixer {
            Mixer::Attention(part) => part.prepare(precision)?,
            Mixer::Lstm(part) => part.prepare(precision)?,
            Mixer::GatedConvolution(part) => part.prepare(precision)?,
        }
        self.feed_forward.as_mut().map_or(Ok(()), |(part, _)| part.prepare(precision))
    }

    /// The layer's output.
    pub fn forward(&self, ctx: &mut Ctx, x: &Tensor, around: &Surroundings) -> Result<Tensor> {
        let x = self.join(ctx, x, &self.mixer_norm, around, |ctx, x, residual| match &self.mixer {
            Mixer::Attention(part) => part.forward(ctx, x, around, residual),
            Mixer::Lstm(part) => plus(part.forward(ctx, x, around.batch)?, residual),
            Mixer::GatedConvolution(part) => plus(part.forward(ctx, x, around.batch)?, residual),
        })?;
        match &self.feed_forward {
            None => Ok(x),
            Some((part, norm)) => {
                self.join(ctx, &x, norm, around, |ctx, x, residual| part.forward(ctx, x, residual))
            }
        }
    }

    /// `part` gets the residual only when nothing is dropped before the sum; it may then add it in
    /// the same pass as its last product.
    fn join(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        norm: &Norm,
        around: &Surroundings,
        part: impl Fn(&mut Ctx, &Tensor, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let seed = ctx.seed(self.dropout);
        let inside = match self.wiring {
            Wiring::PreNorm => norm.forward(ctx, x)?,
            Wiring::PostNorm | Wiring::Stack => x.clone(),
        };
        let residual = match self.wiring {
            Wiring::PreNorm | Wiring::PostNorm => Some(x),
            Wiring::Stack => None,
        };
        let sum = match seed {
            None => part(ctx, &inside, residual)?,
            Some(seed) => {
                let y = part(ctx, &inside, None)?;
                plus(dropout(&y, self.dropout, seed, self.dropout_mask, around.batch)?, residual)?
            }
        };
        match self.wiring {
            Wiring::PreNorm => Ok(sum),
            Wiring::PostNorm | Wiring::Stack => norm.forward(ctx, &sum),
        }
    }
}

fn plus(y: Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    match residual {
        None => Ok(y),
        Some(x) => Ok(y.add(x)?),
    }
}

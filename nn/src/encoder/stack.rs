//! What lies above the embedding: the layers, what they share, and the norm at the end.
//! Shapes:      x [T, D] -> [T, D]

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::prepared::WeightPrecision;

use super::config::EncoderConfig;
use super::parts::Sharing;
use super::positions::Positions;
use super::wiring::Wiring;
use crate::block::attention::Reading;
use crate::block::{self, Layer, Surroundings, forward_recomputed};
use crate::{Builder, Ctx, Result};

/// The layers of an encoder or a decoder.
pub(crate) struct Stack {
    config: EncoderConfig,
    pub(crate) positions: Positions,
    /// One for every group of layers that share.
    pub(crate) layers: Vec<Layer>,
    final_norm: Option<block::Norm>,
}

impl Stack {
    /// `layer.N` (`group.N` where layers share), `final_norm`, and what positions have. `source` is the width
    /// of the text that layers of a decoder read from.
    pub(crate) fn new(builder: &mut Builder, config: &EncoderConfig, source: Option<usize>) -> Result<Self> {
        let positions = Positions::new(builder, config)?;
        // Shared layers have names of their own, so that a file says which kind it holds.
        let kind = if config.sharing == Sharing::None { "layer" } else { "group" };
        let mut layers = Vec::with_capacity(config.groups());
        for index in 0..config.groups() {
            let first_width =
                if config.projects_embedding() { config.hidden_size } else { config.embedding_size() };
            let inputs = if index == 0 { first_width } else { config.hidden_size };
            let mut at = builder.at(format!("{kind}.{index}"));
            layers.push(Layer::reading(&mut at, config, index, inputs, source)?);
        }
        let final_norm = if config.has_final_norm() {
            let mut at = builder.at("final_norm");
            Some(block::Norm::new(&mut at, config.hidden_size, config.norm, config.bias)?)
        } else {
            None
        };
        Ok(Self { config: config.clone(), positions, layers, final_norm })
    }

    /// The layer of an index, which may be one of several of the same parameters.
    pub(crate) fn layer(&self, index: usize) -> &Layer {
        &self.layers[self.config.group(index)]
    }

    /// Arranges the weights of products for inference.
    pub(crate) fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| layer.prepare(precision))
    }

    /// Runs the layers and shows the output of each; `readings` has one for every layer of a decoder, and what
    /// it has seen after the run.
    pub(crate) fn run(
        &self,
        ctx: &mut Ctx,
        mut x: Tensor,
        around: &Surroundings,
        readings: &mut [Reading],
        mut seen: impl FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        for index in 0..self.config.layers {
            let layer = self.layer(index);
            around.reading.replace(readings.get(index).cloned());
            // What is carried from layer to layer, read from outside or looked at has to be kept anyway.
            let kept = self.config.carries_scores() || !readings.is_empty() || around.watch.is_some();
            x = if ctx.recomputes() && !kept {
                forward_recomputed(layer, ctx, &x, around)?
            } else {
                layer.forward(ctx, &x, around)?
            };
            if let (Some(place), Some(read)) = (readings.get_mut(index), around.reading.take()) {
                *place = read;
            }
            seen(&x)?;
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(ctx, &x)?;
        }
        match self.config.wiring {
            Wiring::T5 => ctx.dropout(&x, self.config.dropout),
            Wiring::PostNorm
            | Wiring::PreNorm
            | Wiring::Sandwich
            | Wiring::DeepNorm { .. }
            | Wiring::Admin
            | Wiring::Stack => Ok(x),
        }
    }
}

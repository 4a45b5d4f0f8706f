//! The part of a layer in which tokens see each other, by what the config names.

mod external_attention;
mod gated_attention;
mod light_convolution;
mod mixed_chunk;
mod positions;
mod spatial_gate;
mod synthesizer;
mod visible;

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::fourier::fourier;
use bert4rs_tensor::op::prepared::WeightPrecision;

use super::{GatedConvolution, Gru, Lstm, SelfAttention, Surroundings, plus};
use crate::encoder::{self, EncoderConfig, Role};
use crate::{Builder, Ctx, Result};

pub use external_attention::{ExternalAttention, read_memory};
pub use gated_attention::{GatedAttention, GatedAttentionShape, gather, weigh};
pub use light_convolution::{LightConvolution, light_convolution};
pub use mixed_chunk::{Operands, mixed_chunk};
pub use positions::PositionMixer;
pub use spatial_gate::SpatialGate;
pub use synthesizer::{Synthesizer, synthesize};

/// A mixer with its parameters.
#[derive(Clone)]
pub enum Mixer {
    /// Scaled dot-product attention of several heads.
    Attention(SelfAttention),
    /// Long short-term memory.
    Lstm(Lstm),
    /// Gated recurrent unit.
    Gru(Gru),
    /// Dilated gated convolution.
    GatedConvolution(GatedConvolution),
    /// Gated attention unit.
    GatedAttention(GatedAttention),
    /// gMLP, aMLP.
    SpatialGate(SpatialGate),
    /// MLP-Mixer, ResMLP, feed-forward only.
    Positions(PositionMixer),
    /// External attention.
    ExternalAttention(ExternalAttention),
    /// FNet.
    Fourier,
    /// Random synthesizer.
    Synthesizer(Synthesizer),
    /// Lightweight and dynamic convolution.
    LightConvolution(LightConvolution),
}

impl Mixer {
    /// The mixer of layer `index`; `inputs` is the width it reads.
    pub fn new(builder: &mut Builder, config: &EncoderConfig, index: usize, inputs: usize) -> Result<Self> {
        use encoder::Mixer as Kind;
        let (width, bias, init) = (config.hidden_size, config.bias, config.init_of(Role::Branch));
        Ok(match &config.mixer {
            Kind::Attention(attention) => {
                let key_size = attention.sizes(width)[0];
                let roles = [Role::Query { key_size }, Role::Key, Role::Branch, Role::Branch];
                Mixer::Attention(SelfAttention::new(
                    &mut builder.at("attention"),
                    width,
                    attention,
                    index,
                    bias,
                    roles.map(|role| config.init_of(role)),
                )?)
            }
            Kind::Lstm { bidirectional } => {
                Mixer::Lstm(Lstm::new(&mut builder.at("lstm"), inputs, width, *bidirectional, bias, init)?)
            }
            Kind::Gru { bidirectional } => {
                Mixer::Gru(Gru::new(&mut builder.at("gru"), inputs, width, *bidirectional, bias, init)?)
            }
            Kind::DilatedGatedConvolution { window, dilations } => {
                let dilation = dilations[index % dilations.len()];
                Mixer::GatedConvolution(GatedConvolution::new(builder, width, *window, dilation, bias, init)?)
            }
            &Kind::GatedAttention { size, key_size, weights, chunk, dropout } => {
                let shape = GatedAttentionShape { size, key_size, weights, chunk, dropout };
                Mixer::GatedAttention(GatedAttention::new(builder, width, shape, bias, init)?)
            }
            &Kind::SpatialGate { size, max_length, attention } => {
                Mixer::SpatialGate(SpatialGate::new(builder, config, size, max_length, attention, init)?)
            }
            &Kind::MlpMixer { size, max_length } => {
                Mixer::Positions(PositionMixer::two(builder, max_length, size, false, init)?)
            }
            &Kind::ResMlp { max_length } => {
                Mixer::Positions(PositionMixer::linear(builder, max_length, init)?)
            }
            &Kind::FeedForwardOnly { size, max_length } => {
                Mixer::Positions(PositionMixer::two(builder, max_length, size, true, init)?)
            }
            &Kind::ExternalAttention { slots, row_softmax } => Mixer::ExternalAttention(
                ExternalAttention::new(builder, width, slots, row_softmax, bias, init)?,
            ),
            Kind::Fourier => Mixer::Fourier,
            &Kind::Synthesizer { heads, max_length } => Mixer::Synthesizer(Synthesizer::new(
                &mut builder.at("attention"),
                width,
                heads,
                max_length,
                bias,
                init,
            )?),
            &Kind::LightConvolution { window, heads, dynamic } => Mixer::LightConvolution(
                LightConvolution::new(builder, width, (window, heads, dynamic), bias, init)?,
            ),
        })
    }

    /// Arranges the weights of products for inference.
    pub(crate) fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        match self {
            Mixer::Attention(part) => part.prepare(precision),
            Mixer::Lstm(part) => part.prepare(precision),
            Mixer::Gru(part) => part.prepare(precision),
            Mixer::GatedConvolution(part) => part.prepare(precision),
            Mixer::GatedAttention(part) => part.prepare(precision),
            Mixer::SpatialGate(part) => part.prepare(precision),
            Mixer::ExternalAttention(part) => part.prepare(precision),
            Mixer::Synthesizer(part) => part.prepare(precision),
            Mixer::LightConvolution(part) => part.prepare(precision),
            Mixer::Positions(_) | Mixer::Fourier => Ok(()), // no product over channels
        }
    }

    /// The mixed tokens, plus `residual`.
    pub fn forward(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        around: &Surroundings,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let batch = around.batch;
        match self {
            Mixer::Attention(part) => part.forward(ctx, x, around, residual),
            Mixer::Lstm(part) => plus(part.forward(ctx, x, around)?, residual),
            Mixer::Gru(part) => plus(part.forward(ctx, x, around)?, residual),
            Mixer::GatedConvolution(part) => plus(part.forward(ctx, x, batch)?, residual),
            Mixer::GatedAttention(part) => part.forward(ctx, x, around, residual),
            Mixer::SpatialGate(part) => part.forward(ctx, x, around, residual),
            Mixer::Positions(part) => plus(part.forward(ctx, x, batch)?, residual),
            Mixer::ExternalAttention(part) => part.forward(ctx, x, batch, residual),
            Mixer::Fourier => plus(fourier(x, batch)?, residual),
            Mixer::Synthesizer(part) => part.forward(ctx, x, around, residual),
            Mixer::LightConvolution(part) => {
                part.forward(ctx, x, batch, *around.mask == Mask::Causal, residual)
            }
        }
    }
}

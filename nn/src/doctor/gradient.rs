//! How large gradients are, layer by layer, and which parameters get none.
//! Definition:  probe: sum over tokens of h . r / sqrt(T D), r normal of a fixed seed: its gradient with respect to
//!              the last hidden states has length about 1 and no direction
//! Why:         it needs neither head nor labels, so that what is seen is the encoder's own; a loss of a task says
//!              besides how wrong the model is
//! Numerics:    without dropout; a parameter counts as without gradient below 1e-10 of the length of all

use bert4rs_tensor::op::optimizer::squared_norm;
use bert4rs_tensor::{Params, Rng, Tensor, backward, grad};
use serde::Serialize;

use super::{Batch, parameter};
use crate::encoder::{Encoder, EncoderConfig, Mixer, Norm, Position};
use crate::{Ctx, Result};

/// Below this share of the whole gradient there is none.
const NOTHING: f64 = 1e-10;

/// Lengths of gradients of one batch.
#[derive(Clone, Debug, Serialize)]
pub struct Gradients {
    /// What the loss is: `probe`, or the name of a task.
    pub loss_kind: String,
    /// Its value.
    pub loss: f64,
    /// With respect to all parameters.
    pub all: f64,
    /// With respect to the parameters before the first layer.
    pub embedding: f64,
    /// With respect to the parameters of each layer; of layers that share, of each group.
    pub layers: Vec<f64>,
    /// With respect to the embedded tokens and every layer's output; of the probe only.
    pub hidden: Vec<f64>,
    /// Parameters without a gradient, except those that never have one in this architecture.
    pub without: Vec<String>,
    /// Parameters whose gradient is not finite.
    pub not_finite: Vec<String>,
}

/// The gradients of the probe.
pub fn of_probe(encoder: &Encoder, params: &Params, batch: &Batch) -> Result<Gradients> {
    let ctx = &mut Ctx::training(Rng::new(0));
    let all = encoder.forward_all(ctx, batch.input(), &batch.mask)?;
    let last = &all[all.len() - 1]; // the embedding at least
    let directions = Rng::new(0).fork("probe").normal_tensor(last.shape(), 1.0, last.dtype())?;
    let root = (last.elements().max(1) as f64).sqrt();
    let loss = last.mul(&directions)?.sum_all()?.mul_scalar(1.0 / root)?;
    let value = loss.item()?;
    let leaves: Vec<Tensor> = params.iter().map(|p| p.leaf()).collect();
    let wanted: Vec<&Tensor> = all.iter().chain(&leaves).filter(|x| x.is_tracked()).collect();
    let mut gradients = grad(&loss, &wanted, false)?.into_iter();
    let mut next = |x: &Tensor| if x.is_tracked() { gradients.next() } else { None };
    let hidden = all.iter().map(|x| length(next(x).as_ref())).collect::<Result<Vec<_>>>()?;
    let of_parameters: Vec<Option<Tensor>> = leaves.iter().map(&mut next).collect();
    Ok(Gradients { hidden, ..sorted(encoder.config(), params, &of_parameters, value, "probe")? })
}

/// The gradients of the loss of a task, which was made in training mode.
pub fn of_loss(config: &EncoderConfig, params: &Params, loss: &Tensor, kind: &str) -> Result<Gradients> {
    let value = loss.item()?;
    let gradients = backward(loss.clone())?;
    let of_parameters: Vec<Option<Tensor>> =
        params.iter().map(|p| gradients.of(&p.leaf()).cloned()).collect();
    sorted(config, params, &of_parameters, value, kind)
}

fn sorted(
    config: &EncoderConfig,
    params: &Params,
    gradients: &[Option<Tensor>],
    loss: f64,
    kind: &str,
) -> Result<Gradients> {
    let lengths = gradients.iter().map(|g| length(g.as_ref())).collect::<Result<Vec<f64>>>()?;
    let all = lengths.iter().map(|l| l * l).sum::<f64>().sqrt();
    let (mut layers, mut embedding) = (vec![0.0; config.groups()], 0.0);
    let (mut without, mut not_finite) = (Vec::new(), Vec::new());
    for (parameter, &length) in params.iter().zip(&lengths) {
        let name = parameter.name();
        match parameter::place(name) {
            Some((layer, _)) if layer < layers.len() => layers[layer] += length * length,
            _ if name.starts_with("embeddings") => embedding += length * length,
            _ => {}
        }
        if !length.is_finite() {
            not_finite.push(name.to_string());
        } else if length <= NOTHING * all && !parameter.is_frozen() && !never_has_one(config, name) {
            without.push(name.to_string());
        }
    }
    Ok(Gradients {
        loss_kind: kind.to_string(),
        loss,
        all,
        embedding: f64::sqrt(embedding),
        layers: layers.into_iter().map(f64::sqrt).collect(),
        hidden: Vec::new(),
        without,
        not_finite,
    })
}

fn length(gradient: Option<&Tensor>) -> Result<f64> {
    Ok(gradient.map_or(Ok(0.0), |g| squared_norm([g]))?.sqrt())
}

/// Parameters that the hidden states do not depend on: the same number added to everything that a softmax or
/// a layer norm reads changes nothing.
pub fn never_has_one(config: &EncoderConfig, parameter: &str) -> bool {
    let layer_norm = matches!(config.norm, Norm::Layer { .. });
    match config.mixer {
        Mixer::Attention(_) => {
            let seen = match config.position {
                Position::Rotary { .. } | Position::Disentangled { .. } => true,
                Position::None
                | Position::Learned { .. }
                | Position::Sinusoidal
                | Position::RelativeKeys { .. }
                | Position::Buckets { .. }
                | Position::Alibi => false,
            };
            !seen && parameter.ends_with("self.key.bias")
        }
        Mixer::ExternalAttention { row_softmax: false, .. } => {
            ["external.input.bias", "attention.output.LayerNorm.bias"].iter().any(|p| parameter.ends_with(p))
        }
        Mixer::MlpMixer { .. } => layer_norm && parameter.ends_with("positions.outer.bias"),
        Mixer::ResMlp { .. } => layer_norm && parameter.ends_with("positions.bias"),
        // Its own norm, over positions, does see the bias of the layer before.
        Mixer::FeedForwardOnly { .. } => {
            layer_norm && parameter == format!("encoder.layer.{}.positions.outer.bias", config.layers - 1)
        }
        Mixer::ExternalAttention { row_softmax: true, .. }
        | Mixer::GatedAttention { .. }
        | Mixer::SpatialGate { .. }
        | Mixer::Lstm { .. }
        | Mixer::Gru { .. }
        | Mixer::DilatedGatedConvolution { .. }
        | Mixer::Fourier
        | Mixer::Synthesizer { .. }
        | Mixer::LightConvolution { .. } => false,
    }
}

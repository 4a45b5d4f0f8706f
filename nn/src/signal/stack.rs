//! What the start of weights predicts for every layer of a new stack of attention.
//! Definition:  x of variance s, tokens of one text alike by r (correlation); a part adds a branch of variance
//!              b, alike by c: s' = a^2 s + b, r' = (a^2 s r + b c) / s'; a norm then makes s' 1
//! Attention:   scores of variance t: the squares of n weights sum to g(t (1 - r)) / n, those of two queries
//!              to g(t r (1 - r)) / n, g = exp; so b = (r + (1 - r) g / n) D s_v^2 D s_o^2
//! Feed-forward: moments of f(u), u normal of variance D s_1^2, and of f(u) f(u') alike by r
//! Numerics:    a mean field: exact for wide layers with weights of their own; with shared ones less so
//! Reference:   branch_variance of signal.rs, followed through depth

use std::collections::HashMap;

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Params, Rng, normal};

use super::moments;
use crate::block::attention::visible_counts;
use crate::encoder::{
    Activation, AttentionConfig, Encoder, EncoderConfig, FeedForward, Norm, ResidualScale, WeightInit,
    Wiring, deep_norm_alpha,
};
use crate::{Builder, Result, Start};

/// How every parameter of a new encoder starts, in their order. Costs little time.
pub fn starts(config: &EncoderConfig) -> Result<Vec<Start>> {
    let (mut params, mut rng, mut starts) = (Params::new(), Rng::new(0), Vec::new());
    let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
    Encoder::new(&mut builder.listing(&mut starts), config)?;
    Ok(starts)
}

/// Scales (roots of mean squares) in a layer of a new model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerPrediction {
    /// What the mixer adds.
    pub mixer: f64,
    /// What the feed-forward part adds.
    pub feed_forward: Option<f64>,
    /// The layer's output.
    pub hidden: f64,
    /// How alike the tokens of a text are: their correlation.
    pub alike: f64,
    /// The share of the embedding in the output.
    pub left: f64,
}

/// Every layer of a new encoder of attention and feed-forward parts, for a batch whose embedded tokens have this
/// `scale` and are `alike`; none for other mixers.
pub fn predict(
    config: &EncoderConfig,
    batch: &Packed,
    mask: &Mask,
    scale: f64,
    alike: f64,
) -> Result<Option<Vec<LayerPrediction>>> {
    let Some(attention) = config.attention() else { return Ok(None) };
    let starts: HashMap<String, f64> =
        starts(config)?.into_iter().map(|start| (start.name.clone(), start.scale())).collect();
    let kind =
        if starts.contains_key("encoder.group.0.attention.self.value.weight") { "group" } else { "layer" };
    let normalises = !matches!(config.norm, Norm::None | Norm::Affine);
    let reads_normed = config.wiring.reads_normed() && normalises;
    let mut x = Stream { variance: scale * scale, alike: alike.clamp(0.0, 1.0), left: 1.0 };
    let mut layers = Vec::with_capacity(config.layers);
    for layer in 0..config.layers {
        let place = format!("encoder.{kind}.{}", config.group(layer));
        let start = |name: &str| starts.get(&format!("{place}.{name}.weight")).copied().unwrap_or(0.0);
        let weights = Weights { config, start: &start };
        let first = layer == 0 && config.embedding.norm_is_first;
        let read = if reads_normed && !first { 1.0 } else { x.variance };
        let counts = visible_counts(mask, attention.window(layer), batch);
        let keys = counts.iter().map(|&n| 1.0 / n.max(1) as f64).sum::<f64>() / counts.len().max(1) as f64;
        let mixer = put_out(config, weights.attention(attention, read, x.alike, keys)?, normalises);
        x.add(config, mixer, normalises);
        let read = if reads_normed { 1.0 } else { x.variance };
        let feed_forward =
            weights.feed_forward(read, x.alike).map(|branch| put_out(config, branch, normalises));
        if let Some(branch) = feed_forward {
            x.add(config, branch, normalises);
        }
        layers.push(LayerPrediction {
            mixer: branch_factor(config) * mixer.variance.sqrt(),
            feed_forward: feed_forward.map(|branch| branch_factor(config) * branch.variance.sqrt()),
            hidden: x.variance.sqrt(),
            alike: x.alike,
            left: x.left,
        });
    }
    Ok(Some(layers))
}

#[derive(Clone, Copy)]
struct Branch {
    variance: f64,
    alike: f64,
}

struct Stream {
    variance: f64,
    alike: f64,
    left: f64,
}

impl Stream {
    fn add(&mut self, config: &EncoderConfig, branch: Branch, normalises: bool) {
        let factor = match config.wiring {
            Wiring::PostNorm | Wiring::PreNorm | Wiring::T5 | Wiring::Sandwich | Wiring::Admin => 1.0,
            Wiring::DeepNorm { alpha } => alpha.unwrap_or_else(|| deep_norm_alpha(config.layers)).powi(2),
            Wiring::Stack => 0.0,
        };
        let (before, added) = (factor * self.variance, branch_factor(config).powi(2) * branch.variance);
        let sum = (before + added).max(f64::MIN_POSITIVE);
        self.alike = (before * self.alike + added * branch.alike) / sum;
        self.left *= (before / sum).sqrt();
        self.variance = if normalises && !config.wiring.reads_normed() { 1.0 } else { sum };
    }
}

/// What a part puts out, behind the norm that may follow it.
fn put_out(config: &EncoderConfig, branch: Branch, normalises: bool) -> Branch {
    match config.wiring {
        Wiring::Sandwich if normalises => Branch { variance: 1.0, ..branch },
        Wiring::Sandwich
        | Wiring::PostNorm
        | Wiring::PreNorm
        | Wiring::T5
        | Wiring::DeepNorm { .. }
        | Wiring::Admin
        | Wiring::Stack => branch,
    }
}

fn branch_factor(config: &EncoderConfig) -> f64 {
    match config.residual_scale {
        ResidualScale::None => 1.0,
        ResidualScale::Fixed { factor } => factor.abs(),
        ResidualScale::Scalar { start } | ResidualScale::Channels { start } => start.abs(),
    }
}

/// The scales of a layer's matrices by name.
struct Weights<'a> {
    config: &'a EncoderConfig,
    start: &'a dyn Fn(&str) -> f64,
}

impl Weights<'_> {
    /// The variance that a product of so many inputs multiplies by.
    fn product(&self, name: &str, inputs: usize) -> f64 {
        let variance = (self.start)(name).powi(2);
        // The other parametrisation divides by the root of the inputs itself.
        if self.config.init == WeightInit::Ntk { variance } else { inputs as f64 * variance }
    }

    fn attention(&self, attention: &AttentionConfig, read: f64, alike: f64, keys: f64) -> Result<Branch> {
        let width = self.config.hidden_size;
        let [key_size, value_size] = attention.sizes(width);
        let of = |name: &str| self.product(&format!("attention.self.{name}"), width);
        let scale = attention.scale.constant(key_size)?;
        let scores = read * of("query") * read * of("key") * key_size as f64 * scale * scale;
        let differs = scores * (1.0 - alike);
        let (same, other) = (differs.exp() * keys, (differs * alike).exp() * keys);
        let (same, other) = (alike + (1.0 - alike) * same.min(1.0), alike + (1.0 - alike) * other.min(1.0));
        let values =
            read * of("value") * self.product("attention.output.dense", attention.heads * value_size);
        Ok(Branch { variance: same * values, alike: other / same.max(f64::MIN_POSITIVE) })
    }

    fn feed_forward(&self, read: f64, alike: f64) -> Option<Branch> {
        let width = self.config.hidden_size;
        let outer = |size: usize| self.product("output.dense", size);
        match self.config.feed_forward {
            FeedForward::None => None,
            FeedForward::Dense { size, activation } => {
                let inner = read * self.product("intermediate.dense", width);
                let (second, both) = pair(activation, inner, alike);
                Some(Branch { variance: outer(size) * second, alike: both / second.max(f64::MIN_POSITIVE) })
            }
            FeedForward::Gated { size, activation } => {
                let gate = read * self.product("intermediate.gate", width);
                let up = read * self.product("intermediate.dense", width);
                let (second, both) = pair(activation, gate, alike);
                let alike = both * alike / second.max(f64::MIN_POSITIVE);
                Some(Branch { variance: outer(size) * second * up, alike })
            }
        }
    }
}

/// `E f(u)^2` and `E f(u) f(v)` of normal `u`, `v` of this variance that are `alike`.
fn pair(activation: Activation, variance: f64, alike: f64) -> (f64, f64) {
    const HALF: i32 = 60; // steps of a tenth: ample for what is smooth
    let scale = variance.sqrt();
    let second = moments(|z| value(activation, scale * z)).1;
    let (common, own) = (scale * alike.clamp(0.0, 1.0).sqrt(), scale * (1.0 - alike.clamp(0.0, 1.0)).sqrt());
    let mean = |f: &dyn Fn(f64) -> f64| -> f64 {
        (-HALF..=HALF).map(|i| f64::from(i) / 10.0).map(|z| 0.1 * normal::density(z) * f(z)).sum()
    };
    let both = mean(&|c| mean(&|e| value(activation, common * c + own * e)).powi(2));
    (second, both.min(second))
}

fn value(activation: Activation, x: f64) -> f64 {
    bert4rs_tensor::op::Activation::from(activation).apply(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::bert;
    use crate::signal::branch_variance;

    #[test]
    fn the_first_layer_is_that_of_the_formula() {
        // No correlation, and keys that make scores of no size.
        let config = bert();
        let batch = Packed::from_lengths(&[128]);
        let layers = predict(&config, &batch, &Mask::Full, 1.0, 0.0).unwrap().unwrap();
        let formula = branch_variance([768, 3072], 0.02, 128, 0.0);
        let mixer = layers[0].mixer.powi(2) / formula.attention;
        assert!((1.0..1.12).contains(&mixer), "{mixer}: scores that differ a little gather a little more");
        let fed = layers[0].feed_forward.unwrap().powi(2);
        assert!((fed / formula.feed_forward - 1.0).abs() < 1e-6, "{fed} {formula:?}");
        assert!((layers[11].hidden - 1.0).abs() < 1e-12 && layers[11].alike > layers[0].alike);
        // Between two norms each of 24 parts adds a variance of 1.
        let config = EncoderConfig { wiring: Wiring::Sandwich, ..config };
        let layers = predict(&config, &batch, &Mask::Full, 1.0, 0.0).unwrap().unwrap();
        assert!((layers[11].hidden - 5.0).abs() < 1e-12, "{}", layers[11].hidden);
    }

    #[test]
    fn pairs_have_the_moments_of_their_ends() {
        for activation in [Activation::Gelu, Activation::Silu, Activation::Tanh] {
            let f = |z: f64| value(activation, 1.3 * z);
            let (mean, second) = moments(f);
            let (at_one, at_zero) = (pair(activation, 1.69, 1.0), pair(activation, 1.69, 0.0));
            assert!((at_one.0 - second).abs() < 1e-6 && (at_one.1 - second).abs() < 1e-6, "{activation:?}");
            assert!((at_zero.1 - mean * mean).abs() < 1e-6, "{activation:?}");
        }
    }
}

//! Self-attention over a packed batch, and the family that an [`AttentionConfig`] describes.
//! Definition:  softmax(s Q K^T + ..) V W_o, Q, K, V = x W_q, x W_k, x W_v
//! Shapes:      x [T, D] -> [T, D]; queries and keys [T, H K], values [T, H V]
//! Cost:        one fused operation where scores only get a factor, a mask, a window or a bias by
//!              distance; otherwise step by step, with all scores of a text at hand
//! Reference:   Vaswani et al., Attention is all you need, 2017.

mod cross;
mod dense;
mod distance;
mod gradient_scale;
mod pairs;
mod past;
mod relative;
mod scale;
mod scores;
mod talking_heads;

use bert4rs_tensor::op::attention::{Attention, attention, joint_attention};
use bert4rs_tensor::op::feed_forward::Layer;
use bert4rs_tensor::op::joint_linear::joint_linear;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Parameter, Tensor};

pub use cross::{CrossAttention, Reading};
pub use dense::Carried;
pub use distance::{DistanceBuckets, alibi_bias, alibi_slopes, t5_bucket};
pub use gradient_scale::{
    empirical_scale, log_mean_exponential, optimal_scale_cosine, optimal_scale_normal, softmax_gradient_l1,
};
pub use pairs::{gather_pairs, spread_pairs};
pub use past::Past;
pub(crate) use past::{rows_of_texts, selected};
pub use relative::{Relative, RelativeKeys, deberta_bucket, disentangled_scores};
pub use scale::AttentionScale;
pub use scores::{heads_of, rows_of, scaled_scores, visible, visible_counts, visible_softmax};
pub use talking_heads::{identity_mixing, mix_heads};

use super::Linear;
use super::layer::Surroundings;
use super::position::Rotation;
use crate::encoder::{AttentionConfig, ResidualScores};
use crate::{Builder, Ctx, Init, Result};

/// The products of attention, and what changes its scores.
#[derive(Clone)]
pub struct SelfAttention {
    inputs: Inputs,
    output: Linear,
    heads: usize,
    key_size: usize,
    value_size: usize,
    dropout: f64,
    scale: AttentionScale,
    residual_scores: ResidualScores,
    before: Option<Parameter>,
    after: Option<Parameter>,
    /// Largest distance of a key, in a local layer.
    window: Option<usize>,
}

/// The layers that make queries, keys and values.
#[derive(Clone)]
enum Inputs {
    /// Three, as they are trained and saved.
    Apart([Linear; 3]),
    /// One, prepared for inference.
    Joint(Linear),
}

impl SelfAttention {
    /// Named as in BERT's files: `self.query`, `self.key`, `self.value`, `output.dense`; talking heads
    /// besides as `self.mix_before` and `self.mix_after`. `inits` in this order.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        config: &AttentionConfig,
        layer: usize,
        bias: bool,
        inits: [Init; 4],
    ) -> Result<Self> {
        let (heads, [key_size, value_size]) = (config.heads, config.sizes(width));
        let mut input = |name: &str, size: usize, init| {
            Linear::new(&mut builder.at(format!("self.{name}")), width, heads * size, bias, init)
        };
        let inputs = Inputs::Apart([
            input("query", key_size, inits[0])?,
            input("key", key_size, inits[1])?,
            input("value", value_size, inits[2])?,
        ]);
        let output = Linear::new(&mut builder.at("output.dense"), heads * value_size, width, bias, inits[3])?;
        let mut mixing = |name: &str, wanted: bool| {
            wanted.then(|| identity_mixing(&mut builder.at("self"), name, heads)).transpose()
        };
        Ok(Self {
            inputs,
            output,
            heads,
            key_size,
            value_size,
            dropout: config.dropout,
            scale: config.scale,
            residual_scores: config.residual_scores,
            before: mixing("mix_before", config.talking_heads.before())?,
            after: mixing("mix_after", config.talking_heads.after())?,
            window: config.window(layer),
        })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        if let Inputs::Apart([query, key, value]) = &self.inputs {
            let mut joint = Linear::joined(&[query, key, value])?;
            joint.prepare(precision)?;
            self.inputs = Inputs::Joint(joint);
        }
        self.output.prepare(precision)
    }

    /// What every token gathers from those it sees, plus `residual`.
    pub fn forward(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        around: &Surroundings,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let joint = self.inputs(ctx, x)?; // [T, 2 H K + H V]
        let rotation = match self.window {
            Some(_) => around.local_rotation.as_ref().or(around.rotation.as_ref()),
            None => around.rotation.as_ref(),
        };
        if let Some(past) = around.reading.borrow_mut().as_mut().and_then(|reading| reading.past.as_mut()) {
            let [q, k, v] = self.split(&joint)?;
            let [k, v] = past.join([k, v], around.batch)?;
            let q = sharpened(q, self.scale.factors(self.key_size, || past.counts(around.batch)))?;
            let how = Attention { keys: Some(past.batch().clone()), ..self.how(ctx, around)? };
            let gathered = attention(&q, &k, &v, around.batch, &how)?;
            return self.output.forward_with(ctx, &gathered, None, residual);
        }
        let gathered = match self.turned(&joint, around, rotation)? {
            Turned::Joint(joint) => {
                joint_attention(&joint, self.key_size, around.batch, &self.how(ctx, around)?)?
            }
            Turned::Apart([q, k, v]) if self.needs_scores(around) => self.dense(ctx, [&q, &k, &v], around)?,
            Turned::Apart([q, k, v]) => attention(&q, &k, &v, around.batch, &self.how(ctx, around)?)?,
        }; // [T, H V]
        self.output.forward_with(ctx, &gathered, None, residual)
    }

    /// Whether something happens to scores that the fused operation does not know.
    fn needs_scores(&self, around: &Surroundings) -> bool {
        self.residual_scores != ResidualScores::Off
            || self.before.is_some()
            || self.after.is_some()
            || around.relative.is_some()
            || around.watch.is_some()
    }

    fn how(&self, ctx: &mut Ctx, around: &Surroundings) -> Result<Attention> {
        let scale = self.scale.constant(self.key_size)?;
        Ok(Attention {
            window: self.window,
            bias: around.bias.clone(),
            dropout: ctx.seed(self.dropout).map(|seed| (self.dropout, seed)),
            ..Attention::new(self.heads, scale, around.mask.clone())
        })
    }

    /// Queries, keys and values side by side.
    fn inputs(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        match &self.inputs {
            Inputs::Joint(joint) => joint.forward(ctx, x),
            Inputs::Apart(apart) if ctx.half().is_some() => {
                let parts = apart.iter().map(|layer| layer.forward(ctx, x)).collect::<Result<Vec<_>>>()?;
                Ok(Tensor::concat(&parts.iter().collect::<Vec<_>>(), -1)?)
            }
            Inputs::Apart(apart) => {
                let values = apart.iter().map(|layer| layer.values(ctx)).collect::<Result<Vec<_>>>()?;
                let layers: Vec<Layer> =
                    values.iter().map(|(weight, bias)| Layer { weight, bias: bias.as_ref() }).collect();
                Ok(joint_linear(x, &layers)?)
            }
        }
    }

    /// Queries and keys turned by their positions, queries sharpened by the number of their keys; apart
    /// where the next step needs them so.
    fn turned(&self, joint: &Tensor, around: &Surroundings, rotation: Option<&Rotation>) -> Result<Turned> {
        let counts = || visible_counts(around.mask, self.window, around.batch);
        let factors = self.scale.factors(self.key_size, counts);
        if factors.is_none() && !self.needs_scores(around) {
            match rotation {
                None => return Ok(Turned::Joint(joint.clone())),
                Some(rotation) if self.key_size == self.value_size => {
                    if let Some(turned) = rotation.turn_joint(joint, self.heads)? {
                        return Ok(Turned::Joint(turned));
                    }
                }
                Some(_) => {}
            }
        }
        let [mut q, mut k, v] = self.split(joint)?;
        if let Some(rotation) = rotation {
            q = rotation.turn_queries(&q, self.heads)?;
            k = rotation.turn(&k, self.heads)?;
        }
        Ok(Turned::Apart([sharpened(q, factors)?, k, v]))
    }

    /// Queries, keys and values apart.
    fn split(&self, joint: &Tensor) -> Result<[Tensor; 3]> {
        let (keys, values) = (self.heads * self.key_size, self.heads * self.value_size);
        Ok([joint.narrow(1, 0, keys)?, joint.narrow(1, keys, keys)?, joint.narrow(1, 2 * keys, values)?])
    }
}

/// Queries times their factors, where they have some.
fn sharpened(q: Tensor, factors: Option<Vec<f64>>) -> Result<Tensor> {
    match factors {
        None => Ok(q),
        Some(factors) => Ok(q.mul(&Tensor::new(factors, &[q.shape()[0], 1])?.cast(q.dtype())?)?),
    }
}

enum Turned {
    Joint(Tensor),
    Apart([Tensor; 3]),
}

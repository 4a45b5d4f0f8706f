//! Self-attention over a packed batch, with rotary positions where the encoder has them.
//! Definition:  softmax(Q K^T / sqrt(K)) V W_o, Q, K, V = x W_q, x W_k, x W_v
//! Shapes:      x [T, D] -> [T, D]; heads side by side in [T, H K]
//! Reference:   Vaswani et al., Attention is all you need, 2017.

mod distance;
mod gradient_scale;
mod pairs;
mod relative;
mod scale;
mod scores;
mod talking_heads;

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::attention::{Attention, attention, joint_attention};
use bert4rs_tensor::op::feed_forward::Layer;
use bert4rs_tensor::op::joint_linear::joint_linear;
use bert4rs_tensor::op::prepared::WeightPrecision;

pub use distance::{DistanceBuckets, alibi_bias, alibi_slopes, t5_bucket};
pub use gradient_scale::{
    empirical_scale, log_mean_exponential, optimal_scale_cosine, optimal_scale_normal, softmax_gradient_l1,
};
pub use pairs::{gather_pairs, spread_pairs};
pub use relative::{RelativeKeys, deberta_bucket, disentangled_scores};
pub use scale::AttentionScale;
pub use scores::{heads_of, rows_of, scaled_scores, visible, visible_counts, visible_softmax};
pub use talking_heads::{identity_mixing, mix_heads};

use super::Linear;
use super::layer::Surroundings;
use crate::{Builder, Ctx, Init, Result};

/// The products of attention.
#[derive(Clone)]
pub struct SelfAttention {
    inputs: Inputs,
    output: Linear,
    heads: usize,
    key_size: usize,
    dropout: f64,
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
    /// Named as in BERT's files: `self.query`, `self.key`, `self.value`, `output.dense`.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        heads: usize,
        key_size: usize,
        dropout: f64,
        bias: bool,
        [query, key, value, output]: [Init; 4],
    ) -> Result<Self> {
        let inner = heads * key_size;
        let mut input =
            |name: &str, init| Linear::new(&mut builder.at(format!("self.{name}")), width, inner, bias, init);
        let inputs = Inputs::Apart([input("query", query)?, input("key", key)?, input("value", value)?]);
        let output = Linear::new(&mut builder.at("output.dense"), inner, width, bias, output)?;
        Ok(Self { inputs, output, heads, key_size, dropout })
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
        let joint = self.inputs(ctx, x)?; // [T, 3 H K]
        let how = Attention {
            dropout: ctx.seed(self.dropout).map(|seed| (self.dropout, seed)),
            ..Attention::new(self.heads, 1.0 / (self.key_size as f64).sqrt(), around.mask.clone())
        };
        let turned = match &around.rotation {
            None => Some(joint.clone()),
            Some(rotation) => rotation.turn_joint(&joint, self.heads)?,
        };
        let gathered = match (turned, &around.rotation) {
            (Some(joint), _) => joint_attention(&joint, self.key_size, around.batch, &how)?,
            (None, rotation) => {
                let inner = self.heads * self.key_size;
                let part = |i: usize| joint.narrow(1, i * inner, inner);
                let (mut q, mut k, v) = (part(0)?, part(1)?, part(2)?);
                if let Some(rotation) = rotation {
                    q = rotation.turn_queries(&q, self.heads)?;
                    k = rotation.turn(&k, self.heads)?;
                }
                attention(&q, &k, &v, around.batch, &how)?
            }
        }; // [T, H K]
        self.output.forward_with(ctx, &gathered, None, residual)
    }

    /// Queries, keys and values side by side.
    fn inputs(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        match &self.inputs {
            Inputs::Joint(joint) => joint.forward(ctx, x),
            Inputs::Apart(apart) => {
                let values = apart.iter().map(|layer| layer.values(ctx)).collect::<Result<Vec<_>>>()?;
                let layers: Vec<Layer> =
                    values.iter().map(|(weight, bias)| Layer { weight, bias: bias.as_ref() }).collect();
                Ok(joint_linear(x, &layers)?)
            }
        }
    }
}

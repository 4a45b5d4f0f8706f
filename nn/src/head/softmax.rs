//! Softmax tagging: every token by itself.
//! Definition:  p(y_t) = softmax(f_t)[y_t];  loss = mean over tokens of -log p
//! Shapes:      hidden [T, D] -> emissions f [T, C].  Cost O(T C D)
//! Reference:   textbook.                              Vectors: none (memm-crf.json has its case of one token)

use bert4rs_tensor::op::crf::{Transitions, crf_best_path};
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Tensor};

use super::tag::{TagHeadConfig, check_labels, emission_layer, restrict};
use super::tags::Constraints;
use crate::block::Linear;
use crate::loss::cross_entropy;
use crate::{Builder, Ctx, Result};

/// The head.
pub struct Softmax {
    dense: Linear,
    constraints: Option<Constraints>,
    tags: usize,
}

impl Softmax {
    /// Parameters `dense.weight [C, D]` and `dense.bias`.
    pub fn new(
        builder: &mut Builder,
        hidden_size: usize,
        config: &TagHeadConfig,
        constraints: Option<Constraints>,
    ) -> Result<Self> {
        config.check(constraints.as_ref())?;
        let dense = emission_layer(builder, hidden_size, config.tags)?;
        Ok(Self { dense, constraints, tags: config.tags })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.dense.prepare(precision)
    }

    /// Mean over tokens of the cross entropy of `labels [T]`.
    pub fn loss(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed, labels: &[usize]) -> Result<Tensor> {
        check_labels(labels, self.tags, batch)?;
        let targets: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
        cross_entropy(&self.dense.forward(ctx, hidden)?, &targets, 0.0)
    }

    /// The best tags of every sequence; with constraints the best legal ones.
    pub fn decode(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed) -> Result<Vec<Vec<usize>>> {
        let emissions = self.dense.forward(ctx, hidden)?.detach();
        match &self.constraints {
            Some(constraints) => legal_path(&emissions, constraints, batch),
            None => {
                let best: Vec<usize> = emissions.argmax(-1)?.to_indices()?;
                Ok((0..batch.sequences()).map(|b| best[batch.range(b)].to_vec()).collect())
            }
        }
    }

    /// `P(y_t = c)` of every token, `[T, C]`; no gradient.
    pub fn marginals(&self, ctx: &mut Ctx, hidden: &Tensor, _batch: &Packed) -> Result<Tensor> {
        Ok(self.dense.forward(ctx, hidden)?.detach().softmax()?)
    }
}

/// The tags with the largest sum of emissions among the legal sequences.
fn legal_path(emissions: &Tensor, allowed: &Constraints, batch: &Packed) -> Result<Vec<Vec<usize>>> {
    let tags = emissions.shape()[1];
    let zeros = |shape: &[usize]| Tensor::zeros(shape, emissions.dtype());
    let between = restrict(&zeros(&[tags, tags]), &allowed.between)?;
    let start = restrict(&zeros(&[tags]), &allowed.start)?;
    let end = restrict(&zeros(&[tags]), &allowed.end)?;
    let transitions = Transitions { between: &between, ends: Some((&start, &end)) };
    Ok(crf_best_path(emissions, transitions, batch)?.into_iter().map(|(path, _)| path).collect())
}

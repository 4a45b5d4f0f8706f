//! Attention with the scores of one text after the other at hand.
//! Definition:  S = s Q K^T (+ positions) (+ bias); R = S + R of the layer before; L = mixed R;
//!              A = softmax(L over visible keys); out = mixed A V (+ relative values)
//! Shapes:      q, k [T, H K], v [T, H V] -> [T, H V]
//! Numerics:    what is carried to the next layer is R before masks, divisions and mixing
//! Cost:        O(H L^2) memory for each text, kept for the backward pass

use bert4rs_tensor::Tensor;

use super::pairs::gather_pairs;
use super::relative::{Relative, deberta_bucket, disentangled_scores};
use super::{SelfAttention, heads_of, mix_heads, rows_of, scaled_scores, visible, visible_softmax};
use crate::block::Sight;
use crate::block::layer::Surroundings;
use crate::encoder::ResidualScores;
use crate::{Ctx, Result};

impl SelfAttention {
    /// What every token gathers, `[T, H V]`.
    pub(super) fn dense(
        &self,
        ctx: &mut Ctx,
        [q, k, v]: [&Tensor; 3],
        around: &Surroundings,
    ) -> Result<Tensor> {
        let seed = ctx.seed(self.dropout);
        let positions = self.position_products(ctx, around)?;
        let carried = around.carried.take();
        let (mut running, mut gathered) = (Vec::new(), Vec::new());
        let texts = (0..around.batch.sequences()).filter(|&index| around.batch.length(index) > 0);
        for (place, index) in texts.enumerate() {
            let (start, len) = (around.batch.offsets()[index], around.batch.length(index));
            let part = |x: &Tensor| heads_of(x, start, len, self.heads);
            let (q, k, v) = (part(q)?, part(k)?, part(v)?);
            let own = self.scores(&q, &k, around, positions.as_ref())?;
            let sum = match (self.residual_scores, carried.scores.get(place)) {
                (ResidualScores::Off, _) | (_, None) => own,
                (ResidualScores::RunningSum | ResidualScores::RunningMean, Some(before)) => {
                    own.add(before)?
                }
            };
            let mut scores = match self.residual_scores {
                ResidualScores::Off | ResidualScores::RunningSum => sum.clone(),
                ResidualScores::RunningMean => sum.mul_scalar(1.0 / (carried.layers + 1) as f64)?,
            };
            if self.residual_scores != ResidualScores::Off {
                running.push(sum);
            }
            if let Some(before) = &self.before {
                scores = mix_heads(&scores, &ctx.value(before))?;
            }
            let seen = visible(around.mask, self.window, around.batch, index, q.dtype())?;
            let mut weights = visible_softmax(&scores, &seen)?;
            if let Some(seed) = seed {
                weights = weights.dropout(self.dropout, seed.wrapping_add(index as u64))?;
            }
            if let Some(after) = &self.after {
                weights = mix_heads(&weights, &ctx.value(after))?;
            }
            if let Some(watch) = around.watch {
                watch(Sight::Weights { text: index, weights: &weights })?;
            }
            let mut out = weights.matmul(&v)?; // [H, L, V]
            if let Some(Relative::Keys(keys)) = &around.relative {
                out = out.add(&keys.values(&weights)?)?;
            }
            gathered.push(rows_of(&out)?);
        }
        if gathered.is_empty() {
            return Ok(v.clone()); // no token, so nothing to gather
        }
        around.carried.replace(Carried { scores: running, layers: carried.layers + 1 });
        let parts: Vec<&Tensor> = gathered.iter().collect();
        Ok(Tensor::concat(&parts, 0)?)
    }

    /// Scores of one text: `[H, L, L]`.
    fn scores(
        &self,
        q: &Tensor,
        k: &Tensor,
        around: &Surroundings,
        positions: Option<&[Tensor; 2]>,
    ) -> Result<Tensor> {
        let scale = self.scale.constant(self.key_size)?;
        let mut scores = match (&around.relative, positions) {
            (Some(Relative::Rerope(rerope)), _) => rerope.products(q, k)?.mul_scalar(scale)?,
            (Some(Relative::Keys(keys)), _) => {
                scaled_scores(q, k, scale)?.add(&keys.scores(q)?.mul_scalar(scale)?)?
            }
            (Some(Relative::Disentangled { buckets, longest, .. }), Some([queries, keys])) => {
                let bucket = |distance| deberta_bucket(distance, *buckets, *longest);
                let scale = scale / 3f64.sqrt(); // three parts of one variance
                let added = disentangled_scores(q, k, queries, keys, bucket)?;
                scaled_scores(q, k, scale)?.add(&added.mul_scalar(scale)?)?
            }
            (Some(Relative::Disentangled { .. }) | None, _) => scaled_scores(q, k, scale)?,
        };
        if let Some(bias) = &around.bias {
            let middle = bias.shape()[1] / 2;
            let rows = bias.reshape(&[self.heads, 1, bias.shape()[1]])?;
            scores = scores.add(&gather_pairs(&rows, q.shape()[1], |i, j| (0, middle + j - i))?)?;
        }
        Ok(scores)
    }

    /// Queries and keys of DeBERTa's table of distances, `[H, 2 S, K]` each.
    fn position_products(&self, ctx: &Ctx, around: &Surroundings) -> Result<Option<[Tensor; 2]>> {
        let Some(Relative::Disentangled { table, .. }) = &around.relative else { return Ok(None) };
        let [queries, keys, _] = self.split(&self.inputs(ctx, table)?)?;
        let heads = |x: &Tensor| heads_of(x, 0, table.shape()[0], self.heads);
        Ok(Some([heads(&queries)?, heads(&keys)?]))
    }
}

/// What residual scores hand from layer to layer.
#[derive(Clone, Default)]
pub struct Carried {
    /// For each text that is not empty the sum of scores so far, `[H, L, L]`.
    scores: Vec<Tensor>,
    /// Layers in it.
    layers: usize,
}

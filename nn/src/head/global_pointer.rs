//! GlobalPointer: scores every (start, end) pair of tokens once per type.
//! Definition:  q_i, k_i = rotary(W_s h_i + b_s);  s[type, i, j] = <q_i, k_j> / sqrt(K)
//! Shapes:      hidden [T, D], weight [S 2K, D] (per type K of the query, then K of the key)
//! Loss:        ZLPR per (sequence, type), streamed by the kernel.  Cost O(sum of L^2 S K)
//! Reference:   GlobalPointer, 2021; arXiv 2208.03054. Vectors: globalpointer.json

use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::op::span_score::{ScoredSpan, Span, SpanScores};
use bert4rs_tensor::{Packed, Tensor};
use serde::{Deserialize, Serialize};

use super::rotation::Rotation;
use super::span::{Projected, Reduction, check_config};
use crate::block::Linear;
use crate::{Builder, Ctx, Init, Result};

/// Settings of [`GlobalPointer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlobalPointerConfig {
    /// Span types.
    pub types: usize,
    /// Width of queries and keys; even with `rotary`.
    pub key_size: usize,
    /// Rotary positions; without them long texts confuse starts and ends of different spans.
    pub rotary: bool,
    /// Only pairs with start <= end; off for relations between spans.
    pub triangular: bool,
    /// Only spans of at most this many tokens.
    pub max_span_width: Option<usize>,
    /// Whether the projection has a bias.
    pub bias: bool,
    /// How rows become one loss.
    pub reduction: Reduction,
}

impl Default for GlobalPointerConfig {
    /// The article's settings; `types` is to be filled in.
    fn default() -> Self {
        Self {
            types: 0,
            key_size: 64,
            rotary: true,
            triangular: true,
            max_span_width: None,
            bias: true,
            reduction: Reduction::Mean,
        }
    }
}

/// The head.
pub struct GlobalPointer {
    dense: Linear,
    rotation: Option<Rotation>,
    rule: SpanScores,
    key_size: usize,
    reduction: Reduction,
}

impl GlobalPointer {
    /// Parameters `dense.weight [S 2K, D]` and `dense.bias`.
    pub fn new(builder: &mut Builder, hidden_size: usize, config: &GlobalPointerConfig) -> Result<Self> {
        let &GlobalPointerConfig { types, key_size, rotary, triangular, max_span_width, bias, reduction } =
            config;
        check_config("global_pointer", types, key_size, rotary)?;
        let outputs = types * 2 * key_size;
        Ok(Self {
            dense: Linear::new(&mut builder.at("dense"), hidden_size, outputs, bias, Init::LeCun)?,
            rotation: rotary.then(|| Rotation::new(key_size)),
            rule: SpanScores {
                types,
                scale: 1.0 / (key_size as f64).sqrt(),
                triangular,
                max_width: max_span_width,
                rotation: None,
            },
            key_size,
            reduction,
        })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.dense.prepare(precision)
    }

    pub(super) fn project<'a>(
        &'a self,
        ctx: &Ctx,
        hidden: &Tensor,
        batch: &'a Packed,
    ) -> Result<Projected<'a>> {
        let x = self.dense.forward(ctx, hidden)?; // [T, S 2K]
        let qk = x.reshape(&[x.shape()[0], self.rule.types, 2, self.key_size])?;
        let rotation = self.rotation.as_ref().map(|r| r.table(batch.longest()));
        let rule = SpanScores { rotation, ..self.rule.clone() };
        Ok(Projected { qk, bias: None, rule, batch })
    }

    /// The loss of a batch; `gold[b]` are the spans of sequence `b`, in any order. A span that is
    /// no candidate is an error.
    pub fn loss(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed, gold: &[Vec<Span>]) -> Result<Tensor> {
        self.project(ctx, hidden, batch)?.loss(gold, self.reduction)
    }

    /// Spans that score above `threshold` (0 is calibrated), per sequence, by (type, start, end);
    /// none starts or ends on a token marked in `special [T]`.
    pub fn decode(
        &self,
        ctx: &mut Ctx,
        hidden: &Tensor,
        batch: &Packed,
        special: &[bool],
        threshold: f64,
    ) -> Result<Vec<Vec<ScoredSpan>>> {
        self.project(ctx, hidden, batch)?.decode(special, threshold)
    }

    /// All scores of one sequence `[S, L, L]`, `-inf` where a pair is no candidate; no gradient.
    pub fn scores(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed, sequence: usize) -> Result<Tensor> {
        self.project(ctx, hidden, batch)?.scores(sequence)
    }

    /// Whether training can learn a span of a sequence of `length` tokens.
    pub fn is_candidate(&self, span: &Span, length: usize) -> bool {
        self.rule.is_candidate(span, length)
    }
}

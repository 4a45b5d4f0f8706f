//! What span heads share: the loss, decoding, and the choice between the heads.
//! Definition:  loss = ZLPR per (sequence, type); a span is found when its score exceeds the threshold
//! Shapes:      hidden [T, D]; spans have both ends inclusive, in tokens of their sequence
//! Numerics:    streamed by the kernel in the type of the scores; an empty sequence has loss 0
//! Reference:   GlobalPointer, 2021; ZLPR, 2022.       Vectors: globalpointer.json

use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::op::span_score::{
    ScoredSpan, Span, SpanScores, decode_spans, dense_span_scores, span_zlpr,
};
use bert4rs_tensor::{Packed, Tensor};
use serde::{Deserialize, Serialize};

use super::{EfficientGlobalPointer, EfficientGlobalPointerConfig, GlobalPointer, GlobalPointerConfig};
use crate::{Builder, Ctx, Error, Result};

/// How the losses of all (sequence, type) rows become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Mean over sequences and types (GlobalPointer).
    #[default]
    Mean,
    /// Sum over types, mean over sequences (GPLinker); the gradient is `types` times larger.
    SumOverTypes,
}

/// Queries, keys and biases of a batch.
pub(super) struct Projected<'a> {
    /// `[T, G, 2, K]`: G = types, or 1 shared by all types; the rule turns them.
    pub(super) qk: Tensor,
    /// Added to starts and ends, `[T, S]` each.
    pub(super) bias: Option<(Tensor, Tensor)>,
    pub(super) rule: SpanScores,
    pub(super) batch: &'a Packed,
}

impl Projected<'_> {
    fn bias(&self) -> Option<(&Tensor, &Tensor)> {
        self.bias.as_ref().map(|(start, end)| (start, end))
    }

    pub(super) fn loss(&self, gold: &[Vec<Span>], reduction: Reduction) -> Result<Tensor> {
        let rows = span_zlpr(&self.qk, self.bias(), &self.rule, gold, self.batch)?; // [B, S]
        let count = match reduction {
            Reduction::Mean => rows.elements(),
            Reduction::SumOverTypes => self.batch.sequences(),
        };
        Ok(rows.sum_all()?.mul_scalar(1.0 / count.max(1) as f64)?)
    }

    pub(super) fn decode(&self, special: &[bool], threshold: f64) -> Result<Vec<Vec<ScoredSpan>>> {
        if special.len() != self.batch.tokens() {
            return Err(Error::Input(format!(
                "{} marks of special tokens for {} tokens",
                special.len(),
                self.batch.tokens()
            )));
        }
        let bias = self.bias.as_ref().map(|(start, end)| (start.detach(), end.detach()));
        let bias = bias.as_ref().map(|(start, end)| (start, end));
        let mut found = decode_spans(&self.qk.detach(), bias, &self.rule, threshold, self.batch)?;
        for (b, spans) in found.iter_mut().enumerate() {
            let special = &special[self.batch.range(b)];
            spans.retain(|s| !special[s.span.start] && !special[s.span.end]);
        }
        Ok(found)
    }

    pub(super) fn scores(&self, sequence: usize) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|(start, end)| (start.detach(), end.detach()));
        let bias = bias.as_ref().map(|(start, end)| (start, end));
        Ok(dense_span_scores(&self.qk.detach(), bias, &self.rule, self.batch, sequence)?)
    }
}

/// Errors that every span head shares.
pub(super) fn check_config(head: &str, types: usize, key_size: usize, rotary: bool) -> Result<()> {
    if types == 0 || key_size == 0 {
        return Err(Error::Config(format!(
            "{head}: {types} types and key size {key_size}; both must be at least 1"
        )));
    }
    if rotary && key_size % 2 == 1 {
        return Err(Error::Config(format!(
            "{head}: key size {key_size} is odd, rotary positions need pairs; make it even or set rotary = false"
        )));
    }
    Ok(())
}

/// Flat spans out of nested ones: the best score first (then the lowest type, start and end), a
/// span is kept when none of its tokens is taken yet. The result is in order of start.
pub fn flat(spans: &[ScoredSpan]) -> Vec<ScoredSpan> {
    let mut order = spans.to_vec();
    order.sort_by(|a, b| {
        let place = |s: &ScoredSpan| (s.span.kind, s.span.start, s.span.end);
        b.score.total_cmp(&a.score).then(place(a).cmp(&place(b)))
    });
    let mut kept: Vec<ScoredSpan> = Vec::new();
    for s in order {
        let overlaps = |k: &ScoredSpan| s.span.start <= k.span.end && k.span.start <= s.span.end;
        if !kept.iter().any(overlaps) {
            kept.push(s);
        }
    }
    kept.sort_by_key(|s| s.span.start);
    kept
}

/// Which span head, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SpanHeadConfig {
    /// Queries and keys of its own for every type.
    GlobalPointer(GlobalPointerConfig),
    /// One shared span score and a small bias for every type.
    EfficientGlobalPointer(EfficientGlobalPointerConfig),
}

/// Either span head.
pub enum SpanHead {
    /// Queries and keys of its own for every type.
    GlobalPointer(GlobalPointer),
    /// One shared span score and a small bias for every type.
    EfficientGlobalPointer(EfficientGlobalPointer),
}

impl SpanHead {
    /// The head of a configuration.
    pub fn new(builder: &mut Builder, hidden_size: usize, config: &SpanHeadConfig) -> Result<Self> {
        Ok(match config {
            SpanHeadConfig::GlobalPointer(c) => {
                SpanHead::GlobalPointer(GlobalPointer::new(builder, hidden_size, c)?)
            }
            SpanHeadConfig::EfficientGlobalPointer(c) => {
                SpanHead::EfficientGlobalPointer(EfficientGlobalPointer::new(builder, hidden_size, c)?)
            }
        })
    }

    /// Arranges the weights for inference; see [`crate::block::Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        match self {
            SpanHead::GlobalPointer(head) => head.prepare(precision),
            SpanHead::EfficientGlobalPointer(head) => head.prepare(precision),
        }
    }

    fn project<'a>(&'a self, ctx: &Ctx, hidden: &Tensor, batch: &'a Packed) -> Result<Projected<'a>> {
        match self {
            SpanHead::GlobalPointer(head) => head.project(ctx, hidden, batch),
            SpanHead::EfficientGlobalPointer(head) => head.project(ctx, hidden, batch),
        }
    }

    /// The loss of a batch; `gold[b]` are the spans of sequence `b`, in any order.
    pub fn loss(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed, gold: &[Vec<Span>]) -> Result<Tensor> {
        match self {
            SpanHead::GlobalPointer(head) => head.loss(ctx, hidden, batch, gold),
            SpanHead::EfficientGlobalPointer(head) => head.loss(ctx, hidden, batch, gold),
        }
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
        match self {
            SpanHead::GlobalPointer(head) => head.is_candidate(span, length),
            SpanHead::EfficientGlobalPointer(head) => head.is_candidate(span, length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: usize, start: usize, end: usize, score: f64) -> ScoredSpan {
        ScoredSpan { span: Span { kind, start, end }, score }
    }

    #[test]
    fn the_best_of_overlapping_spans_is_kept() {
        let found = [span(0, 0, 2, 1.0), span(0, 1, 1, 3.0), span(1, 4, 5, 2.0), span(0, 5, 5, 1.5)];
        assert_eq!(flat(&found), [found[1], found[2]]);
        assert!(flat(&[]).is_empty());
    }

    #[test]
    fn equal_scores_go_to_the_lowest_type_then_start() {
        let found = [span(1, 0, 1, 1.0), span(0, 1, 2, 1.0), span(0, 2, 3, 1.0)];
        assert_eq!(flat(&found), [found[1]]);
    }
}

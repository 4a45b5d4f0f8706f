//! Scores of every (start, end) pair per span type, streamed: no array over pairs is ever kept.
//! Definition:  s[a, i, j] = scale <q_i, k_j> (+ (start[i, a] + end[j, a]) / 2)
//!              loss[b, a] = log(1 + sum over gold e^-s) + log(1 + sum over other candidates e^s)
//! Shapes:      qk [T, G, 2, K] (G = types, or 1 shared), start and end [T, S], loss [B, S]
//! Gradient:    fused, scores are recomputed.  Cost O(sum of L^2 G K), memory O(T)
//! Reference:   GlobalPointer, 2021; ZLPR, 2022.       Vectors: globalpointer.json

use std::any::Any;
use std::sync::Arc;

use bert4rs_kernels::rotary::Table;
use bert4rs_kernels::span_score as kernel;
pub use bert4rs_kernels::span_score::Span;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Packed, Result, Tensor};

/// Which pairs are candidates and how they score.
#[derive(Clone, Debug)]
pub struct SpanScores {
    /// Span types `S`.
    pub types: usize,
    /// Factor of the inner products, usually `1 / sqrt(K)`.
    pub scale: f64,
    /// Only pairs with start <= end.
    pub triangular: bool,
    /// Only pairs with end - start below this.
    pub max_width: Option<usize>,
    /// Turns queries and keys by their position before they meet.
    pub rotation: Option<SpanRotation>,
}

/// Rotary positions of queries and keys, neighbouring channels in pairs; cheap to clone.
#[derive(Clone, Debug)]
pub struct SpanRotation {
    single: Arc<Table<f32>>,
    double: Arc<Table<f64>>,
    positions: usize,
    size: usize,
}

impl SpanRotation {
    /// For positions `0..positions` of queries and keys with two channels per frequency.
    pub fn new(frequencies: &[f64], positions: usize) -> Self {
        Self {
            single: Arc::new(Table::new(frequencies, positions, 1.0)),
            double: Arc::new(Table::new(frequencies, positions, 1.0)),
            positions,
            size: 2 * frequencies.len(),
        }
    }

    /// The number of positions it holds.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// The table of one float type.
    fn table<T: 'static>(&self) -> Option<&Table<T>> {
        let (single, double): (&dyn Any, &dyn Any) = (&*self.single, &*self.double);
        single.downcast_ref().or_else(|| double.downcast_ref())
    }
}

impl SpanScores {
    fn check(
        &self,
        op: &'static str,
        qk: &Tensor,
        bias: Option<(&Tensor, &Tensor)>,
        batch: &Packed,
    ) -> Result<(usize, usize)> {
        let &[tokens, groups, 2, size] = qk.shape() else {
            return Error::shape(op, format!("qk {:?}: expected [T, G, 2, K]", qk.shape()));
        };
        let bias_fits = bias.is_none_or(|(s, e)| s.shape() == [tokens, self.types] && e.shape() == s.shape());
        if tokens != batch.tokens() || !(groups == self.types || groups == 1) || self.types == 0 || !bias_fits
        {
            return Error::shape(
                op,
                format!(
                    "qk {:?}, {} types, bias {:?}, {} packed tokens do not fit",
                    qk.shape(),
                    self.types,
                    bias.map(|b| b.0.shape()),
                    batch.tokens()
                ),
            );
        }
        if let Some(rotation) = &self.rotation
            && (rotation.size != size || rotation.positions < batch.longest())
        {
            return Error::shape(
                op,
                format!(
                    "a rotation of {} positions and {} channels for {} tokens and keys of {size}",
                    rotation.positions,
                    rotation.size,
                    batch.longest()
                ),
            );
        }
        Ok((groups, size))
    }

    fn kernel<'a>(&self, batch: &'a Packed, groups: usize, key_size: usize) -> kernel::SpanScore<'a> {
        kernel::SpanScore {
            offsets: batch.offsets(),
            types: self.types,
            groups,
            key_size,
            scale: self.scale,
            triangular: self.triangular,
            max_width: self.max_width,
        }
    }

    /// Whether a span of a sequence of `length` tokens is among the candidates.
    pub fn is_candidate(&self, span: &Span, length: usize) -> bool {
        span.kind < self.types
            && span.start < length
            && span.end < length
            && (!self.triangular || span.start <= span.end)
            && self.max_width.is_none_or(|w| span.end < span.start + w)
    }
}

macro_rules! inputs {
    ($T:ident, $scores:expr, $qk:expr, $bias:expr) => {
        kernel::Inputs {
            qk: $qk.values::<$T>()?,
            bias: match $bias {
                Some((s, e)) => Some(kernel::Bias { start: s.values::<$T>()?, end: e.values::<$T>()? }),
                None => None,
            },
            rotation: $scores.rotation.as_ref().and_then(SpanRotation::table::<$T>),
        }
    };
}

/// ZLPR loss of every (sequence, type), `[B, S]`; `positives[b]` are the gold spans of sequence `b`
/// in any order (both ends inclusive, in tokens of the sequence).
pub fn span_zlpr(
    qk: &Tensor,
    bias: Option<(&Tensor, &Tensor)>,
    scores: &SpanScores,
    positives: &[Vec<Span>],
    batch: &Packed,
) -> Result<Tensor> {
    let (groups, size) = scores.check("span_zlpr", qk, bias, batch)?;
    if positives.len() != batch.sequences() {
        return Error::shape(
            "span_zlpr",
            format!("{} lists of gold spans for {} sequences", positives.len(), batch.sequences()),
        );
    }
    let mut sorted = positives.to_vec();
    for (b, spans) in sorted.iter_mut().enumerate() {
        spans.sort_unstable();
        spans.dedup();
        if let Some(span) = spans.iter().find(|s| !scores.is_candidate(s, batch.length(b))) {
            return Error::value(
                "span_zlpr",
                format!("{span:?} of sequence {b} ({} tokens) is not among the candidates", batch.length(b)),
            );
        }
    }
    let positives = Arc::new(sorted);
    let rows = batch.sequences() * scores.types;
    let (loss, normalisers) = float!("span_zlpr", qk, T => {
        let (mut loss, mut normalisers) = (unset::<T>(rows), unset::<T>(rows * 2));
        kernel::zlpr_forward(&scores.kernel(batch, groups, size), inputs!(T, scores, qk, bias), &positives, &mut loss, &mut normalisers);
        Ok::<_, Error>((Storage::from(loss), Storage::from(normalisers)))
    })?;
    let normalisers = Tensor::constant(normalisers, vec![rows, 2]);
    let mut inputs = vec![qk];
    if let Some((start, end)) = bias {
        inputs.extend([start, end]);
    }
    let shape = vec![batch.sequences(), scores.types];
    let (scores, batch) = (scores.clone(), batch.clone());
    Ok(Tensor::made("span_zlpr", true, loss, shape, &inputs, move |step| {
        let qk = &step.inputs[0];
        let bias = step.inputs.get(1).zip(step.inputs.get(2));
        float!("span_zlpr", qk, T => {
            let mut d_qk = unset::<T>(qk.elements());
            let bias_size = bias.map_or(0, |(s, _)| s.elements());
            let (mut d_start, mut d_end) = (unset::<T>(bias_size), unset::<T>(bias_size));
            let d_bias = if bias.is_some() { Some((&mut d_start[..], &mut d_end[..])) } else { None };
            kernel::zlpr_backward(
                &scores.kernel(&batch, groups, size), inputs!(T, scores, qk, bias), &positives,
                normalisers.values()?, step.grad.values()?, &mut d_qk, d_bias,
            );
            let mut grads = vec![Some(Tensor::constant(Storage::from(d_qk), qk.shape().to_vec()))];
            if let Some((start, _)) = bias {
                grads.extend([d_start, d_end].map(|d| Some(Tensor::constant(Storage::from(d), start.shape().to_vec()))));
            }
            Ok(grads)
        })
    }))
}

fn refuse_gradient(op: &'static str, qk: &Tensor, bias: Option<(&Tensor, &Tensor)>) -> Result<()> {
    let bias = bias.into_iter().flat_map(<[&Tensor; 2]>::from);
    std::iter::once(qk).chain(bias).try_for_each(|x| x.refuse_gradient(op))
}

/// A span and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredSpan {
    /// The span, both ends inclusive, in tokens of its sequence.
    pub span: Span,
    /// Its score; above the threshold.
    pub score: f64,
}

/// Every candidate that scores above `threshold`, per sequence, by (type, start, end); no gradient.
pub fn decode_spans(
    qk: &Tensor,
    bias: Option<(&Tensor, &Tensor)>,
    scores: &SpanScores,
    threshold: f64,
    batch: &Packed,
) -> Result<Vec<Vec<ScoredSpan>>> {
    refuse_gradient("decode_spans", qk, bias)?;
    let (groups, size) = scores.check("decode_spans", qk, bias, batch)?;
    float!("decode_spans", qk, T => {
        use bert4rs_kernels::Real;
        let found = kernel::decode(&scores.kernel(batch, groups, size), inputs!(T, scores, qk, bias), T::from_f64(threshold));
        let convert = |s: kernel::ScoredSpan<T>| ScoredSpan { span: s.span, score: s.score.to_f64() };
        Ok(found.into_iter().map(|spans| spans.into_iter().map(convert).collect()).collect())
    })
}

/// All scores of one sequence, `[S, L, L]`, `-inf` where a pair is no candidate: for inspection of
/// short texts; no gradient. Memory O(S L^2).
pub fn dense_span_scores(
    qk: &Tensor,
    bias: Option<(&Tensor, &Tensor)>,
    scores: &SpanScores,
    batch: &Packed,
    sequence: usize,
) -> Result<Tensor> {
    refuse_gradient("dense_span_scores", qk, bias)?;
    let (groups, size) = scores.check("dense_span_scores", qk, bias, batch)?;
    if sequence >= batch.sequences() {
        return Error::value("dense_span_scores", format!("sequence {sequence} of {}", batch.sequences()));
    }
    let n = batch.length(sequence);
    let storage = float!("dense_span_scores", qk, T => {
        Ok::<_, Error>(Storage::from(kernel::dense(&scores.kernel(batch, groups, size), inputs!(T, scores, qk, bias), sequence)))
    })?;
    Ok(Tensor::constant(storage, vec![scores.types, n, n]))
}

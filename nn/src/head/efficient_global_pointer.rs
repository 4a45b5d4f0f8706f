//! Efficient GlobalPointer: one span score shared by all types, and a small bias per type.
//! Definition:  x = W_p h + b_p;  q, k = rotary(halves of x);  u = W_q x + b_q
//!              s[type, i, j] = <q_i, k_j> / sqrt(K) + (start_type[i] + end_type[j]) / 2
//! Shapes:      hidden [T, D], W_p [2K, D], W_q [2S, 2K]; 4K + 2 numbers per type
//! Loss:        ZLPR per (sequence, type); the shared product is computed once per pair
//! Reference:   Efficient GlobalPointer, 2022; arXiv 2208.03054. Vectors: efficient-globalpointer.json

use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::op::span_score::{ScoredSpan, Span, SpanScores};
use bert4rs_tensor::{Packed, Tensor};
use serde::{Deserialize, Serialize};

use super::rotation::Rotation;
use super::span::{Projected, Reduction, check_config};
use crate::block::Linear;
use crate::{Builder, Ctx, Init, Result};

/// Which channels are queries and which biases are starts; published libraries differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// q = even and k = odd channels; per type the end, then the start (bert4keras).
    #[default]
    Interleaved,
    /// q = first and k = second half; per type the start, then the end (bert4torch).
    Halves,
}

/// What the bias of a type is computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BiasInput {
    /// The `2K` projected channels.
    #[default]
    Projected,
    /// The hidden state: `2D` numbers per type, the article's first form.
    Hidden,
}

/// Settings of [`EfficientGlobalPointer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EfficientGlobalPointerConfig {
    /// Span types.
    pub types: usize,
    /// Width of queries and keys; even with `rotary`.
    pub key_size: usize,
    /// Rotary positions.
    pub rotary: bool,
    /// Only pairs with start <= end.
    pub triangular: bool,
    /// Only spans of at most this many tokens.
    pub max_span_width: Option<usize>,
    /// Whether the projections have biases.
    pub bias: bool,
    /// The order of channels in the weights.
    pub layout: Layout,
    /// What the bias of a type is computed from.
    pub bias_input: BiasInput,
    /// How rows become one loss.
    pub reduction: Reduction,
}

impl Default for EfficientGlobalPointerConfig {
    /// The article's settings; `types` is to be filled in.
    fn default() -> Self {
        Self {
            types: 0,
            key_size: 64,
            rotary: true,
            triangular: true,
            max_span_width: None,
            bias: true,
            layout: Layout::Interleaved,
            bias_input: BiasInput::Projected,
            reduction: Reduction::Mean,
        }
    }
}

impl EfficientGlobalPointerConfig {
    /// Weights of this configuration, by name, in another layout; other names pass unchanged. The
    /// configuration to build from them is this one with `layout: to`.
    pub fn convert_layout(&self, values: &[(String, Tensor)], to: Layout) -> Result<Vec<(String, Tensor)>> {
        if to == self.layout {
            return Ok(values.to_vec());
        }
        let size = self.key_size;
        let channel = |i: usize| match to {
            Layout::Halves => 2 * (i % size) + i / size,
            Layout::Interleaved => (i % 2) * size + i / 2,
        };
        let channels: Vec<usize> = (0..2 * size).map(channel).collect();
        let swapped: Vec<usize> = (0..2 * self.types).map(|i| i ^ 1).collect();
        let convert = |(name, value): &(String, Tensor)| {
            let part = |end: &str| name == end || name.ends_with(&format!(".{end}"));
            let value = if part("p_dense.weight") || part("p_dense.bias") {
                value.rows(&channels)?
            } else if part("q_dense.weight") {
                let columns = match self.bias_input {
                    BiasInput::Projected => value.t()?.rows(&channels)?.t()?,
                    BiasInput::Hidden => value.clone(),
                };
                columns.rows(&swapped)?
            } else if part("q_dense.bias") {
                value.rows(&swapped)?
            } else {
                value.clone()
            };
            Ok((name.clone(), value))
        };
        values.iter().map(convert).collect()
    }
}

/// The head.
pub struct EfficientGlobalPointer {
    p_dense: Linear,
    q_dense: Linear,
    rotation: Option<Rotation>,
    rule: SpanScores,
    config: EfficientGlobalPointerConfig,
}

impl EfficientGlobalPointer {
    /// Parameters `p_dense.weight [2K, D]`, `q_dense.weight [2S, 2K]` and their biases.
    pub fn new(
        builder: &mut Builder,
        hidden_size: usize,
        config: &EfficientGlobalPointerConfig,
    ) -> Result<Self> {
        let &EfficientGlobalPointerConfig { types, key_size, rotary, bias, .. } = config;
        check_config("efficient_global_pointer", types, key_size, rotary)?;
        let width = 2 * key_size;
        let bias_inputs = match config.bias_input {
            BiasInput::Projected => width,
            BiasInput::Hidden => hidden_size,
        };
        Ok(Self {
            p_dense: Linear::new(&mut builder.at("p_dense"), hidden_size, width, bias, Init::LeCun)?,
            q_dense: Linear::new(&mut builder.at("q_dense"), bias_inputs, 2 * types, bias, Init::LeCun)?,
            rotation: rotary.then(|| Rotation::new(key_size)),
            rule: SpanScores {
                types,
                scale: 1.0 / (key_size as f64).sqrt(),
                triangular: config.triangular,
                max_width: config.max_span_width,
                rotation: None,
            },
            config: config.clone(),
        })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.p_dense.prepare(precision)?;
        self.q_dense.prepare(precision)
    }

    pub(super) fn project<'a>(
        &'a self,
        ctx: &Ctx,
        hidden: &Tensor,
        batch: &'a Packed,
    ) -> Result<Projected<'a>> {
        let (types, size) = (self.rule.types, self.config.key_size);
        let x = self.p_dense.forward(ctx, hidden)?; // [T, 2K]
        let tokens = x.shape()[0];
        let u = match self.config.bias_input {
            BiasInput::Projected => self.q_dense.forward(ctx, &x)?,
            BiasInput::Hidden => self.q_dense.forward(ctx, hidden)?,
        };
        let u = u.reshape(&[tokens, types, 2])?;
        let part = |i: usize| u.narrow(2, i, 1)?.reshape(&[tokens, types]);
        let (qk, start, end) = match self.config.layout {
            Layout::Interleaved => (x.reshape(&[tokens, size, 2])?.permute(&[0, 2, 1])?, part(1)?, part(0)?),
            Layout::Halves => (x, part(0)?, part(1)?),
        };
        let qk = qk.reshape(&[tokens, 1, 2, size])?;
        let rotation = self.rotation.as_ref().map(|r| r.table(batch.longest()));
        let rule = SpanScores { rotation, ..self.rule.clone() };
        Ok(Projected { qk, bias: Some((start, end)), rule, batch })
    }

    /// The loss of a batch; `gold[b]` are the spans of sequence `b`, in any order. A span that is
    /// no candidate is an error.
    pub fn loss(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed, gold: &[Vec<Span>]) -> Result<Tensor> {
        self.project(ctx, hidden, batch)?.loss(gold, self.config.reduction)
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

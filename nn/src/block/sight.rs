//! What an encoder shows of its inside while it runs, to whoever looks; nobody does in training or
//! when it answers.
//! Cost:        nothing where nobody looks; else weights of attention are made step by step, `O(H L^2)`
//!              memory for one text at a time

use bert4rs_tensor::Tensor;

use crate::Result;

/// Takes what is shown; see [`Encoder::observe`](crate::encoder::Encoder::observe) for the order.
pub type Watch<'a> = dyn Fn(Sight) -> Result<()> + 'a;

/// One thing that is shown.
pub enum Sight<'a> {
    /// The embedding, then the output of every layer, `[T, D]`.
    Hidden(&'a Tensor),
    /// The two sides of a residual sum, each with its factor.
    Sum {
        /// Whose result is added.
        part: PartKind,
        /// What was there before, `[T, D]`; none where there is no residual.
        stream: Option<&'a Tensor>,
        /// What the part makes of it, `[T, D]`.
        branch: &'a Tensor,
    },
    /// The weights with which the tokens of a text gather from each other, `[H, L, L]`.
    Weights {
        /// The text's place in the batch.
        text: usize,
        /// By head, gathering token and gathered token.
        weights: &'a Tensor,
    },
    /// One direction of a recurrent layer.
    Recurrence(Recurrence<'a>),
}

/// The parts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// In which tokens see each other.
    Mixer,
    /// Which sees one token at a time.
    FeedForward,
}

/// What a recurrent layer computes with, and its result.
pub struct Recurrence<'a> {
    /// Which kind.
    pub cell: CellKind,
    /// The input's share of the gates, `x W + b [T, k H]`.
    pub gates: &'a Tensor,
    /// The recurrent weights `[k H, H]`.
    pub recurrent: &'a Tensor,
    /// GRU's bias inside the reset, `[H]`.
    pub bias: Option<&'a Tensor>,
    /// The states `[T, H]`.
    pub hidden: &'a Tensor,
    /// Whether it reads from the last token.
    pub reverse: bool,
}

/// The recurrent cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellKind {
    /// Gates input, forget, cell, output.
    Lstm,
    /// Gates update, reset, candidate.
    Gru,
}

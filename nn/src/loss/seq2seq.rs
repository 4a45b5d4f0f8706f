//! SimBERT's and UniLM's generation: the second text, token by token, given the first.
//! Definition:  mean over tokens t + 1 of segment 1 of -log p(token t + 1 | hidden state t)
//! Shapes:      logits [T, V], ids [T], segments [T] -> scalar
//! Mask:        the first text sees itself, the second sees the first and what is before it:
//!              `Mask::Prefix` with the lengths of the first texts; without padding nothing else is needed
//! Numerics:    no token of a second text -> exactly 0
//! Reference:   UniLM, 2019; SimBERT, 2020.            Vectors: simbert-roformer-sim.json

use std::sync::Arc;

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{Packed, Tensor};

use super::cross_entropy;
use crate::{Error, Result};

/// UniLM's mask of a batch: segments are 0 for the first text and 1 for the second, in this order.
pub fn unilm_mask(segments: &[usize], batch: &Packed) -> Result<Mask> {
    if segments.len() != batch.tokens() {
        let message = format!("UniLM's mask: {} segments for {} tokens", segments.len(), batch.tokens());
        return Err(Error::Input(message));
    }
    let prefix = |b: usize| {
        let own = &segments[batch.range(b)];
        let first = own.iter().take_while(|s| **s == 0).count();
        match own[first..].iter().find(|s| **s != 1) {
            None => Ok(first),
            Some(s) => Err(Error::Input(format!(
                "UniLM's mask: segment {s} in text {b} after {first} tokens; expected 0 .. 0 1 .. 1"
            ))),
        }
    };
    Ok(Mask::Prefix(Arc::new((0..batch.sequences()).map(prefix).collect::<Result<_>>()?)))
}

/// The target after each token: the next one if it is of a second text, else -1.
pub fn seq2seq_targets(ids: &[usize], segments: &[usize], batch: &Packed) -> Vec<i64> {
    let mut targets = vec![-1; batch.tokens()];
    for b in 0..batch.sequences() {
        let range = batch.range(b);
        for t in range.start + 1..range.end {
            if segments[t] == 1 {
                targets[t - 1] = ids[t] as i64;
            }
        }
    }
    targets
}

/// The loss of logits; for large vocabularies give [`seq2seq_targets`] to
/// [`linear_cross_entropy`](super::linear_cross_entropy) instead.
pub fn seq2seq(logits: &Tensor, ids: &[usize], segments: &[usize], batch: &Packed) -> Result<Tensor> {
    if ids.len() != batch.tokens() || segments.len() != batch.tokens() {
        let message = format!(
            "seq2seq: {} ids and {} segments for {} tokens",
            ids.len(),
            segments.len(),
            batch.tokens()
        );
        return Err(Error::Input(message));
    }
    cross_entropy(logits, &seq2seq_targets(ids, segments, batch), 0.0)
}

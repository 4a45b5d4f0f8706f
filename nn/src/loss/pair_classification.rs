//! Sentence-BERT: the class of a pair from its two vectors.
//! Definition:  softmax(W [u; v; |u - v|] + b)
//!              several tasks at once: a row's softmax runs over the classes of its own task only
//! Shapes:      u, v [N, D] -> features [N, 3 D];  logits [N, C], labels [N] -> scalar
//! Numerics:    the slope of |x| at 0 is 0; classes of other tasks are -inf
//! Reference:   Sentence-BERT, 2019; RoFormer-Sim-FT, 2021.
//!              Vectors: cosent.json, simbert-roformer-sim.json

use bert4rs_tensor::Tensor;

use super::cross_entropy;
use crate::{Error, Result};

/// `[u; v; |u - v|]`
pub fn pair_features(u: &Tensor, v: &Tensor) -> Result<Tensor> {
    Ok(Tensor::concat(&[u, v, &u.sub(v)?.abs()?], 1)?)
}

/// Cross entropy over the group of classes that a label is of: `groups` are half-open ranges that
/// follow one another, one for each task.
pub fn mixed_task_cross_entropy(
    logits: &Tensor,
    labels: &[usize],
    groups: &[std::ops::Range<usize>],
) -> Result<Tensor> {
    let &[rows, classes] = logits.shape() else {
        return Err(Error::Input(format!("mixed tasks: logits {:?}: expected [N, C]", logits.shape())));
    };
    let mut own = vec![0.0; rows * classes];
    for (row, label) in labels.iter().enumerate().take(rows) {
        let Some(group) = groups.iter().find(|g| g.contains(label) && g.end <= classes) else {
            let message =
                format!("mixed tasks: label {label} in row {row} is in none of the groups {groups:?}");
            return Err(Error::Input(message));
        };
        own[row * classes..][group.clone()].fill(1.0);
    }
    let own = Tensor::new(own, &[rows, classes])?.cast(logits.dtype())?;
    let outside = Tensor::scalar(f64::NEG_INFINITY, logits.dtype());
    let targets: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
    cross_entropy(&Tensor::select(&own, logits, &outside)?, &targets, 0.0)
}

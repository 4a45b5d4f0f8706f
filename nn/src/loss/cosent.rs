//! CoSENT: ranks the cosines of pairs by their labels.
//! Definition:  log(1 + sum over p, q with label_p < label_q of exp(scale (cos_p - cos_q)))
//! Shapes:      u, v [N, D], labels [N] -> scalar             N = pairs
//! Numerics:    sorted by label, O(N log N); no two different labels -> exactly 0
//! Reference:   Su, CoSENT, 2022.                      Vectors: cosent.json

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::cosent as op;

use super::cosines;
use crate::Result;

/// The loss of pairs (u_i, v_i).
pub fn cosent(u: &Tensor, v: &Tensor, labels: &[f64], scale: f64) -> Result<Tensor> {
    cosent_of_scores(&cosines(u, v)?, labels, scale)
}

/// The loss of scores `[N]`: those of a cross-encoder, say, with a scale of 1.
pub fn cosent_of_scores(scores: &Tensor, labels: &[f64], scale: f64) -> Result<Tensor> {
    Ok(op::cosent(scores, labels, scale)?)
}

//! Reading comprehension: the overlap with the answer that a random span can expect.
//! Definition:  p = softmax of the scores over candidates;  loss = -sum p f1 + entropy * sum p log p
//! Shapes:      scores, overlap and candidates of one shape, usually [L, L] -> scalar
//! Numerics:    masked by selection; no candidate -> exactly 0; entropy 0 is the plain expectation
//! Reference:   GlobalPointer, 2021.                   Vectors: globalpointer.json

use bert4rs_tensor::Tensor;

use crate::{Error, Result};

/// `overlap` is the F1 of each span with the answer, `candidates` is 0 where there is no span.
pub fn expected_overlap(
    scores: &Tensor,
    overlap: &Tensor,
    candidates: &Tensor,
    entropy: f64,
) -> Result<Tensor> {
    if overlap.shape() != scores.shape() || candidates.shape() != scores.shape() {
        return Err(Error::Input(format!(
            "expected_overlap: scores {:?}, overlap {:?}, candidates {:?}: expected one shape",
            scores.shape(),
            overlap.shape(),
            candidates.shape()
        )));
    }
    let zero = Tensor::scalar(0.0, scores.dtype());
    let outside = Tensor::scalar(f64::NEG_INFINITY, scores.dtype());
    let flat = [scores.elements()];
    let scores = Tensor::select(candidates, scores, &outside)?.reshape(&flat)?;
    let candidates = candidates.reshape(&flat)?;
    let p = scores.softmax()?;
    let log_p = Tensor::select(&candidates, &scores.log_softmax()?, &zero)?;
    let gain = log_p.mul_scalar(entropy)?.sub(&overlap.reshape(&flat)?)?;
    Ok(p.mul(&gain)?.sum_all()?)
}

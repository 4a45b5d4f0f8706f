//! A mask of one text as a matrix, for mixers that make their weights `[n, n]` themselves.

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Tensor};

/// 1 where row `i` of text `b` sees column `j`, 0 elsewhere: `[n, n]`.
pub(super) fn visible(
    mask: &Mask,
    b: usize,
    n: usize,
    dtype: DType,
) -> std::result::Result<Tensor, bert4rs_tensor::Error> {
    let sees = |i: usize, j: usize| match mask {
        Mask::Full => true,
        Mask::Causal => j <= i,
        Mask::Prefix(lengths) => j <= i || j < lengths.get(b).copied().unwrap_or(0),
    };
    let values = (0..n * n).map(|at| f64::from(u8::from(sees(at / n, at % n)))).collect();
    Tensor::new::<f64>(values, &[n, n])?.cast(dtype)
}

/// `scores [n, n]` with `-inf` where nothing is seen.
pub(super) fn masked(
    scores: &Tensor,
    mask: &Mask,
    b: usize,
) -> std::result::Result<Tensor, bert4rs_tensor::Error> {
    if *mask == Mask::Full {
        return Ok(scores.clone());
    }
    let seen = visible(mask, b, scores.shape()[0], scores.dtype())?;
    Tensor::select(&seen, scores, &Tensor::scalar(f64::NEG_INFINITY, scores.dtype()))
}

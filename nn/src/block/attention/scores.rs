//! Attention step by step, with all scores at hand: for the variants that change them.
//! Definition:  S = scale Q K^T + ...;  A = softmax(S over visible keys);  out = A V
//! Shapes:      q [H, L, K], k [H, M, K], v [H, M, V], visible [L, M] (1 or 0), S and A [H, L, M]
//! Numerics:    masks never enter the scores: they act in the softmax alone; a row that sees nothing
//!              gives zeros
//! Cost:        O(H L M) memory for each sequence, kept for the backward pass

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Tensor};

use crate::{Error, Result};

/// Heads of the rows `range` of `x [T, H K]`: `[H, L, K]`.
pub fn heads_of(x: &Tensor, start: usize, len: usize, heads: usize) -> Result<Tensor> {
    let width = x.shape().get(1).copied().unwrap_or(0);
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(Error::Input(format!("attention: {heads} heads do not divide {:?}", x.shape())));
    }
    let rows = x.narrow(0, start, len)?.reshape(&[len, heads, width / heads])?;
    Ok(rows.permute(&[1, 0, 2])?)
}

/// `[H, L, V]` -> `[L, H V]`
pub fn rows_of(x: &Tensor) -> Result<Tensor> {
    let &[heads, len, size] = x.shape() else {
        return Err(Error::Input(format!("attention: {:?} is not [H, L, V]", x.shape())));
    };
    Ok(x.permute(&[1, 0, 2])?.reshape(&[len, heads * size])?)
}

/// `scale q k^T [H, L, M]`
pub fn scaled_scores(q: &Tensor, k: &Tensor, scale: f64) -> Result<Tensor> {
    Ok(q.matmul_t(k)?.mul_scalar(scale)?)
}

/// The softmax of `scores [H, L, M]` over the keys that `visible [L, M]` leaves.
pub fn visible_softmax(scores: &Tensor, visible: &Tensor) -> Result<Tensor> {
    let hidden = Tensor::full(f64::NEG_INFINITY, &[], scores.dtype());
    Ok(Tensor::select(visible, scores, &hidden)?.softmax()?)
}

/// Which keys the tokens of sequence `index` see: 1 or 0, `[L, L]`.
pub fn visible(
    mask: &Mask,
    window: Option<usize>,
    batch: &Packed,
    index: usize,
    dtype: DType,
) -> Result<Tensor> {
    let len = batch.offsets()[index + 1] - batch.offsets()[index];
    let sees = |i: usize, j: usize| {
        let by_mask = match mask {
            Mask::Full => true,
            Mask::Causal => j <= i,
            Mask::Prefix(n) => j <= i || j < n[index],
        };
        by_mask && window.is_none_or(|w| i.abs_diff(j) <= w)
    };
    let values = (0..len * len).map(|n| f64::from(u8::from(sees(n / len, n % len)))).collect();
    Ok(Tensor::new::<f64>(values, &[len, len])?.cast(dtype)?)
}

/// How many keys each token of the batch sees, `[T]`.
pub fn visible_counts(mask: &Mask, window: Option<usize>, batch: &Packed) -> Vec<usize> {
    let mut counts = Vec::with_capacity(batch.tokens());
    for (index, ends) in batch.offsets().windows(2).enumerate() {
        let len = ends[1] - ends[0];
        for i in 0..len {
            let end = match mask {
                Mask::Full => len,
                Mask::Causal => i + 1,
                Mask::Prefix(n) => n[index].min(len).max(i + 1),
            };
            let (start, end) = match window {
                None => (0, end),
                Some(w) => (i.saturating_sub(w), end.min(i.saturating_add(w).saturating_add(1))),
            };
            counts.push(end - start);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn counts_are_the_rows_of_what_is_visible() {
        let batch = Packed::from_lengths(&[3, 0, 5]);
        for mask in [Mask::Full, Mask::Causal, Mask::Prefix(Arc::new(vec![2, 0, 3]))] {
            for window in [None, Some(0), Some(2)] {
                let mut want = Vec::new();
                for index in [0, 2] {
                    let rows = visible(&mask, window, &batch, index, DType::F64).unwrap();
                    want.extend(rows.sum(1, false).unwrap().to_f64_vec());
                }
                let got = visible_counts(&mask, window, &batch);
                assert_eq!(got.iter().map(|&n| n as f64).collect::<Vec<_>>(), want, "{mask:?} {window:?}");
            }
        }
    }

    #[test]
    fn heads_and_rows_undo_each_other() {
        let x = Tensor::new((0..24).map(f64::from).collect::<Vec<_>>(), &[4, 6]).unwrap();
        let heads = heads_of(&x, 1, 2, 3).unwrap();
        assert_eq!(heads.shape(), [3, 2, 2]);
        assert_eq!(rows_of(&heads).unwrap().to_f64_vec(), x.narrow(0, 1, 2).unwrap().to_f64_vec());
        assert!(heads_of(&x, 0, 1, 5).is_err() && rows_of(&x).is_err());
    }
}

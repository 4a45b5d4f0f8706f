//! How widely attention looks, by layer, head and length.
//! Definition:  H = -sum over keys of p ln p;  share: the mean of H / ln(n) over the tokens that see n > 1 keys:
//!              0 looks at one key, 1 at all alike
//! Weights:     those that are no probabilities (squares of a gated unit) count by their share of the row; rows
//!              without any weight are left out.  Mixers without weights of pairs have no entropy
//! Reference:   Su, entropy-invariant softmax, 2021, 2022.  Vectors: entropy-invariant-softmax.json

use std::cell::RefCell;

use bert4rs_tensor::Tensor;
use serde::Serialize;

use super::Batch;
use crate::block::Sight;
use crate::block::attention::visible_counts;
use crate::encoder::Encoder;
use crate::{Ctx, Result};

/// Entropy of texts of one length.
#[derive(Clone, Debug, Serialize)]
pub struct Entropy {
    /// Tokens of each text.
    pub length: usize,
    /// Layer by layer; empty for a layer without weights of pairs.
    pub layers: Vec<LayerEntropy>,
}

/// Entropy in a layer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LayerEntropy {
    /// Over all heads, as a share of `ln n`.
    pub mean: Option<f64>,
    /// Of each head.
    pub heads: Vec<f64>,
}

/// The entropy of every layer on a batch of texts of one length; none for mixers without weights.
pub fn entropy(encoder: &Encoder, batch: &Batch) -> Result<Option<Entropy>> {
    let config = encoder.config();
    let state = RefCell::new((0usize, vec![Vec::<(f64, usize)>::new(); config.layers]));
    let watch = |sight: Sight| -> Result<()> {
        let (seen, layers) = &mut *state.borrow_mut();
        match sight {
            Sight::Hidden(_) => *seen += 1,
            Sight::Weights { text, weights } => {
                let layer = seen.saturating_sub(1);
                let window = config.attention().and_then(|attention| attention.window(layer));
                let counts = visible_counts(&batch.mask, window, &batch.packed);
                let shares = shares(weights, &counts[batch.packed.range(text)]);
                let sums = &mut layers[layer];
                sums.resize(shares.len().max(sums.len()), (0.0, 0));
                for (sum, share) in sums.iter_mut().zip(shares) {
                    *sum = (sum.0 + share.0, sum.1 + share.1);
                }
            }
            Sight::Sum { .. } | Sight::Recurrence(_) => {}
        }
        Ok(())
    };
    encoder.observe(&mut Ctx::inference(), batch.input(), &batch.mask, &watch)?;
    let (_, sums) = state.into_inner();
    if sums.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    let layer = |sums: Vec<(f64, usize)>| {
        let heads: Vec<f64> =
            sums.iter().filter(|(_, rows)| *rows > 0).map(|(sum, rows)| sum / *rows as f64).collect();
        let mean = (!heads.is_empty()).then(|| heads.iter().sum::<f64>() / heads.len() as f64);
        LayerEntropy { mean, heads }
    };
    Ok(Some(Entropy { length: batch.packed.longest(), layers: sums.into_iter().map(layer).collect() }))
}

/// For each head of `weights [H, L, L]` the sum of shares over tokens that see some of `counts` keys, and
/// their number.
pub fn shares(weights: &Tensor, counts: &[usize]) -> Vec<(f64, usize)> {
    let (values, keys) = (weights.to_f64_vec(), weights.shape().last().copied().unwrap_or(1).max(1));
    let head = |rows: &[f64]| {
        let (mut sum, mut used) = (0.0, 0);
        for (row, &seen) in rows.chunks_exact(keys).zip(counts) {
            // Mixed weights of talking heads may be below 0.
            let total: f64 = row.iter().map(|p| p.abs()).sum();
            if seen > 1 && total > 0.0 {
                let of = |p: &f64| p.abs() / total;
                let entropy: f64 = row.iter().map(of).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
                sum += entropy / (seen as f64).ln();
                used += 1;
            }
        }
        (sum, used)
    };
    values.chunks_exact(counts.len().max(1) * keys).map(head).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_weights_have_all_and_one_key_has_none() {
        let uniform = Tensor::full(1.0 / 3.0, &[2, 3, 3], bert4rs_tensor::DType::F64);
        for (sum, rows) in shares(&uniform, &[3, 3, 3]) {
            assert!((sum / rows as f64 - 1.0).abs() < 1e-12);
        }
        let one = Tensor::new(vec![1.0, 0.0, 0.0, 1.0], &[1, 2, 2]).unwrap();
        assert_eq!(shares(&one, &[2, 2]), [(0.0, 2)]);
        // Causal: the first token sees itself alone and says nothing.
        let causal = Tensor::new(vec![1.0, 0.0, 0.5, 0.5], &[1, 2, 2]).unwrap();
        let (sum, rows) = shares(&causal, &[1, 2])[0];
        assert!((sum - 1.0).abs() < 1e-12 && rows == 1);
        // Squares that do not sum to 1, and a row without any.
        let squares = Tensor::new(vec![4.0, 4.0, 0.0, 0.0], &[1, 2, 2]).unwrap();
        assert_eq!(shares(&squares, &[2, 2]), [(1.0, 1)]);
    }
}

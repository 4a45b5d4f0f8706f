//! Mixed chunk attention: scores inside chunks, running sums between them, linear in the length.
//! Definition:  chunk g: relu(Q_g K_g^T)^2 V_g / (c s) + Q'_g (sum over chunks h of K'_h^T V_h) / n, with
//!              c the tokens of the chunk and n those of the text; causal: what is seen inside the chunk,
//!              chunks before it, and n the tokens before it
//! Shapes:      q, k, q', k' [T, s], v [T, size] -> [T, size].  Cost O(T chunk (s + size) + T s size)
//! Reference:   Hua et al., Transformer quality in linear time, 2022.   Vectors: flash-gau.json

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::per_text::per_text;
use bert4rs_tensor::{Packed, Tensor};

use super::visible::visible;
use crate::Result;

/// Queries, keys and values.
pub struct Operands<'a> {
    /// Queries inside a chunk.
    pub q: &'a Tensor,
    /// Keys inside a chunk.
    pub k: &'a Tensor,
    /// Queries of the sums.
    pub q_linear: &'a Tensor,
    /// Keys of the sums.
    pub k_linear: &'a Tensor,
    /// Values.
    pub v: &'a Tensor,
}

/// What every token gathers from its chunk and from the others.
pub fn mixed_chunk(operands: Operands, batch: &Packed, chunk: usize, causal: bool) -> Result<Tensor> {
    let Operands { q, k, q_linear, k_linear, v } = operands;
    let (size, width) = (q.shape()[1], v.shape()[1]);
    Ok(per_text(&[q, k, q_linear, k_linear, v], &[], batch, width, move |b, x, _| {
        let n = x[0].shape()[0];
        let chunks: Vec<(usize, usize)> =
            (0..n).step_by(chunk).map(|start| (start, chunk.min(n - start))).collect();
        let part = |of: usize, (start, len): (usize, usize)| x[of].narrow(0, start, len);
        let sum_of = |at| part(3, at)?.t()?.matmul(&part(4, at)?); // [s, size]
        let mut before: Option<Tensor> = None;
        let all = match causal {
            true => None,
            false => Some(x[3].t()?.matmul(&x[4])?.mul_scalar(1.0 / n as f64)?),
        };
        let mut outputs = Vec::with_capacity(chunks.len());
        for at in chunks {
            let (start, len) = at;
            let mut weights = part(0, at)?.matmul_t(&part(1, at)?)?.relu()?.square()?; // [len, len]
            if causal {
                let seen = visible(&Mask::Causal, b, len, weights.dtype())?;
                weights = weights.mul(&seen)?.div(&seen.sum(-1, true)?)?;
            } else {
                weights = weights.mul_scalar(1.0 / len as f64)?;
            }
            let mut y = weights.matmul(&part(4, at)?)?.mul_scalar(1.0 / size as f64)?;
            let sums = match (&all, &before) {
                (Some(all), _) => Some(all.clone()),
                (None, Some(before)) => Some(before.mul_scalar(1.0 / start as f64)?),
                (None, None) => None,
            };
            if let Some(sums) = sums {
                y = y.add(&part(2, at)?.matmul(&sums)?)?;
            }
            if causal {
                before = Some(match before {
                    None => sum_of(at)?,
                    Some(before) => before.add(&sum_of(at)?)?,
                });
            }
            outputs.push(y);
        }
        Tensor::concat(&outputs.iter().collect::<Vec<_>>(), 0)
    })?)
}

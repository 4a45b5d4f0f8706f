//! Linear attention with rotary positions.
//! Definition:  out_i = sum_j <R_i f(q_i), R_j f(k_j)> v_j / (sum_j <f(q_i), f(k_j)> + 1e-6), f >= 0;
//!              or with similarity 1 + <R_i q_i/|q_i|, R_j k_j/|k_j|> above and below
//! Shapes:      q, k [L, K], v [L, M] -> [L, M].  Cost O(L K M) full, O(L^2 (K + M)) causal here
//! Numerics:    only the numerator is rotated, so the denominator stays positive
//! Reference:   RoFormer, section 3.3, 2021.           Vectors: rope-roformer.json

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::rotary::{Layout, RotaryTable};

use super::frequency::Frequencies;
use crate::{Error, Result};

/// Added to the denominator.
const EPS: f64 = 1e-6;

/// Attention of feature maps `q` and `k`, not negative (say `elu(x) + 1`); `causal` sees the past only.
pub fn linear_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    frequencies: &Frequencies,
    layout: Layout,
    causal: bool,
) -> Result<Tensor> {
    let (turned_q, turned_k) = (turn(q, frequencies, layout)?, turn(k, frequencies, layout)?);
    if !causal {
        let state = turned_k.t()?.matmul(v)?; // [K, M]
        let weight = k.sum(0, true)?; // [1, K]
        let below = q.mul(&weight)?.sum(-1, true)?.add_scalar(EPS)?; // [L, 1]
        return Ok(turned_q.matmul(&state)?.div(&below)?);
    }
    let length = q.shape()[0];
    let past = (0..length * length).map(|n| f64::from(u8::from(n % length <= n / length))).collect();
    let past = Tensor::new::<f64>(past, &[length, length])?.cast(q.dtype())?;
    let above = turned_q.matmul_t(&turned_k)?.mul(&past)?.matmul(v)?;
    let below = q.matmul_t(k)?.mul(&past)?.sum(-1, true)?.add_scalar(EPS)?;
    Ok(above.div(&below)?)
}

/// Attention by `1 + cosine` of the rotated vectors, which is never negative.
pub fn one_plus_cosine_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    frequencies: &Frequencies,
    layout: Layout,
) -> Result<Tensor> {
    let unit = |x: &Tensor| -> Result<Tensor> {
        let x = turn(x, frequencies, layout)?;
        Ok(x.div(&x.square()?.sum(-1, true)?.sqrt()?)?)
    };
    let similarity = unit(q)?.matmul_t(&unit(k)?)?.add_scalar(1.0)?; // [L, L]
    Ok(similarity.matmul(v)?.div(&similarity.sum(-1, true)?)?)
}

fn turn(x: &Tensor, frequencies: &Frequencies, layout: Layout) -> Result<Tensor> {
    let &[length, size] = x.shape() else {
        return Err(Error::Input(format!("linear attention: {:?}: expected [L, K]", x.shape())));
    };
    let table = RotaryTable::new(&frequencies.inverse, length, frequencies.factor);
    let rows: Vec<usize> = (0..length).collect();
    Ok(x.reshape(&[length, 1, size])?.rotate(&table, &rows, layout)?.reshape(&[length, size])?)
}

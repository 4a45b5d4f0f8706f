//! Talking heads: heads exchange scores before, and weights after the softmax.
//! Definition:  L_b = sum_a P_ab J_a, A = softmax(L), W_c = sum_b R_bc A_b
//! Shapes:      J [H_k, L, M], P [H_k, H], R [H, H_v] -> [H_v, L, M]
//! Numerics:    masks act after the first mixing: a mixed -inf would be NaN
//! Reference:   Shazeer et al., Talking-Heads Attention, 2020; Su, 2020-04-13.
//!              Vectors: low-rank-bottleneck-talking-heads.json

use bert4rs_tensor::{Parameter, ParameterKind, Tensor};

use crate::{Builder, Error, Init, Result};

/// `sum over a of mixing [A, B] x [A, L, M]`: `[B, L, M]`.
pub fn mix_heads(x: &Tensor, mixing: &Tensor) -> Result<Tensor> {
    let (&[heads, len, keys], &[from, to]) = (x.shape(), mixing.shape()) else {
        let (x, mixing) = (x.shape(), mixing.shape());
        return Err(Error::Input(format!(
            "talking heads: {x:?} and {mixing:?} are not [A, L, M] and [A, B]"
        )));
    };
    if from != heads {
        return Err(Error::Input(format!("talking heads: {heads} heads meet a mixing of {from}")));
    }
    let mixed = mixing.t()?.matmul(&x.reshape(&[heads, len * keys])?)?;
    Ok(mixed.reshape(&[to, len, keys])?)
}

/// A mixing matrix `[heads, heads]` that starts as the identity, so that a trained model is unchanged.
pub fn identity_mixing(builder: &mut Builder, name: &str, heads: usize) -> Result<Parameter> {
    let parameter = builder.parameter(name, &[heads, heads], ParameterKind::Bias, Init::Zeros)?;
    let eye = (0..heads * heads).map(|n| f64::from(u8::from(n / heads == n % heads))).collect::<Vec<_>>();
    parameter.set(&Tensor::new(eye, &[heads, heads])?.cast(builder.dtype())?)?;
    Ok(parameter)
}

//! ReRoPE and leaky ReRoPE: rotary scores whose distances stop (or slow down) beyond a window.
//! Definition:  distance t = i - j counts as t for t < w, beyond it as w (ReRoPE) or w + (t - w) / k
//!              (leaky); causal
//! Shapes:      q, k [L, K] -> scores [L, L] / sqrt(K), -inf where j > i.  Cost O(L^2 K), twice
//! Reference:   Su, Transformer upgrade part 12, 2023.   Vectors: rope-roformer.json

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::rotary::{Layout, RotaryTable};

use super::frequency::Frequencies;
use crate::{Error, Result};

/// Causal scores of one head; `leaky` is the slope's inverse `k`, none for ReRoPE.
pub fn rerope_scores(
    q: &Tensor,
    k: &Tensor,
    frequencies: &Frequencies,
    layout: Layout,
    window: usize,
    leaky: Option<f64>,
) -> Result<Tensor> {
    let &[length, size] = q.shape() else {
        return Err(Error::Input(format!("rerope: q {:?}: expected [L, K]", q.shape())));
    };
    if window == 0 || leaky.is_some_and(|k| !(k >= 1.0 && k.is_finite())) {
        let message = format!("rerope: window {window} and slope 1 / {leaky:?}: expected at least 1 each");
        return Err(Error::Config(message));
    }
    let turn = |x: &Tensor, position: &dyn Fn(f64) -> f64| -> Result<Tensor> {
        let positions: Vec<f64> = (0..length).map(|i| position(i as f64)).collect();
        let table = RotaryTable::at(&frequencies.inverse, &positions, frequencies.factor);
        let rows: Vec<usize> = (0..length).collect();
        Ok(x.reshape(&[length, 1, size])?.rotate(&table, &rows, layout)?.reshape(&[length, size])?)
    };
    let w = window as f64;
    let near = turn(q, &|i| i)?.matmul_t(&turn(k, &|j| j)?)?; // [L, L]
    let far = match leaky {
        None => turn(q, &|_| w)?.matmul_t(&turn(k, &|_| 0.0)?)?,
        Some(slope) => turn(q, &|i| w + (i - w) / slope)?.matmul_t(&turn(k, &|j| j / slope)?)?,
    };
    let pairs = |f: &dyn Fn(usize, usize) -> f64| -> Result<Tensor> {
        let values = (0..length * length).map(|n| f(n / length, n % length)).collect();
        Ok(Tensor::new::<f64>(values, &[length, length])?.cast(q.dtype())?)
    };
    let inside = pairs(&|i, j| f64::from(u8::from(i < j + window)))?;
    let past = pairs(&|i, j| f64::from(u8::from(j <= i)))?;
    let scores = Tensor::select(&inside, &near, &far)?.mul_scalar(1.0 / (size as f64).sqrt())?;
    Ok(Tensor::select(&past, &scores, &Tensor::full(f64::NEG_INFINITY, &[], q.dtype()))?)
}

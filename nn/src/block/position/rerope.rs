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

/// ReRoPE of an encoder: what its layers need to turn queries and keys by themselves.
#[derive(Clone)]
pub struct Rerope {
    /// The frequencies, as trained.
    pub frequencies: Frequencies,
    /// Which channels form a pair.
    pub layout: Layout,
    /// Distances below it count as they are.
    pub window: usize,
    /// The inverse slope beyond; none for one distance.
    pub slope: Option<f64>,
}

impl Rerope {
    /// Inner products of `q` and `k [H, L, K]` by their distances, both ways: `[H, L, L]`. Cost three
    /// products.
    pub fn products(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        let (w, len) = (self.window as f64, q.shape()[1]);
        let slope = self.slope.unwrap_or(f64::INFINITY);
        let (far, near) = (|i: f64| w + (i - w) / slope, |i: f64| i / slope);
        // With no slope both lose their position: w on one side, 0 on the other.
        let far = |i: f64| if slope.is_finite() { far(i) } else { w };
        let between = self.turn(q, &|i| i)?.matmul_t(&self.turn(k, &|i| i)?)?;
        let behind = self.turn(q, &far)?.matmul_t(&self.turn(k, &near)?)?;
        let ahead = self.turn(q, &near)?.matmul_t(&self.turn(k, &far)?)?;
        let pairs = |f: &dyn Fn(usize, usize) -> bool| -> Result<Tensor> {
            let values = (0..len * len).map(|n| f64::from(u8::from(f(n / len, n % len)))).collect();
            Ok(Tensor::new::<f64>(values, &[len, len])?.cast(q.dtype())?)
        };
        let is_near = pairs(&|i, j| i.abs_diff(j) < self.window)?;
        let is_behind = pairs(&|i, j| j < i)?;
        Ok(Tensor::select(&is_near, &between, &Tensor::select(&is_behind, &behind, &ahead)?)?)
    }

    /// `x [H, L, K]` turned as if token `i` stood at `position(i)`.
    fn turn(&self, x: &Tensor, position: &dyn Fn(f64) -> f64) -> Result<Tensor> {
        let len = x.shape()[1];
        let positions: Vec<f64> = (0..len).map(|i| position(i as f64)).collect();
        let table = RotaryTable::at(&self.frequencies.inverse, &positions, self.frequencies.factor);
        let rows: Vec<usize> = (0..len).collect();
        Ok(x.permute(&[1, 0, 2])?.rotate(&table, &rows, self.layout)?.permute(&[1, 0, 2])?)
    }
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::{DType, Rng};

    use super::*;
    use crate::block::position::{Scaling, inverse_frequencies};

    #[test]
    fn products_are_the_scores_of_one_head_and_their_mirror() {
        let mut rng = Rng::new(2);
        let mut some = || rng.normal_tensor(&[1, 7, 8], 1.0, DType::F64).unwrap();
        let (q, k) = (some(), some());
        for slope in [None, Some(3.0)] {
            let frequencies = inverse_frequencies(8, 1e4, &Scaling::None, 0).unwrap();
            let layout = Layout::Interleaved;
            let rerope = Rerope { frequencies: frequencies.clone(), layout, window: 3, slope };
            let got = rerope.products(&q, &k).unwrap().to_f64_vec();
            let flat = |x: &Tensor| x.reshape(&[7, 8]).unwrap();
            let one = |q: &Tensor, k: &Tensor| {
                let scores = rerope_scores(&flat(q), &flat(k), &frequencies, layout, 3, slope).unwrap();
                scores.mul_scalar(8f64.sqrt()).unwrap().to_f64_vec()
            };
            let past = one(&q, &k);
            for i in 0..7 {
                for j in 0..=i {
                    assert!((got[i * 7 + j] - past[i * 7 + j]).abs() < 1e-10, "{i} {j}");
                }
            }
            // The first query and the last key: a distance of 6, that counts as 3 or as 3 + 3 / 3.
            let counted = if slope.is_some() { 4.0 } else { 3.0 };
            let key = rerope.turn(&k.narrow(1, 6, 1).unwrap(), &|_| counted).unwrap();
            let want = q.narrow(1, 0, 1).unwrap().matmul_t(&key).unwrap().to_f64_vec()[0];
            assert!((got[6] - want).abs() < 1e-10, "{} is not {want}", got[6]);
        }
    }
}

//! How far back gradients reach in a recurrent layer.
//! Definition:  the norm of J_T J_(T-1) .. J_(T-k+1) by the distance k, J_t = d state_t / d state_(t-1); the state is
//!              h, and of an LSTM (h, c).  mean_keep: the mean of LSTM's forget gate, of GRU's 1 - z;
//!              horizon: 1 / (1 - mean_keep);  reach: the largest distance with a norm of 1 % at least
//! Numerics:    in f64; exact products up to 512 numbers of state, else the norm of 64 random combinations of
//!              rows; the product is scaled after every step and logarithms are added up
//! Cost:        O(T S H^2) for S rows; the longest text of a batch
//! Reference:   Su, on the gradients of RNNs, 2020.   Vectors: rnn-gradient-analysis.json

mod scalar;
mod trace;

use std::cell::RefCell;

use bert4rs_tensor::{DType, Rng, Tensor};
use serde::Serialize;

use super::Batch;
use crate::block::{CellKind, Sight};
use crate::encoder::Encoder;
use crate::{Ctx, Result};

pub use scalar::{GruTerms, LstmTerms, gru_terms, lstm_terms, sech_squared};
use trace::Trace;

/// Numbers of state up to which products are exact.
const EXACT: usize = 512;
/// Combinations of rows beyond.
const DIRECTIONS: usize = 64;
/// What is left where a gradient counts as gone.
const GONE: f64 = 0.01;
/// Above this it explodes.
const EXPLODED: f64 = 100.0;

/// One direction of a recurrent layer.
#[derive(Clone, Debug, Serialize)]
pub struct Reach {
    /// The layer.
    pub layer: usize,
    /// Whether it reads from the last token.
    pub reverse: bool,
    /// Its cell.
    pub cell: CellKind,
    /// Tokens of the text.
    pub tokens: usize,
    /// Whether norms are exact, not estimated.
    pub exact: bool,
    /// What is left of the gradient of the last state by distance.
    pub norms: Vec<DistanceNorm>,
    /// The mean of the gate that keeps the state.
    pub mean_keep: f64,
    /// How far that gate alone would let a gradient reach.
    pub horizon: f64,
    /// The share of gates within 0.02 of an end of their range.
    pub saturated: f64,
    /// The largest distance at which a hundredth is left.
    pub reach: usize,
    /// In a word.
    pub verdict: Verdict,
}

/// The norm at a distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DistanceNorm {
    /// Steps back.
    pub distance: usize,
    /// The spectral norm: what is left of the gradient that lasts best.
    pub norm: f64,
}

/// What becomes of a gradient on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Less than a hundredth reaches the text's other end.
    Vanishes,
    /// It reaches the text's other end.
    Reaches,
    /// It grows a hundred times, or is no number.
    Explodes,
}

/// Every direction of every recurrent layer, on the longest text of a batch; none for other mixers.
pub fn reach(encoder: &Encoder, batch: &Batch) -> Result<Vec<Reach>> {
    let packed = &batch.packed;
    let longest = (0..packed.sequences()).max_by_key(|&b| packed.length(b));
    let Some(range) = longest.map(|b| packed.range(b)).filter(|range| range.len() > 1) else {
        return Ok(Vec::new());
    };
    let state = RefCell::new((0usize, Vec::new()));
    let watch = |sight: Sight| -> Result<()> {
        let (seen, all) = &mut *state.borrow_mut();
        match sight {
            Sight::Hidden(_) => *seen += 1,
            Sight::Recurrence(cell) => {
                all.push(of_trace(&Trace::new(&cell, range.clone())?, seen.saturating_sub(1), cell.reverse)?);
            }
            Sight::Sum { .. } | Sight::Weights { .. } => {}
        }
        Ok(())
    };
    encoder.observe(&mut Ctx::inference(), batch.input(), &batch.mask, &watch)?;
    Ok(state.into_inner().1)
}

fn of_trace(trace: &Trace, layer: usize, reverse: bool) -> Result<Reach> {
    let width = trace.state_width();
    let exact = width <= EXACT;
    let rows = if exact { identity(width)? } else { directions(width)? };
    let distances = log_spaced(trace.tokens() - 1);
    let norms = product_norms(rows, trace.tokens(), &distances, |t, rows| trace.pull(t, rows))?;
    let far = norms.last().map_or(0.0, |last| last.norm);
    let most = norms.iter().map(|n| n.norm).fold(0.0, |m: f64, n| if n > m || n.is_nan() { n } else { m });
    let verdict = match (most.is_finite() && most <= EXPLODED, far >= GONE) {
        (false, _) => Verdict::Explodes,
        (true, true) => Verdict::Reaches,
        (true, false) => Verdict::Vanishes,
    };
    let (mean_keep, saturated) = trace.gates();
    Ok(Reach {
        layer,
        reverse,
        cell: trace.cell(),
        tokens: trace.tokens(),
        exact,
        reach: norms.iter().filter(|n| n.norm >= GONE).map(|n| n.distance).max().unwrap_or(0),
        norms,
        mean_keep,
        horizon: 1.0 / (1.0 - mean_keep),
        saturated,
        verdict,
    })
}

/// Spectral norms of `rows J_T .. J_(T-k+1)` at the distances `k` asked for, ascending; `pull(t, V)` gives
/// `V J_t` for rows `V [K, S]` and the step `t`, from 0.
pub fn product_norms(
    mut rows: Tensor,
    steps: usize,
    distances: &[usize],
    mut pull: impl FnMut(usize, &Tensor) -> Result<Tensor>,
) -> Result<Vec<DistanceNorm>> {
    let (mut norms, mut log) = (Vec::with_capacity(distances.len()), 0.0);
    let last = distances.last().copied().unwrap_or(0).min(steps);
    for distance in 1..=last {
        rows = pull(steps - distance, &rows)?;
        let size = rows.square()?.sum_all()?.item()?.sqrt();
        if size > 0.0 && size.is_finite() {
            rows = rows.mul_scalar(1.0 / size)?;
            log += size.ln();
        }
        if distances.contains(&distance) {
            norms.push(DistanceNorm { distance, norm: log.exp() * spectral_norm(&rows) });
        }
    }
    Ok(norms)
}

/// The largest singular value of a matrix, by power iteration.
fn spectral_norm(matrix: &Tensor) -> f64 {
    let (values, width) = (matrix.to_f64_vec(), matrix.shape().last().copied().unwrap_or(1).max(1));
    let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    // Uneven, so that no direction is left out.
    let mut x: Vec<f64> = (0..width).map(|i| 1.0 + 0.37 * ((i * 7 % 11) as f64)).collect();
    let mut norm = 0.0;
    for _ in 0..200 {
        let size = length(&x);
        x.iter_mut().for_each(|x| *x /= size);
        let mut next = vec![0.0; width];
        let mut squares = 0.0;
        for row in values.chunks_exact(width) {
            let inner: f64 = row.iter().zip(&x).map(|(a, b)| a * b).sum();
            squares += inner * inner;
            next.iter_mut().zip(row).for_each(|(n, a)| *n += inner * a);
        }
        let now = f64::sqrt(squares);
        if now == 0.0 || !now.is_finite() || (now - norm).abs() <= 1e-10 * now {
            return now;
        }
        (norm, x) = (now, next);
    }
    norm
}

/// The unit matrix.
pub fn identity(width: usize) -> Result<Tensor> {
    let values = (0..width * width).map(|i| f64::from(u8::from(i / width == i % width))).collect::<Vec<_>>();
    Ok(Tensor::new(values, &[width, width])?)
}

fn directions(width: usize) -> Result<Tensor> {
    let scale = (DIRECTIONS as f64).sqrt().recip();
    Ok(Rng::new(0).fork("directions").normal_tensor(&[DIRECTIONS, width], scale, DType::F64)?)
}

/// 1, 2, 3, 4, 6, 8, 12, .. up to `most`, which stands at the end.
fn log_spaced(most: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..).flat_map(|i| [1 << i, 3 << i]).take_while(|d| *d < 2 * most).collect();
    all.push(most);
    all.retain(|d| *d <= most);
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_grow_by_factors_and_end_at_the_last() {
        assert_eq!(log_spaced(20), [1, 2, 3, 4, 6, 8, 12, 16, 20]);
        assert_eq!((log_spaced(1), log_spaced(0)), (vec![1], vec![0]));
    }

    #[test]
    fn long_products_neither_overflow_nor_underflow() {
        for (factor, steps) in [(0.5, 2000), (3.0, 400)] {
            let norms = product_norms(identity(2).unwrap(), steps, &[1, steps], |_, rows| {
                Ok(rows.mul_scalar(factor)?)
            });
            let norms = norms.unwrap();
            assert!((norms[0].norm - factor).abs() < 1e-12);
            let off = norms[1].norm.ln() - steps as f64 * f64::ln(factor);
            assert!(off.abs() < 1e-6 || (factor < 1.0 && norms[1].norm == 0.0), "{factor}: {norms:?}");
        }
        let diagonal = Tensor::new(vec![1.0, 0.0, 0.0, 3.0], &[2, 2]).unwrap();
        assert!((spectral_norm(&diagonal) - 3.0).abs() < 1e-9);
    }
}

//! The gates of one text in a recurrent layer, and how a gradient goes through a step.
//!
//! The fused operations keep their gates to themselves; here they follow from what went in and the states that
//! came out, so that the layer itself runs once, as always.

use std::ops::Range;

use bert4rs_tensor::{DType, Tensor};

use super::sech_squared;
use crate::Result;
use crate::block::{CellKind, Recurrence};

/// All steps of a text, in the order in which it is read.
pub(super) struct Trace {
    cell: CellKind,
    width: usize,
    recurrent: Tensor,
    steps: Vec<Step>,
}

struct Step {
    /// Activated, `[k H]`.
    gates: Vec<f64>,
    /// The state before: of an LSTM `c`, of a GRU `h`.
    before: Vec<f64>,
    /// Of an LSTM the new `c`, of a GRU the candidate's share of the state before the reset.
    inner: Vec<f64>,
}

impl Trace {
    /// Of the text whose tokens are `range`.
    pub(super) fn new(of: &Recurrence, range: Range<usize>) -> Result<Self> {
        let width = of.hidden.shape()[1];
        let cut = |x: &Tensor| x.narrow(0, range.start, range.len())?.detach().cast(DType::F64);
        let (gates, hidden) = (cut(of.gates)?, cut(of.hidden)?);
        let recurrent = of.recurrent.detach().cast(DType::F64)?; // [k H, H]
        let rows = |x: &Tensor| -> Vec<Vec<f64>> {
            let values = x.to_f64_vec();
            let mut rows: Vec<Vec<f64>> =
                values.chunks_exact(values.len() / range.len()).map(<[f64]>::to_vec).collect();
            if of.reverse {
                rows.reverse();
            }
            rows
        };
        let (gates, hidden, products) = (rows(&gates), rows(&hidden), rows(&hidden.matmul_t(&recurrent)?));
        let bias = of.bias.map_or(vec![0.0; width], Tensor::to_f64_vec);
        let nothing = vec![0.0; gates[0].len()];
        let mut cell = vec![0.0; width];
        let mut steps = Vec::with_capacity(gates.len());
        for (t, x) in gates.iter().enumerate() {
            let product = if t == 0 { &nothing } else { &products[t - 1] };
            let sum = |i: usize| x[i] + product[i];
            let sigmoid = |a: f64| 1.0 / (1.0 + (-a).exp());
            let step = match of.cell {
                CellKind::Lstm => {
                    let is_candidate = |i: usize| i / width == 2;
                    let one = |i: usize| if is_candidate(i) { sum(i).tanh() } else { sigmoid(sum(i)) };
                    let gates: Vec<f64> = (0..4 * width).map(one).collect();
                    let next = |j: usize| gates[width + j] * cell[j] + gates[j] * gates[2 * width + j];
                    let inner: Vec<f64> = (0..width).map(next).collect();
                    Step { before: std::mem::replace(&mut cell, inner.clone()), gates, inner }
                }
                CellKind::Gru => {
                    let inner: Vec<f64> = (0..width).map(|j| product[2 * width + j] + bias[j]).collect();
                    let mut gates: Vec<f64> = (0..2 * width).map(|i| sigmoid(sum(i))).collect();
                    let candidate = |j: usize| (x[2 * width + j] + gates[width + j] * inner[j]).tanh();
                    let candidates: Vec<f64> = (0..width).map(candidate).collect();
                    gates.extend(candidates);
                    let before = if t == 0 { vec![0.0; width] } else { hidden[t - 1].clone() };
                    Step { gates, before, inner }
                }
            };
            steps.push(step);
        }
        Ok(Self { cell: of.cell, width, recurrent, steps })
    }

    pub(super) fn cell(&self) -> CellKind {
        self.cell
    }

    pub(super) fn tokens(&self) -> usize {
        self.steps.len()
    }

    /// Numbers of the state.
    pub(super) fn state_width(&self) -> usize {
        match self.cell {
            CellKind::Lstm => 2 * self.width,
            CellKind::Gru => self.width,
        }
    }

    /// `V J_t` for rows `V [K, S]`: gradients of the state after step `t` become those of the state before.
    pub(super) fn pull(&self, t: usize, rows: &Tensor) -> Result<Tensor> {
        let (products, kept) = self.local(t, rows)?;
        let through = products.matmul(&self.recurrent)?; // [K, H]
        Ok(match self.cell {
            CellKind::Lstm => Tensor::concat(&[&through, &kept], 1)?,
            CellKind::Gru => through.add(&kept)?,
        })
    }

    /// Inside a step: the gradients of the products with the state before, `[K, k H]`, and of what is kept of
    /// it, `[K, H]`.
    pub(super) fn local(&self, t: usize, rows: &Tensor) -> Result<(Tensor, Tensor)> {
        let (h, step) = (self.width, &self.steps[t]);
        let gate = |k: usize, j: usize| step.gates[k * h + j];
        let slope = |a: f64| a * (1.0 - a);
        let values = rows.to_f64_vec();
        let (mut products, mut kept) = (Vec::with_capacity(values.len() * 2), Vec::new());
        for row in values.chunks_exact(self.state_width()) {
            match self.cell {
                CellKind::Lstm => {
                    let cell: Vec<f64> = (0..h)
                        .map(|j| row[h + j] + row[j] * gate(3, j) * sech_squared(step.inner[j]))
                        .collect();
                    products.extend((0..h).map(|j| cell[j] * gate(2, j) * slope(gate(0, j))));
                    products.extend((0..h).map(|j| cell[j] * step.before[j] * slope(gate(1, j))));
                    products.extend((0..h).map(|j| cell[j] * gate(0, j) * (1.0 - gate(2, j).powi(2))));
                    products.extend((0..h).map(|j| row[j] * step.inner[j].tanh() * slope(gate(3, j))));
                    kept.extend((0..h).map(|j| cell[j] * gate(1, j)));
                }
                CellKind::Gru => {
                    let candidate: Vec<f64> =
                        (0..h).map(|j| row[j] * gate(0, j) * (1.0 - gate(2, j).powi(2))).collect();
                    let update = |j: usize| row[j] * (gate(2, j) - step.before[j]) * slope(gate(0, j));
                    products.extend((0..h).map(update));
                    products.extend((0..h).map(|j| candidate[j] * step.inner[j] * slope(gate(1, j))));
                    products.extend((0..h).map(|j| candidate[j] * gate(1, j)));
                    kept.extend((0..h).map(|j| row[j] * (1.0 - gate(0, j))));
                }
            }
        }
        let count = rows.shape()[0];
        Ok((Tensor::new(products, &[count, step.gates.len()])?, Tensor::new(kept, &[count, h])?))
    }

    /// The mean of the gate that keeps the state, and the share of gates near an end of their range.
    pub(super) fn gates(&self) -> (f64, f64) {
        let h = self.width;
        let (mut keep, mut ends, mut all) = (0.0, 0usize, 0usize);
        for step in &self.steps {
            keep += match self.cell {
                CellKind::Lstm => step.gates[h..2 * h].iter().sum::<f64>(),
                CellKind::Gru => step.gates[..h].iter().map(|z| 1.0 - z).sum::<f64>(),
            };
            for (i, gate) in step.gates.iter().enumerate() {
                let low = if i / h == 2 { -1.0 } else { 0.0 };
                ends += usize::from(gate - low < 0.02 || 1.0 - gate < 0.02);
            }
            all += step.gates.len();
        }
        (keep / (self.steps.len() * h).max(1) as f64, ends as f64 / all.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::op::gru::gru;
    use bert4rs_tensor::op::lstm::lstm;
    use bert4rs_tensor::{Packed, Rng, grad};

    use super::*;

    /// The gradient of a combination of the last state with respect to what goes into the gates of every step
    /// is that of the fused operations.
    #[test]
    fn a_pulled_gradient_is_that_of_the_operation() {
        let (tokens, h) = (5, 3);
        for (cell, k) in [(CellKind::Lstm, 4), (CellKind::Gru, 3)] {
            for reverse in [false, true] {
                let mut rng = Rng::new(4);
                let mut random = |shape: &[usize]| rng.normal_tensor(shape, 0.8, DType::F64).unwrap();
                let x = random(&[tokens, k * h]).tracked();
                let (recurrent, bias, weights) = (random(&[k * h, h]), random(&[h]), random(&[1, h]));
                let batch = Packed::from_lengths(&[tokens]);
                let hidden = match cell {
                    CellKind::Lstm => lstm(&x, &recurrent, &batch, reverse).unwrap(),
                    CellKind::Gru => gru(&x, &recurrent, &bias, &batch, reverse).unwrap(),
                };
                let last = if reverse { 0 } else { tokens - 1 };
                let loss = hidden.narrow(0, last, 1).unwrap().mul(&weights).unwrap().sum_all().unwrap();
                let want = grad(&loss, &[&x], false).unwrap().remove(0).to_f64_vec();
                let of = Recurrence {
                    cell,
                    gates: &x,
                    recurrent: &recurrent,
                    bias: (cell == CellKind::Gru).then_some(&bias),
                    hidden: &hidden,
                    reverse,
                };
                let trace = Trace::new(&of, 0..tokens).unwrap();
                let mut rows = match cell {
                    CellKind::Lstm => Tensor::concat(&[&weights, &weights.zeros_like()], 1).unwrap(),
                    CellKind::Gru => weights.clone(),
                };
                for t in (0..tokens).rev() {
                    let mut inside = trace.local(t, &rows).unwrap().0.to_f64_vec();
                    if cell == CellKind::Gru {
                        // The candidate's share of the input does not go through the reset.
                        (0..h).for_each(|j| inside[2 * h + j] /= trace.steps[t].gates[h + j]);
                    }
                    let token = if reverse { tokens - 1 - t } else { t };
                    for (got, want) in inside.iter().zip(&want[token * k * h..]) {
                        assert!((got - want).abs() < 1e-10, "{cell:?} {reverse} {t}: {got} {want}");
                    }
                    rows = trace.pull(t, &rows).unwrap();
                }
            }
        }
    }
}

//! LSTM: one direction over a packed batch.
//!
//! Definition:  i, f, o = sigmoid, g = tanh of  x_gates_t + U h_(t-1);  c_t = f c_(t-1) + i g;
//!              h_t = o tanh(c_t);  h and c start at 0, `reverse` starts at the last token
//! Shapes:      x_gates = x W^T + b [T, 4H] in the order i, f, g, o; recurrent U [4H, H]
//!              -> hidden [T, H], gates (activated) [T, 4H], cells [T, H]
//! Numerics:    the bits of a sequence depend neither on the others nor on threads
//! Cost:        O(T H^2). Sequences step together, longest first, so a step is one product
//!              `[active, H] x [H, 4H]` without padding
//! Reference:   Hochreiter and Schmidhuber, 1997; forget gate of Gers et al., 2000.
//!              Vectors: rnn-gradient-analysis.json

mod backward;

pub use backward::lstm_backward;

use crate::gemm::{Epilogue, Packed, View, linear_packed, matmul};
use crate::unfold::by_sequence;
use crate::{Real, cpu};
use rayon::prelude::*;

/// Sequences that are worth a thread of their own: the rows that one pass of the matrix product
/// reads the weights for.
const TOGETHER: usize = 8;

/// Multiply-adds below which the whole batch stays on one thread.
const SPLIT: usize = 1 << 18;

/// Runs the cell over every sequence; overwrites `hidden` and, for the backward pass, `gates` and `cells`.
pub fn lstm_forward<T: Real>(
    offsets: &[usize],
    hidden_size: usize,
    x_gates: &[T],
    recurrent: &[T],
    reverse: bool,
    hidden: &mut [T],
    gates: &mut [T],
    cells: &mut [T],
) {
    let h = hidden_size;
    let tokens = offsets.last().copied().unwrap_or(0);
    assert_eq!(recurrent.len(), 4 * h * h, "recurrent is [4H, H]");
    for (name, len, width) in [
        ("x_gates", x_gates.len(), 4 * h),
        ("hidden", hidden.len(), h),
        ("gates", gates.len(), 4 * h),
        ("cells", cells.len(), h),
    ] {
        assert_eq!(len, tokens * width, "{name} is [T, {width}]");
    }
    let outputs = by_sequence(offsets, h, hidden)
        .into_iter()
        .zip(by_sequence(offsets, 4 * h, gates).into_iter().zip(by_sequence(offsets, h, cells)));
    let sequences = offsets.windows(2).zip(outputs).map(|(o, (hidden, (gates, cells)))| {
        let x_gates = &x_gates[o[0] * 4 * h..o[1] * 4 * h];
        (o[1] - o[0], Forward { x_gates, hidden, gates, cells })
    });
    let weights = Weights::new(recurrent, 4 * h, h);
    teams(sequences.collect(), tokens * h * h)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|mut team| forward_team(&mut team, h, &weights, reverse));
}

/// A weight matrix `[outputs, inputs]` that every step multiplies by: packed once, where `T` is `f32`.
pub(crate) struct Weights<T> {
    packed: Option<Packed>,
    by_input: Vec<T>, // [inputs, outputs], when not packed
    outputs: usize,
    inputs: usize,
}

impl<T: Real> Weights<T> {
    pub(crate) fn new(weight: &[T], outputs: usize, inputs: usize) -> Self {
        let packed = T::as_f32(weight).map(|w| Packed::new(w, outputs, inputs));
        let by_input = if packed.is_some() { Vec::new() } else { transposed(weight, outputs, inputs) };
        Self { packed, by_input, outputs, inputs }
    }

    /// `y [rows, outputs] = x [rows, inputs] weight^T`
    pub(crate) fn product(&self, x: &[T], y: &mut [T]) {
        let rows = x.len() / self.inputs;
        if let (Some(packed), Some(x)) = (&self.packed, T::as_f32(x))
            && let Some(y) = T::as_f32_mut(y)
        {
            return linear_packed(rows, x, packed, Epilogue::default(), y);
        }
        let (x, weight) = (View::row_major(x, self.inputs), View::row_major(&self.by_input, self.outputs));
        matmul(rows, self.outputs, self.inputs, x, weight, y, false);
    }
}

/// One sequence's rows.
struct Forward<'a, T> {
    x_gates: &'a [T],
    hidden: &'a mut [T],
    gates: &'a mut [T],
    cells: &'a mut [T],
}

fn forward_team<T: Real>(team: &mut [(usize, Forward<T>)], h: usize, weights: &Weights<T>, reverse: bool) {
    let (mut state, mut cell) = (vec![T::ZERO; team.len() * h], vec![T::ZERO; team.len() * h]);
    let mut products = vec![T::ZERO; team.len() * 4 * h];
    for step in 0..team.first().map_or(0, |s| s.0) {
        let active = active(team, step);
        if step > 0 {
            weights.product(&state[..active * h], &mut products[..active * 4 * h]);
        }
        cpu::simd(
            #[inline(always)]
            || {
                let states = state.chunks_exact_mut(h).zip(cell.chunks_exact_mut(h));
                let rows = states.zip(products.chunks_exact(4 * h));
                for ((length, s), ((state, cell), products)) in team[..active].iter_mut().zip(rows) {
                    let t = token(*length, step, reverse);
                    let x_gates = &s.x_gates[t * 4 * h..(t + 1) * 4 * h];
                    let gates = &mut s.gates[t * 4 * h..(t + 1) * 4 * h];
                    forward_row(products, x_gates, gates, cell, state);
                    s.cells[t * h..(t + 1) * h].copy_from_slice(cell);
                    s.hidden[t * h..(t + 1) * h].copy_from_slice(state);
                }
            },
        );
    }
}

/// One step of one sequence: `cell` and `state` are those of the last step, then of this one.
#[inline(always)]
fn forward_row<T: Real>(products: &[T], x_gates: &[T], gates: &mut [T], cell: &mut [T], state: &mut [T]) {
    let h = cell.len();
    let (pi, pf, pg, po) = quarters(products, h);
    let (xi, xf, xg, xo) = quarters(x_gates, h);
    let (gate_i, rest) = gates.split_at_mut(h);
    let (gate_f, rest) = rest.split_at_mut(h);
    let (gate_g, gate_o) = rest.split_at_mut(h);
    let (gate_o, state) = (&mut gate_o[..h], &mut state[..h]);
    for j in 0..h {
        gate_i[j] = (xi[j] + pi[j]).sigmoid();
        gate_f[j] = (xf[j] + pf[j]).sigmoid();
        gate_g[j] = (xg[j] + pg[j]).tanh();
        gate_o[j] = (xo[j] + po[j]).sigmoid();
    }
    for j in 0..h {
        cell[j] = gate_f[j] * cell[j] + gate_i[j] * gate_g[j];
        state[j] = gate_o[j] * cell[j].tanh();
    }
}

/// The four gates of a row, each of `h` numbers.
#[inline(always)]
fn quarters<T>(row: &[T], h: usize) -> (&[T], &[T], &[T], &[T]) {
    (&row[..h], &row[h..2 * h], &row[2 * h..3 * h], &row[3 * h..4 * h])
}

/// Deals the sequences (length, rows) to teams that step on their own; a team is sorted, longest first.
///
/// Rows of a product do not depend on each other, so teams change nothing but the time.
pub(crate) fn teams<S>(mut sequences: Vec<(usize, S)>, multiply_adds: usize) -> Vec<Vec<(usize, S)>> {
    let threads = if multiply_adds < SPLIT { 1 } else { rayon::current_num_threads() };
    let count = threads.min(sequences.len().div_ceil(TOGETHER)).max(1);
    sequences.sort_by_key(|s| std::cmp::Reverse(s.0));
    let mut teams: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    for (i, s) in sequences.into_iter().enumerate() {
        teams[i % count].push(s);
    }
    teams
}

/// How many sequences of a team reach `step`.
pub(crate) fn active<S>(team: &[(usize, S)], step: usize) -> usize {
    team.partition_point(|s| s.0 > step)
}

/// The token of `step`.
#[inline(always)]
pub(crate) fn token(length: usize, step: usize, reverse: bool) -> usize {
    if reverse { length - 1 - step } else { step }
}

/// The transpose of a row-major `[rows, cols]` matrix.
pub(crate) fn transposed<T: Real>(x: &[T], rows: usize, cols: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; x.len()];
    crate::parallel::rows(&mut out, rows, rows, |first, out| {
        for (j, row) in out.chunks_exact_mut(rows).enumerate() {
            row.iter_mut().zip(x[first + j..].iter().step_by(cols)).for_each(|(y, &x)| *y = x);
        }
    });
    out
}

#[cfg(test)]
mod tests;

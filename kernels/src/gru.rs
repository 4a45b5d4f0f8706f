//! GRU: one direction over a packed batch.
//!
//! Definition:  z, r = sigmoid of x_gates_t + U h_(t-1); q = U_g h_(t-1) + b; g = tanh(x_gates_t + r q);
//!              h_t = (1 - z) h_(t-1) + z g;  h starts at 0, `reverse` starts at the last token
//! Shapes:      x_gates = x W^T + b [T, 3H] in the order z, r, g; recurrent U [3H, H], b [H]
//!              -> hidden [T, H], gates (activated) [T, 3H], inner q [T, H]
//! Numerics:    the bits of a sequence depend neither on the others nor on threads
//! Cost:        O(T H^2); sequences step together, as in the LSTM
//! Reference:   Cho et al., 2014, with the reset after the product as in cuDNN and PyTorch.
//!              Vectors: rnn-gradient-analysis.json

use rayon::prelude::*;

use crate::Real;
use crate::lstm::{Weights, active, teams, token, transposed};
use crate::unfold::by_sequence;

/// What the forward pass keeps for the backward pass.
pub struct Kept<'a, T> {
    /// Activated gates `[T, 3H]`.
    pub gates: &'a mut [T],
    /// `q` of the head of this file, `[T, H]`.
    pub inner: &'a mut [T],
}

struct Forward<'a, T> {
    x_gates: &'a [T],
    hidden: &'a mut [T],
    gates: &'a mut [T],
    inner: &'a mut [T],
}

/// Runs the cell over every sequence; overwrites `hidden` and `kept`.
pub fn gru_forward<T: Real>(
    offsets: &[usize],
    hidden_size: usize,
    x_gates: &[T],
    (recurrent, bias): (&[T], &[T]),
    reverse: bool,
    hidden: &mut [T],
    kept: Kept<T>,
) {
    let h = hidden_size;
    let tokens = offsets.last().copied().unwrap_or(0);
    assert_eq!((recurrent.len(), bias.len()), (3 * h * h, h), "recurrent is [3H, H] with a bias [H]");
    assert_eq!((x_gates.len(), kept.gates.len()), (tokens * 3 * h, tokens * 3 * h), "gates are [T, 3H]");
    assert_eq!((hidden.len(), kept.inner.len()), (tokens * h, tokens * h), "hidden is [T, H]");
    let outputs = by_sequence(offsets, h, hidden)
        .into_iter()
        .zip(by_sequence(offsets, 3 * h, kept.gates).into_iter().zip(by_sequence(offsets, h, kept.inner)));
    let sequences = offsets.windows(2).zip(outputs).map(|(o, (hidden, (gates, inner)))| {
        let x_gates = &x_gates[o[0] * 3 * h..o[1] * 3 * h];
        (o[1] - o[0], Forward { x_gates, hidden, gates, inner })
    });
    let weights = Weights::new(recurrent, 3 * h, h);
    teams(sequences.collect(), tokens * h * h).into_par_iter().with_max_len(1).for_each(|mut team| {
        let mut state = vec![T::ZERO; team.len() * h];
        let mut products = vec![T::ZERO; team.len() * 3 * h];
        for step in 0..team.first().map_or(0, |s| s.0) {
            let active = active(&team, step);
            if step > 0 {
                weights.product(&state[..active * h], &mut products[..active * 3 * h]);
            }
            let rows = state.chunks_exact_mut(h).zip(products.chunks_exact(3 * h));
            for ((length, s), (state, products)) in team[..active].iter_mut().zip(rows) {
                let t = token(*length, step, reverse);
                let x = &s.x_gates[t * 3 * h..][..3 * h];
                let (gates, inner) = (&mut s.gates[t * 3 * h..][..3 * h], &mut s.inner[t * h..][..h]);
                for j in 0..h {
                    let z = (x[j] + products[j]).sigmoid();
                    let r = (x[h + j] + products[h + j]).sigmoid();
                    let q = products[2 * h + j] + bias[j];
                    let g = (x[2 * h + j] + r * q).tanh();
                    (gates[j], gates[h + j], gates[2 * h + j], inner[j]) = (z, r, g, q);
                    state[j] = (T::ONE - z) * state[j] + z * g;
                }
                s.hidden[t * h..][..h].copy_from_slice(state);
            }
        }
    });
}

/// What the backward pass reads.
pub struct Saved<'a, T> {
    /// `[T, H]`
    pub hidden: &'a [T],
    /// `[T, 3H]`
    pub gates: &'a [T],
    /// `[T, H]`
    pub inner: &'a [T],
}

struct Backward<'a, T> {
    start: usize,
    d_x: &'a mut [T],
    d_products: &'a mut [T],
}

/// From the gradient of `hidden`: that of `x_gates` and of the products `U h_(t-1)`, both `[T, 3H]`. The
/// gradient of `U` is `d_products^T` times the states before each token, that of the bias the sum of
/// its last `H` columns.
pub fn gru_backward<T: Real>(
    offsets: &[usize],
    hidden_size: usize,
    recurrent: &[T],
    reverse: bool,
    saved: Saved<T>,
    d_hidden: &[T],
    (d_x, d_products): (&mut [T], &mut [T]),
) {
    let h = hidden_size;
    let tokens = offsets.last().copied().unwrap_or(0);
    assert_eq!((d_x.len(), d_products.len()), (tokens * 3 * h, tokens * 3 * h), "gradients are [T, 3H]");
    assert_eq!(d_hidden.len(), tokens * h, "d_hidden is [T, H]");
    let outputs = by_sequence(offsets, 3 * h, d_x).into_iter().zip(by_sequence(offsets, 3 * h, d_products));
    let sequences = offsets
        .windows(2)
        .zip(outputs)
        .map(|(o, (d_x, d_products))| (o[1] - o[0], Backward { start: o[0], d_x, d_products }));
    let turned = transposed(recurrent, 3 * h, h);
    let weights = Weights::new(&turned, h, 3 * h);
    teams(sequences.collect(), tokens * h * h).into_par_iter().with_max_len(1).for_each(|mut team| {
        let mut d_state = vec![T::ZERO; team.len() * h]; // through the keep gate
        let mut d_before = vec![T::ZERO; team.len() * h]; // through the products
        let mut rows = vec![T::ZERO; team.len() * 3 * h];
        for step in (0..team.first().map_or(0, |s| s.0)).rev() {
            let active = active(&team, step);
            for (i, (length, s)) in team[..active].iter_mut().enumerate() {
                let t = token(*length, step, reverse);
                let at = s.start + t;
                let before = (step > 0).then(|| (s.start + token(*length, step - 1, reverse)) * h);
                let (gates, d_row) = (&saved.gates[at * 3 * h..][..3 * h], &mut rows[i * 3 * h..][..3 * h]);
                let d_x = &mut s.d_x[t * 3 * h..][..3 * h];
                for j in 0..h {
                    let (z, r, g) = (gates[j], gates[h + j], gates[2 * h + j]);
                    let last = before.map_or(T::ZERO, |b| saved.hidden[b + j]);
                    let d = d_hidden[at * h + j] + d_state[i * h + j] + d_before[i * h + j];
                    let d_z = d * (g - last) * z * (T::ONE - z);
                    let d_g = d * z * (T::ONE - g * g);
                    let d_r = d_g * saved.inner[at * h + j] * r * (T::ONE - r);
                    (d_x[j], d_x[h + j], d_x[2 * h + j]) = (d_z, d_r, d_g);
                    (d_row[j], d_row[h + j], d_row[2 * h + j]) = (d_z, d_r, d_g * r);
                    d_state[i * h + j] = d * (T::ONE - z);
                }
                s.d_products[t * 3 * h..][..3 * h].copy_from_slice(d_row);
            }
            weights.product(&rows[..active * 3 * h], &mut d_before[..active * h]);
        }
    });
}

//! Gradient of the LSTM.

use super::{Weights, active, quarters, teams, token, transposed};
use crate::gemm::{View, matmul};
use crate::unfold::by_sequence;
use crate::{Real, cpu};
use rayon::prelude::*;

/// Gradients for `d_hidden` `[T, H]`, from what the forward pass kept; overwrites `d_x_gates` `[T, 4H]`
/// and `d_recurrent` `[4H, H]`.
pub fn lstm_backward<T: Real>(
    offsets: &[usize],
    hidden_size: usize,
    recurrent: &[T],
    reverse: bool,
    hidden: &[T],
    gates: &[T],
    cells: &[T],
    d_hidden: &[T],
    d_x_gates: &mut [T],
    d_recurrent: &mut [T],
) {
    let h = hidden_size;
    let tokens = offsets.last().copied().unwrap_or(0);
    assert_eq!(recurrent.len(), 4 * h * h, "recurrent is [4H, H]");
    assert_eq!(d_recurrent.len(), 4 * h * h, "d_recurrent is [4H, H]");
    for (name, len, width) in [
        ("hidden", hidden.len(), h),
        ("gates", gates.len(), 4 * h),
        ("cells", cells.len(), h),
        ("d_hidden", d_hidden.len(), h),
        ("d_x_gates", d_x_gates.len(), 4 * h),
    ] {
        assert_eq!(len, tokens * width, "{name} is [T, {width}]");
    }
    let outputs = by_sequence(offsets, 4 * h, d_x_gates);
    let sequences = offsets.windows(2).zip(outputs).map(|(o, d_x_gates)| {
        let (own, wide) = (o[0] * h..o[1] * h, o[0] * 4 * h..o[1] * 4 * h);
        let (gates, cells, d_hidden) = (&gates[wide], &cells[own.clone()], &d_hidden[own]);
        (o[1] - o[0], Backward { gates, cells, d_hidden, d_x_gates })
    });
    let weights = Weights::new(&transposed(recurrent, 4 * h, h), h, 4 * h); // d_gates U
    teams(sequences.collect(), 2 * tokens * h * h)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|mut team| backward_team(&mut team, h, &weights, reverse));
    let before = states_before(offsets, h, hidden, reverse); // [T, H]
    matmul(
        4 * h,
        h,
        tokens,
        View::transposed(d_x_gates, 4 * h),
        View::row_major(&before, h),
        d_recurrent,
        false,
    );
}

/// One sequence's rows.
struct Backward<'a, T> {
    gates: &'a [T],
    cells: &'a [T],
    d_hidden: &'a [T],
    d_x_gates: &'a mut [T],
}

fn backward_team<T: Real>(team: &mut [(usize, Backward<T>)], h: usize, weights: &Weights<T>, reverse: bool) {
    // What the step after this one wants of its input state and cell; 0 for sequences that end here.
    let (mut d_state, mut d_cell) = (vec![T::ZERO; team.len() * h], vec![T::ZERO; team.len() * h]);
    let mut d_gates = vec![T::ZERO; team.len() * 4 * h];
    let zeros = vec![T::ZERO; h];
    for step in (0..team.first().map_or(0, |s| s.0)).rev() {
        let active = active(team, step);
        cpu::simd(
            #[inline(always)]
            || {
                let states = d_state.chunks_exact(h).zip(d_cell.chunks_exact_mut(h));
                let rows = states.zip(d_gates.chunks_exact_mut(4 * h));
                for ((length, s), ((d_state, d_cell), d_gates)) in team[..active].iter_mut().zip(rows) {
                    let t = token(*length, step, reverse);
                    let before = match step {
                        0 => &zeros[..],
                        _ => &s.cells[token(*length, step - 1, reverse) * h..][..h],
                    };
                    let (own, wide) = (t * h..(t + 1) * h, t * 4 * h..(t + 1) * 4 * h);
                    let (gates, cells) = (&s.gates[wide.clone()], &s.cells[own.clone()]);
                    backward_row(gates, cells, before, &s.d_hidden[own], d_state, d_cell, d_gates);
                    s.d_x_gates[wide].copy_from_slice(d_gates);
                }
            },
        );
        if step > 0 {
            weights.product(&d_gates[..active * 4 * h], &mut d_state[..active * h]);
        }
    }
}

/// One step of one sequence back: `d_cell` is the gradient of this step's cell through the next step,
/// then of the last step's cell.
#[inline(always)]
fn backward_row<T: Real>(
    gates: &[T],
    cell: &[T],
    before: &[T],
    d_hidden: &[T],
    d_state: &[T],
    d_cell: &mut [T],
    d_gates: &mut [T],
) {
    let h = d_cell.len();
    let (i, f, g, o) = quarters(gates, h);
    let (cell, before, d_hidden, d_state) = (&cell[..h], &before[..h], &d_hidden[..h], &d_state[..h]);
    let (d_i, rest) = d_gates.split_at_mut(h);
    let (d_f, rest) = rest.split_at_mut(h);
    let (d_g, d_o) = rest.split_at_mut(h);
    let d_o = &mut d_o[..h];
    let (one, two) = (T::ONE, T::from_f64(2.0));
    for j in 0..h {
        // tanh(c) and 1 - tanh(c)^2 from one exponential, without cancellation when saturated.
        let e = (-two * cell[j].abs()).exp();
        let inverse = one / (one + e);
        let tanh = (one - e) * inverse;
        let tanh = if cell[j] < T::ZERO { -tanh } else { tanh };
        let slope = two * two * e * inverse * inverse;
        let d_h = d_hidden[j] + d_state[j];
        let d_c = d_cell[j] + d_h * o[j] * slope;
        d_i[j] = d_c * g[j] * i[j] * (one - i[j]);
        d_f[j] = d_c * before[j] * f[j] * (one - f[j]);
        d_g[j] = d_c * i[j] * (one - g[j] * g[j]);
        d_o[j] = d_h * tanh * o[j] * (one - o[j]);
        d_cell[j] = d_c * f[j];
    }
}

/// Per token, the state that entered its step.
fn states_before<T: Real>(offsets: &[usize], h: usize, hidden: &[T], reverse: bool) -> Vec<T> {
    let mut before = vec![T::ZERO; hidden.len()];
    for o in offsets.windows(2).filter(|o| o[1] > o[0]) {
        let (all, one) = (o[0] * h..o[1] * h, h);
        let (to, from) = if reverse {
            (all.start..all.end - one, all.start + one..all.end)
        } else {
            (all.start + one..all.end, all.start..all.end - one)
        };
        before[to].copy_from_slice(&hidden[from]);
    }
    before
}

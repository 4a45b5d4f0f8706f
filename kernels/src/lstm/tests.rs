use super::*;

fn noise<T: Real>(seed: u64, count: usize, size: f64) -> Vec<T> {
    let unit = |i| f64::from(crate::random::philox(seed, i as u64)[0]) / 2f64.powi(31) - 1.0;
    (0..count).map(|i| T::from_f64(size * unit(i))).collect()
}

fn offsets(lengths: &[usize]) -> Vec<usize> {
    (0..=lengths.len()).map(|b| lengths[..b].iter().sum()).collect()
}

/// hidden, gates, cells
fn forward<T: Real>(offsets: &[usize], h: usize, x: &[T], u: &[T], reverse: bool) -> [Vec<T>; 3] {
    let tokens = offsets[offsets.len() - 1];
    let mut out = [1, 4, 1].map(|k| vec![T::ONE; tokens * k * h]);
    let [hidden, gates, cells] = &mut out;
    lstm_forward(offsets, h, x, u, reverse, hidden, gates, cells);
    out
}

/// d_x_gates, d_recurrent
fn backward<T: Real>(offsets: &[usize], h: usize, x: &[T], u: &[T], reverse: bool, d: &[T]) -> [Vec<T>; 2] {
    let [hidden, gates, cells] = forward(offsets, h, x, u, reverse);
    let (mut d_x, mut d_u) = (vec![T::ONE; x.len()], vec![T::ONE; u.len()]);
    lstm_backward(offsets, h, u, reverse, &hidden, &gates, &cells, d, &mut d_x, &mut d_u);
    [d_x, d_u]
}

/// The definition, one sequence, one number at a time.
fn by_definition(h: usize, x: &[f64], u: &[f64], reverse: bool) -> Vec<f64> {
    let length = x.len() / (4 * h);
    let (mut out, mut state, mut cell) = (vec![0.0; length * h], vec![0.0; h], vec![0.0; h]);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let order: Vec<usize> = if reverse { (0..length).rev().collect() } else { (0..length).collect() };
    for t in order {
        let old = state.clone();
        for j in 0..h {
            let gate = |k: usize| {
                let row = k * h + j;
                x[t * 4 * h + row] + (0..h).map(|l| u[row * h + l] * old[l]).sum::<f64>()
            };
            cell[j] = sigmoid(gate(1)) * cell[j] + sigmoid(gate(0)) * gate(2).tanh();
            state[j] = sigmoid(gate(3)) * cell[j].tanh();
        }
        out[t * h..(t + 1) * h].copy_from_slice(&state);
    }
    out
}

#[test]
fn states_are_the_definition() {
    let (h, offsets) = (5, offsets(&[4, 0, 1, 7, 4, 2]));
    let (x, u) = (noise(1, offsets[6] * 4 * h, 2.0), noise(2, 4 * h * h, 1.0));
    for reverse in [false, true] {
        let [hidden, _, _] = forward(&offsets, h, &x, &u, reverse);
        for o in offsets.windows(2) {
            let want = by_definition(h, &x[o[0] * 4 * h..o[1] * 4 * h], &u, reverse);
            let got = &hidden[o[0] * h..o[1] * h];
            assert!(got.iter().zip(&want).all(|(x, y)| (x - y).abs() < 1e-13), "{got:?} {want:?}");
        }
    }
}

#[test]
fn one_step_by_hand() {
    // sigmoid(0) = 1/2, tanh(1); no cell before the first step, so the forget gate does not count.
    let [hidden, gates, cells] = forward(&[0, 1], 1, &[0.0, 9.0, 1.0, 0.0], &[3.0; 4], false);
    assert_eq!(cells, [0.5 * 1f64.tanh()]);
    assert_eq!(hidden, [0.5 * cells[0].tanh()]);
    assert_eq!((gates[0], gates[2], gates[3]), (0.5, 1f64.tanh(), 0.5));
}

#[test]
fn gradient_is_that_of_finite_differences() {
    let (h, offsets) = (3, offsets(&[4, 0, 1, 2]));
    let (mut x, mut u) = (noise::<f64>(1, 7 * 4 * h, 1.5), noise::<f64>(2, 4 * h * h, 1.0));
    let d = noise::<f64>(3, 7 * h, 1.0);
    for reverse in [false, true] {
        let [d_x, d_u] = backward(&offsets, h, &x, &u, reverse, &d);
        let total = |x: &[f64], u: &[f64]| {
            forward(&offsets, h, x, u, reverse)[0].iter().zip(&d).map(|(x, y)| x * y).sum::<f64>()
        };
        let step = 1e-5;
        for i in 0..x.len() {
            let kept = x[i];
            x[i] = kept + step;
            let up = total(&x, &u);
            x[i] = kept - step;
            let want = (up - total(&x, &u)) / (2.0 * step);
            x[i] = kept;
            assert!((d_x[i] - want).abs() < 1e-9, "x_gates {i}: {} {want}", d_x[i]);
        }
        for i in 0..u.len() {
            let kept = u[i];
            u[i] = kept + step;
            let up = total(&x, &u);
            u[i] = kept - step;
            let want = (up - total(&x, &u)) / (2.0 * step);
            u[i] = kept;
            assert!((d_u[i] - want).abs() < 1e-9, "recurrent {i}: {} {want}", d_u[i]);
        }
    }
}

#[test]
fn f32_is_close_to_f64() {
    let (h, offsets) = (20, offsets(&[30, 7, 19]));
    let tokens = offsets[3];
    let run = |reverse| {
        let (x, u, d) = (noise(1, tokens * 4 * h, 1.0), noise(2, 4 * h * h, 0.3), noise(3, tokens * h, 1.0));
        let want: [Vec<f64>; 2] = backward(&offsets, h, &x, &u, reverse, &d);
        let [want_hidden, ..] = forward(&offsets, h, &x, &u, reverse);
        let (x, u, d) = (noise(1, tokens * 4 * h, 1.0), noise(2, 4 * h * h, 0.3), noise(3, tokens * h, 1.0));
        let got: [Vec<f32>; 2] = backward(&offsets, h, &x, &u, reverse, &d);
        let [hidden, ..] = forward(&offsets, h, &x, &u, reverse);
        (hidden, want_hidden, got, want)
    };
    for reverse in [false, true] {
        let (hidden, want_hidden, got, want) = run(reverse);
        assert!(hidden.iter().zip(&want_hidden).all(|(x, y): (&f32, &f64)| (f64::from(*x) - y).abs() < 2e-6));
        for (got, want) in got.iter().zip(&want) {
            let size = want.iter().fold(0f64, |m, x| m.max(x.abs()));
            assert!(got.iter().zip(want).all(|(x, y)| (f64::from(*x) - y).abs() < 1e-5 * size));
        }
    }
}

#[test]
fn gates_of_ten_thousand_saturate_without_nan() {
    let x: Vec<f32> = noise::<f32>(1, 6 * 8, 1.0).iter().map(|x| x.signum() * 1e4).collect();
    let d = backward(&[0, 6], 2, &x, &[1e4; 16], false, &[1.0; 12]);
    assert!(
        forward(&[0, 6], 2, &x, &[1e4; 16], false).concat().iter().all(|x| x.is_finite() && x.abs() <= 6.0)
    );
    assert!(d.concat().iter().all(|x| x.is_finite()));
}

#[test]
fn no_bit_depends_on_threads_or_on_the_batch() {
    let (h, lengths) = (40, [9, 3, 0, 12, 1, 9, 30, 2, 9, 5, 14, 7, 21, 22, 23, 4, 11, 40]);
    let offsets = offsets(&lengths);
    let tokens = offsets[lengths.len()];
    let (x, u, d) = (noise(1, tokens * 4 * h, 1.0), noise(2, 4 * h * h, 0.5), noise(3, tokens * h, 1.0));
    assert!(tokens * h * h >= SPLIT && lengths.len() > 2 * TOGETHER, "enough work for three teams");
    for reverse in [false, true] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                (forward::<f32>(&offsets, h, &x, &u, reverse), backward(&offsets, h, &x, &u, reverse, &d))
            })
        };
        let (kept, gradients) = run(1);
        assert_eq!((&kept, &gradients), (&run(3).0, &run(3).1));
        for o in offsets.windows(2) {
            let (wide, narrow) = (o[0] * 4 * h..o[1] * 4 * h, o[0] * h..o[1] * h);
            let length = [0, o[1] - o[0]];
            let [hidden, ..] = forward(&length, h, &x[wide.clone()], &u, reverse);
            assert_eq!(hidden, kept[0][narrow.clone()]);
            let [d_x, _] = backward(&length, h, &x[wide.clone()], &u, reverse, &d[narrow]);
            assert_eq!(d_x, gradients[0][wide]);
        }
    }
}

#[test]
fn teams_are_sorted_and_hold_every_sequence_once() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
    let sequences: Vec<_> = (0..20usize).map(|b| (b * 7 % 11, b)).collect();
    let teams = pool.install(|| teams(sequences.clone(), SPLIT));
    assert_eq!(teams.len(), 3);
    assert!(teams.iter().all(|team| team.is_sorted_by_key(|s| std::cmp::Reverse(s.0))));
    let mut all = teams.concat();
    all.sort_by_key(|s| s.1);
    assert_eq!(all, sequences);
}

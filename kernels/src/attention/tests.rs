use super::*;

pub(super) fn numbers<T: Real>(count: usize, seed: u64, size: f64) -> Vec<T> {
    (0..count)
        .map(|i| {
            let word = f64::from(crate::random::philox(seed, i as u64)[0]);
            T::from_f64(size * (word / 2_147_483_648.0 - 1.0))
        })
        .collect()
}

/// The definition in plain loops, and the log-sum-exp of every row.
pub(super) fn reference(
    attention: &Attention,
    bias: Option<DistanceBias<f64>>,
    q: &[f64],
    k: &[f64],
    v: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let (heads, size, value) = (attention.heads, attention.key_size, attention.value_size);
    let width = heads * size;
    let (mut out, mut lse) = (vec![0.0; attention.tokens() * heads * value], Vec::new());
    for t in 0..q.len() / width {
        let b = attention.offsets.iter().rposition(|&start| start <= t).expect("a sequence");
        let (start, end) = (attention.key_offsets()[b], attention.key_offsets()[b + 1]);
        let place = (end + t).wrapping_sub(attention.offsets[b + 1]); // the key that the query is
        for h in 0..heads {
            let sees = |j: usize| match attention.mask {
                Mask::Full => true,
                Mask::Causal => j <= place,
                Mask::Prefix(p) => j <= place || j < start + p[b],
            };
            let near = |j: usize| attention.window.is_none_or(|w| j.abs_diff(place) <= w);
            let score = |j: usize| {
                let added = bias.map_or(0.0, |b| b.values[h * (2 * b.span - 1) + b.span - 1 + j - place]);
                let dot = (0..size).map(|c| q[t * width + h * size + c] * k[j * width + h * size + c]);
                attention.scale * dot.sum::<f64>() + added
            };
            let keys: Vec<usize> = (start..end).filter(|&j| sees(j) && near(j)).collect();
            let max = keys.iter().map(|&j| score(j)).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = keys.iter().map(|&j| (score(j) - max).exp()).sum();
            lse.push(max + sum.ln());
            let mut factors = vec![1.0; end - start];
            if let Some(dropout) = attention.dropout {
                dropout.factors(((t * heads + h) as u64) << 24, &mut factors);
            }
            for &j in &keys {
                let p = (score(j) - max).exp() / sum * factors[j - start];
                for c in 0..value {
                    out[(t * heads + h) * value + c] += p * v[(j * heads + h) * value + c];
                }
            }
        }
    }
    (out, lse)
}

/// Forward results and the gradients, that of the bias last.
pub(super) fn run_with<T: Real>(
    attention: &Attention,
    bias: Option<DistanceBias<T>>,
    [q, k, v, d_out]: [&[T]; 4],
) -> [Vec<T>; 6] {
    let nan = |len: usize| vec![T::from_f64(f64::NAN); len];
    let [key_width, _, value_width] = attention.widths();
    let (mut out, mut lse) = (nan(d_out.len()), vec![T::ZERO; attention.tokens() * attention.heads]);
    let rows = |data, stride| Rows { data, stride };
    let inputs = [rows(q, key_width), rows(k, key_width), rows(v, value_width)];
    forward(attention, inputs, bias, &mut out, &mut lse);
    let (mut dq, mut dk, mut dv) = (nan(q.len()), nan(k.len()), nan(v.len()));
    let mut d_bias = bias.map_or(Vec::new(), |bias| vec![T::ONE; bias.values.len()]);
    let gradients = Gradients::Apart([&mut dq, &mut dk, &mut dv]);
    backward(attention, inputs, &out, &lse, d_out, bias.map(|bias| (bias, &mut d_bias[..])), gradients);
    [out, lse, dq, dk, dv, d_bias]
}

pub(super) fn run<T: Real>(attention: &Attention, q: &[T], k: &[T], v: &[T], d_out: &[T]) -> [Vec<T>; 5] {
    let [out, lse, dq, dk, dv, _] = run_with(attention, None, [q, k, v, d_out]);
    [out, lse, dq, dk, dv]
}

#[test]
fn operands_side_by_side_give_the_bits_of_those_apart() {
    for attention in settings(&OFFSETS) {
        let x: [Vec<f32>; 4] = std::array::from_fn(|i| numbers(1280, i as u64, 1.5));
        let [q, k, v, d_out] = &x;
        let apart = run(&attention, q, k, v, d_out);
        let widths = attention.widths();
        let width = widths[0];
        let rows = |x: &[&[f32]; 3]| -> Vec<f32> {
            let row = |t: usize| x.map(|x| &x[t * width..][..width]).concat();
            (0..attention.tokens()).flat_map(row).collect()
        };
        let joint = rows(&[q, k, v]);
        let (mut out, mut lse) = (vec![9.0; q.len()], vec![9.0; attention.tokens() * attention.heads]);
        forward(&attention, Rows::joint(&joint, widths), None, &mut out, &mut lse);
        let mut d = vec![9.0; joint.len()];
        let inputs = Rows::joint(&joint, widths);
        backward(&attention, inputs, &out, &lse, d_out, None, Gradients::Joint(&mut d));
        assert_eq!([&out, &lse], [&apart[0], &apart[1]]);
        assert_eq!(d, rows(&[&apart[2], &apart[3], &apart[4]]));
    }
}

pub(super) fn close<T: Real>(got: &[T], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g.to_f64() - w).abs() <= tolerance * (1.0 + w.abs()), "{what}[{i}]: {g} is not {w}");
    }
}

const PREFIXES: [usize; 6] = [2, 0, 5, 1, 9, 70];
const OFFSETS: [usize; 7] = [0, 3, 3, 4, 21, 28, 128];

fn settings(offsets: &[usize]) -> impl Iterator<Item = Attention<'_>> {
    [Mask::Full, Mask::Causal, Mask::Prefix(&PREFIXES)].into_iter().flat_map(move |mask| {
        [(None, None), (Some(Dropout::new(0.3, 5)), None), (None, Some(3)), (None, Some(0))].into_iter().map(
            move |(dropout, window)| Attention {
                heads: 2,
                key_size: 5,
                value_size: 5,
                scale: 0.7,
                offsets,
                keys: None,
                mask,
                window,
                dropout,
            },
        )
    })
}

#[test]
fn two_tokens_by_hand() {
    let attention = Attention {
        heads: 1,
        key_size: 1,
        value_size: 1,
        scale: 1.0,
        offsets: &[0, 2],
        keys: None,
        mask: Mask::Causal,
        window: None,
        dropout: None,
    };
    let [out, lse, ..] = run(&attention, &[1.0, 1.0], &[0.0, 3f64.ln()], &[4.0, 8.0], &[0.0, 0.0]);
    close(&out, &[4.0, 7.0], 1e-15, "out");
    close(&lse, &[0.0, 4f64.ln()], 1e-15, "lse");
}

#[test]
fn every_mask_agrees_with_plain_loops_in_both_types() {
    for attention in settings(&OFFSETS) {
        let x: [Vec<f64>; 4] = std::array::from_fn(|i| numbers::<f32>(1280, i as u64, 1.5))
            .map(|x| x.iter().map(|x| f64::from(*x)).collect());
        let [q, k, v, d_out] = &x;
        let exact = run(&attention, q, k, v, d_out);
        let (out, lse) = reference(&attention, None, q, k, v);
        close(&exact[0], &out, 1e-13, "out");
        close(&exact[1], &lse, 1e-13, "lse");
        let [q, k, v, d_out] = x.map(|x| x.iter().map(|x| *x as f32).collect::<Vec<_>>());
        let fast = run(&attention, &q, &k, &v, &d_out);
        for (i, name) in ["out", "lse", "dq", "dk", "dv"].into_iter().enumerate() {
            close(&fast[i], &exact[i], 1e-5, name);
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for attention in settings(&[0, 3, 3, 4, 10]) {
        let attention = Attention { mask: shortened(attention.mask), ..attention };
        let x: [Vec<f64>; 4] = std::array::from_fn(|i| numbers(100, 10 + i as u64, 1.0));
        let [q, k, v, d_out] = &x;
        let gradients = run(&attention, q, k, v, d_out);
        let loss = |x: &[Vec<f64>; 4]| {
            let (out, _) = reference(&attention, None, &x[0], &x[1], &x[2]);
            out.iter().zip(&x[3]).map(|(o, d)| o * d).sum::<f64>()
        };
        for which in 0..3 {
            for i in 0..100 {
                let shifted = |step: f64| {
                    let mut x = x.clone();
                    x[which][i] += step;
                    loss(&x)
                };
                let want = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                close(&gradients[2 + which][i..=i], &[want], 1e-8, "gradient");
            }
        }
    }
}

fn shortened(mask: Mask) -> Mask {
    if let Mask::Prefix(p) = mask { Mask::Prefix(&p[..4]) } else { mask }
}

#[test]
fn no_sequences_and_empty_sequences_are_fine() {
    for offsets in [&[][..], &[0], &[0, 0, 0]] {
        let attention = Attention {
            heads: 2,
            key_size: 4,
            value_size: 4,
            scale: 1.0,
            offsets,
            keys: None,
            mask: Mask::Full,
            window: None,
            dropout: None,
        };
        let all = run::<f32>(&attention, &[], &[], &[], &[]);
        assert!(all.iter().all(|x| x.is_empty()));
    }
}

#[test]
fn a_sequence_of_one_token_returns_its_value() {
    let attention = Attention {
        heads: 3,
        key_size: 2,
        value_size: 2,
        scale: 0.5,
        offsets: &[0, 1],
        keys: None,
        mask: Mask::Full,
        window: None,
        dropout: None,
    };
    let (q, v): (Vec<f32>, Vec<f32>) = (numbers(6, 1, 1.0), numbers(6, 2, 1.0));
    let [out, _, dq, dk, dv] = run(&attention, &q, &q, &v, &[1.0; 6]);
    assert_eq!(out, v);
    assert_eq!(dv, [1.0; 6]);
    close(&[dq, dk].concat(), &[0.0; 12], 1e-6, "dq, dk");
}

#[test]
fn huge_scores_stay_finite() {
    let attention = Attention {
        heads: 1,
        key_size: 1,
        value_size: 1,
        scale: 1.0,
        offsets: &[0, 3],
        keys: None,
        mask: Mask::Full,
        window: None,
        dropout: None,
    };
    let (q, k, v) = ([100f32, -100.0, 0.0], [100f32, -100.0, 0.0], [1f32, 2.0, 3.0]);
    let [out, lse, dq, dk, dv] = run(&attention, &q, &k, &v, &[1.0, 1.0, 1.0]);
    assert_eq!(out, [1.0, 2.0, 2.0]);
    assert_eq!(lse[..2], [1e4, 1e4]);
    assert!([dq, dk, dv].concat().iter().all(|x| x.is_finite()));
}

#[test]
fn a_long_sequence_agrees_and_neighbours_and_threads_do_not_change_a_bit() {
    let (heads, size) = (3, 16);
    let make = |offsets, mask| Attention {
        heads,
        key_size: size,
        value_size: size,
        scale: 0.25,
        offsets,
        keys: None,
        mask,
        window: None,
        dropout: None,
    };
    let width = heads * size;
    let x: [Vec<f32>; 4] = std::array::from_fn(|i| numbers(450 * width, 20 + i as u64, 1.0));
    for mask in [Mask::Full, Mask::Causal] {
        let [q, k, v, d_out] = &x;
        let batch = run(&make(&[0, 50, 350, 450], mask), q, k, v, d_out);
        let [q, k, v, d_out] = std::array::from_fn(|i| &x[i][50 * width..350 * width]);
        let attention = make(&[0, 300], mask);
        let alone = run(&attention, q, k, v, d_out);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
        assert_eq!(pool.install(|| run(&attention, q, k, v, d_out)), alone);
        for i in [0, 2, 3, 4] {
            assert_eq!(batch[i][50 * width..350 * width], alone[i]);
        }
        let exact: [Vec<f64>; 3] = [q, k, v].map(|x| x.iter().map(|x| f64::from(*x)).collect());
        let (out, lse) = reference(&attention, None, &exact[0], &exact[1], &exact[2]);
        close(&alone[0], &out, 1e-6, "out");
        close(&alone[1], &lse, 1e-6, "lse");
    }
}

const SPAN: usize = 21;

fn added(values: &[f64]) -> Option<DistanceBias<'_, f64>> {
    Some(DistanceBias { values, span: SPAN })
}

#[test]
fn a_bias_by_distance_is_the_definition_and_has_its_gradient() {
    let bias: Vec<f64> = numbers(2 * (2 * SPAN - 1), 40, 2.0);
    for attention in settings(&[0, 3, 3, 4, 10]) {
        let attention = Attention { mask: shortened(attention.mask), ..attention };
        let x: [Vec<f64>; 4] = std::array::from_fn(|i| numbers(100, 10 + i as u64, 1.0));
        let got = run_with(&attention, added(&bias), x.each_ref().map(|x| &x[..]));
        let (out, lse) = reference(&attention, added(&bias), &x[0], &x[1], &x[2]);
        close(&got[0], &out, 1e-13, "out");
        close(&got[1], &lse, 1e-13, "lse");
        let loss = |bias: &[f64], x: &[Vec<f64>; 4]| {
            let (out, _) = reference(&attention, added(bias), &x[0], &x[1], &x[2]);
            out.iter().zip(&x[3]).map(|(o, d)| o * d).sum::<f64>()
        };
        for i in 0..bias.len() {
            let shifted = |step: f64| {
                let mut bias = bias.clone();
                bias[i] += step;
                loss(&bias, &x)
            };
            let want = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            close(&got[5][i..=i], &[want], 1e-8, "gradient of the bias");
        }
        for i in 0..100 {
            let shifted = |step: f64| {
                let mut x = x.clone();
                x[0][i] += step;
                loss(&bias, &x)
            };
            close(&got[2][i..=i], &[(shifted(1e-5) - shifted(-1e-5)) / 2e-5], 1e-8, "gradient of q");
        }
        let single = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<_>>();
        let (bias32, x32) = (single(&bias), x.each_ref().map(|x| single(x)));
        let bias32 = Some(DistanceBias { values: &bias32[..], span: SPAN });
        let fast = run_with(&attention, bias32, x32.each_ref().map(|x| &x[..]));
        fast.iter().zip(&got).for_each(|(fast, exact)| close(fast, exact, 1e-5, "f32"));
    }
}

#[test]
fn a_long_sequence_sees_its_window_only() {
    let x: [Vec<f64>; 4] = std::array::from_fn(|i| numbers(300 * 4, 50 + i as u64, 1.0));
    for (mask, window) in [(Mask::Full, 10), (Mask::Causal, 70), (Mask::Full, 130)] {
        let offsets = &[0, 300];
        let attention = Attention {
            heads: 1,
            key_size: 4,
            value_size: 4,
            scale: 0.5,
            offsets,
            keys: None,
            mask,
            window: Some(window),
            dropout: None,
        };
        let (out, lse) = reference(&attention, None, &x[0], &x[1], &x[2]);
        let got = run(&attention, &x[0], &x[1], &x[2], &x[3]);
        close(&got[0], &out, 1e-12, "out");
        close(&got[1], &lse, 1e-12, "lse");
        let x32 = x.each_ref().map(|x| x.iter().map(|x| *x as f32).collect::<Vec<_>>());
        let fast = run(&attention, &x32[0], &x32[1], &x32[2], &x32[3]);
        fast.iter().zip(&got).for_each(|(fast, exact)| close(fast, exact, 2e-5, "f32"));
    }
}

#[test]
fn values_may_have_another_width_than_keys() {
    for (attention, value_size) in settings(&[0, 3, 3, 4, 10]).zip([1, 3, 8, 20].into_iter().cycle()) {
        let attention = Attention { mask: shortened(attention.mask), value_size, ..attention };
        let sizes = [100, 100, 20 * value_size, 20 * value_size];
        let x: [Vec<f64>; 4] = std::array::from_fn(|i| numbers(sizes[i], 10 + i as u64, 1.0));
        let got = run(&attention, &x[0], &x[1], &x[2], &x[3]);
        let loss = |x: &[Vec<f64>; 4]| {
            let (out, _) = reference(&attention, None, &x[0], &x[1], &x[2]);
            out.iter().zip(&x[3]).map(|(o, d)| o * d).sum::<f64>()
        };
        close(&got[0], &reference(&attention, None, &x[0], &x[1], &x[2]).0, 1e-13, "out");
        for (which, i) in [(0, 0), (0, 57), (1, 3), (1, 99), (2, 0), (2, 19)] {
            let shifted = |step: f64| {
                let mut x = x.clone();
                x[which][i] += step;
                loss(&x)
            };
            let want = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            close(&got[2 + which][i..=i], &[want], 1e-8, "gradient");
        }
    }
}

//! Keys of other tokens than the queries: the texts that a decoder reads, and what it wrote before.

use super::tests::{close, numbers, reference, run, run_with};
use super::*;

const QUERIES: [usize; 6] = [0, 2, 5, 6, 6, 10];
const KEYS: [usize; 6] = [0, 4, 7, 7, 9, 90];

fn attention<'a>(offsets: &'a [usize], keys: &'a [usize], mask: Mask<'a>) -> Attention<'a> {
    let (key_size, value_size) = (3, 4);
    let (window, dropout) = (None, None);
    Attention { heads: 2, key_size, value_size, scale: 0.7, offsets, keys: Some(keys), mask, window, dropout }
}

/// Queries, keys, values and a gradient of the result.
fn operands(attention: &Attention) -> [Vec<f64>; 4] {
    let ([queries, keys, _], [width, _, values]) = (attention.counts(), attention.widths());
    let sizes = [queries * width, keys * width, keys * values, queries * values];
    std::array::from_fn(|i| numbers(sizes[i], 60 + i as u64, 1.2))
}

fn assert_gradients(attention: &Attention, bias: Option<&[f64]>, span: usize) {
    let x = operands(attention);
    let got =
        run_with(attention, bias.map(|values| DistanceBias { values, span }), x.each_ref().map(|x| &x[..]));
    let out = |x: &[Vec<f64>; 4], bias: Option<&[f64]>| {
        let (mut out, lse) =
            reference(attention, bias.map(|values| DistanceBias { values, span }), &x[0], &x[1], &x[2]);
        out.iter_mut().for_each(|x| *x = if x.is_nan() { 0.0 } else { *x });
        (out, lse)
    };
    close(&got[0], &out(&x, bias).0, 1e-13, "out");
    let loss = |x: &[Vec<f64>; 4], bias: Option<&[f64]>| {
        out(x, bias).0.iter().zip(&x[3]).map(|(o, d)| o * d).sum::<f64>()
    };
    for which in 0..3 {
        for i in (0..x[which].len()).step_by(1 + x[which].len() / 90) {
            let shifted = |step: f64| {
                let mut x = x.clone();
                x[which][i] += step;
                loss(&x, bias)
            };
            let want = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            close(&got[2 + which][i..=i], &[want], 1e-8, "gradient");
        }
    }
    for i in 0..bias.map_or(0, <[f64]>::len) {
        let shifted = |step: f64| {
            let mut bias = bias.map(<[f64]>::to_vec);
            bias.iter_mut().for_each(|bias| bias[i] += step);
            loss(&x, bias.as_deref())
        };
        let want = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
        close(&got[5][i..=i], &[want], 1e-8, "gradient of the bias");
    }
    let x32 = x.each_ref().map(|x| x.iter().map(|x| *x as f32).collect::<Vec<_>>());
    let bias32 = bias.map(|bias| bias.iter().map(|x| *x as f32).collect::<Vec<_>>());
    let bias32 = bias32.as_deref().map(|values| DistanceBias { values, span });
    let fast = run_with(attention, bias32, x32.each_ref().map(|x| &x[..]));
    fast.iter().zip(&got).for_each(|(fast, exact)| close(fast, exact, 2e-5, "f32"));
}

#[test]
fn every_sequence_reads_keys_of_its_own_whatever_their_number() {
    // One without keys gives 0, one without queries gives its keys no gradient.
    let attention = attention(&QUERIES, &KEYS, Mask::Full);
    assert_gradients(&attention, None, 0);
    let x = operands(&attention);
    let [out, _, dq, dk, dv] = run(&attention, &x[0], &x[1], &x[2], &x[3]);
    assert_eq!((&out[5 * 8..6 * 8], &dq[5 * 6..6 * 6]), (&[0.0; 8][..], &[0.0; 6][..]));
    assert_eq!((&dk[7 * 6..9 * 6], &dv[7 * 8..9 * 8]), (&[0.0; 12][..], &[0.0; 16][..]));
}

#[test]
fn masks_windows_and_biases_take_queries_for_the_last_keys() {
    let (queries, keys) = ([0, 2, 3, 3, 7], [0, 5, 6, 8, 12]);
    let bias: Vec<f64> = numbers(2 * 13, 90, 1.0);
    for mask in [Mask::Full, Mask::Causal, Mask::Prefix(&[3, 1, 0, 2])] {
        for window in [None, Some(0), Some(2)] {
            let attention = Attention { window, ..attention(&queries, &keys, mask) };
            assert_gradients(&attention, None, 0);
            assert_gradients(&attention, Some(&bias), 7);
        }
    }
}

#[test]
fn the_last_queries_alone_give_the_bits_of_all() {
    let (all, keys) = ([0, 90, 93], [0, 90, 93]);
    let whole = attention(&all, &keys, Mask::Causal);
    let x = operands(&whole).map(|x| x.iter().map(|x| *x as f32).collect::<Vec<_>>());
    let [out, ..] = run(&whole, &x[0], &x[1], &x[2], &x[3]);
    for last in [1, 3] {
        let offsets = [0, last, last + 1];
        let part = attention(&offsets, &keys, Mask::Causal);
        let take = |x: &[f32], width: usize| -> Vec<f32> {
            [&x[(90 - last) * width..90 * width], &x[92 * width..93 * width]].concat()
        };
        let (q, d_out) = (take(&x[0], 6), take(&x[3], 8));
        assert_eq!(run(&part, &q, &x[1], &x[2], &d_out)[0], take(&out, 8));
    }
}

#[test]
#[should_panic(expected = "more queries than keys under a mask")]
fn a_mask_needs_a_key_for_every_query() {
    let attention = attention(&[0, 3], &[0, 2], Mask::Causal);
    let x = operands(&attention);
    run(&attention, &x[0], &x[1], &x[2], &x[3]);
}

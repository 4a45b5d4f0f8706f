use super::super::dense;
use super::super::tests::{Batch, KEY, TYPES, candidates, noise, score, shapes};
use super::*;
use crate::rotary::Table;

/// Every seventh candidate is a positive.
fn some_positives(scores: &SpanScore) -> Vec<Vec<Span>> {
    let of = |b| candidates(scores, scores.length(b)).into_iter().skip(b).step_by(7).collect();
    (0..scores.sequences()).map(of).collect()
}

fn forward<T: Real>(
    s: &SpanScore,
    batch: &Batch<T>,
    biased: bool,
    positives: &[Vec<Span>],
) -> (Vec<T>, Vec<T>) {
    let rows = s.sequences() * s.types;
    let (mut loss, mut normalisers) = (vec![T::ONE; rows], vec![T::ONE; 2 * rows]);
    zlpr_forward(s, batch.inputs(biased), positives, &mut loss, &mut normalisers);
    (loss, normalisers)
}

/// Gradients of `qk`, `start`, `end` for the given `d_loss`.
fn backward<T: Real>(
    s: &SpanScore,
    batch: &Batch<T>,
    biased: bool,
    positives: &[Vec<Span>],
    d_loss: &[T],
) -> [Vec<T>; 3] {
    let (_, normalisers) = forward(s, batch, biased, positives);
    let mut d = [&batch.qk, &batch.start, &batch.end].map(|x| vec![T::ONE; x.len()]);
    let [d_qk, d_start, d_end] = &mut d;
    let d_bias = biased.then_some((&mut d_start[..], &mut d_end[..]));
    zlpr_backward(s, batch.inputs(biased), positives, &normalisers, d_loss, d_qk, d_bias);
    d
}

#[test]
fn loss_is_the_definition() {
    for (groups, triangular, width) in shapes() {
        let batch = Batch::<f64>::new(&[5, 0, 70, 1], groups, 1.5);
        let scores = batch.scores(groups, triangular, width);
        for biased in [false, true] {
            let positives = some_positives(&scores);
            let (loss, normalisers) = forward(&scores, &batch, biased, &positives);
            for (row, n) in normalisers.chunks(2).enumerate() {
                let (b, kind) = (row / TYPES, row % TYPES);
                let (mut negative, mut positive) = (1.0, 1.0);
                for p in candidates(&scores, scores.length(b)).into_iter().filter(|p| p.kind == kind) {
                    let s = score(&batch, &scores, biased, b, p);
                    if positives[b].contains(&p) { positive += (-s).exp() } else { negative += s.exp() }
                }
                assert!((n[0] - negative.ln()).abs() < 1e-11, "{scores:?} row {row}");
                assert!((n[1] - positive.ln()).abs() < 1e-11, "{scores:?} row {row}");
                assert!((loss[row] - n[0] - n[1]).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn gradient_is_that_of_finite_differences() {
    for (groups, triangular, width) in shapes() {
        let mut batch = Batch::<f64>::new(&[4, 0, 1, 3], groups, 1.0);
        let offsets = batch.offsets.clone();
        let scores = SpanScore { offsets: &offsets, ..batch.scores(groups, triangular, width) };
        let positives = some_positives(&scores);
        let d_loss = noise::<f64>(9, 4 * TYPES, 1.0);
        for biased in [false, true] {
            let got = backward(&scores, &batch, biased, &positives, &d_loss);
            let total = |batch: &Batch<f64>| {
                let loss = forward(&scores, batch, biased, &positives).0;
                loss.iter().zip(&d_loss).map(|(x, y)| x * y).sum::<f64>()
            };
            for (input, got) in got.iter().enumerate().take(if biased { 3 } else { 1 }) {
                for i in 0..got.len() {
                    let mut at = |step: f64| {
                        let inputs = [&mut batch.qk, &mut batch.start, &mut batch.end];
                        let kept = inputs[input][i];
                        inputs[input][i] += step;
                        let total = total(&batch);
                        [&mut batch.qk, &mut batch.start, &mut batch.end][input][i] = kept;
                        total
                    };
                    let want = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!(
                        (got[i] - want).abs() < 1e-8,
                        "{scores:?} input {input} at {i}: {} {want}",
                        got[i]
                    );
                }
            }
        }
    }
}

#[test]
fn turning_inside_is_turning_before() {
    let frequencies = [1.0, 0.1];
    for groups in [1, TYPES] {
        let batch = Batch::<f64>::new(&[70, 0, 130], groups, 1.0);
        let scores = batch.scores(groups, true, Some(90));
        let positives = some_positives(&scores);
        let table = Table::new(&frequencies, 130, 1.0);
        let positions: Vec<usize> = (0..70).chain(0..130).collect();
        let turn = |x: &mut [f64], back| {
            rotate(x, groups * 2, KEY, KEY, &table, &positions, Layout::Interleaved, back);
        };
        let mut turned = Batch { offsets: vec![], qk: batch.qk.clone(), ..Batch::new(&[200], groups, 1.0) };
        (turned.start, turned.end) = (batch.start.clone(), batch.end.clone());
        turn(&mut turned.qk, false);
        let d_loss = noise::<f64>(9, 3 * TYPES, 1.0);
        let (want, _) = forward(&scores, &turned, true, &positives);
        let mut d = backward(&scores, &turned, true, &positives, &d_loss);
        turn(&mut d[0], true);

        let inputs = Inputs { rotation: Some(&table), ..batch.inputs(true) };
        let (mut loss, mut normalisers) = (vec![1.0; 3 * TYPES], vec![1.0; 6 * TYPES]);
        zlpr_forward(&scores, inputs, &positives, &mut loss, &mut normalisers);
        let mut got = [&batch.qk, &batch.start, &batch.end].map(|x| vec![1.0; x.len()]);
        let [d_qk, d_start, d_end] = &mut got;
        zlpr_backward(&scores, inputs, &positives, &normalisers, &d_loss, d_qk, Some((d_start, d_end)));
        let close = |x: &[f64], y: &[f64]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-12);
        assert!(close(&loss, &want) && close(&got.concat(), &d.concat()));
        assert_eq!(dense(&scores, inputs, 2), dense(&scores, turned.inputs(true), 2));
    }
}

#[test]
fn one_pair_gives_a_softplus_and_its_gradient_is_split_in_half_for_the_bias() {
    let offsets = [0, 1];
    let scores = SpanScore {
        offsets: &offsets,
        types: 1,
        groups: 1,
        key_size: 1,
        scale: 1.0,
        triangular: true,
        max_width: None,
    };
    let batch = Batch { offsets: vec![], qk: vec![2.0, 3.0], start: vec![1.0], end: vec![-3.0] };
    let positives = [vec![Span { kind: 0, start: 0, end: 0 }]];
    let (loss, _) = forward(&scores, &batch, true, &positives);
    assert!((loss[0] - (-5f64).exp().ln_1p()).abs() < 1e-15);
    let d = -1.0 / (1.0 + 5f64.exp());
    let [d_qk, d_start, d_end] = backward(&scores, &batch, true, &positives, &[1.0]);
    for (got, want) in [(d_qk[0], 3.0 * d), (d_qk[1], 2.0 * d), (d_start[0], d / 2.0), (d_end[0], d / 2.0)] {
        assert!((got - want).abs() < 1e-15, "{got} {want}");
    }
}

#[test]
fn scores_of_ten_thousand_stay_finite_and_right() {
    let mut batch = Batch::<f32>::new(&[2], 1, 0.0);
    let types = TYPES;
    // Type 0 all pairs at +1e4, type 1 all at -1e4, type 2 at 0.
    for t in 0..2 {
        (batch.start[t * types], batch.end[t * types]) = (1e4, 1e4);
        (batch.start[t * types + 1], batch.end[t * types + 1]) = (-1e4, -1e4);
    }
    let scores = batch.scores(1, true, None);
    let pair = |kind| Span { kind, start: 0, end: 1 };
    let positives = [(0..3).map(pair).collect::<Vec<_>>()];
    let (loss, _) = forward(&scores, &batch, true, &positives);
    assert_eq!(&loss[..2], [1e4 + 2f32.ln(), 1e4]);
    assert!((loss[2] - 6f32.ln()).abs() < 1e-6);
    let [d_qk, d_start, _] = backward(&scores, &batch, true, &positives, &[1.0; 3]);
    assert!(d_qk.iter().all(|d| *d == 0.0));
    // Row 0 holds pairs (0, 0) negative and (0, 1) positive, row 1 the negative (1, 1).
    let want = [0.25, -0.5, (1.0 / 3.0 - 0.5) / 2.0, 0.25, 0.0, 1.0 / 6.0];
    assert!(d_start.iter().zip(want).all(|(x, y)| (x - y).abs() < 1e-3), "{d_start:?}");
}

#[test]
fn f32_is_close_to_f64() {
    for groups in [1, TYPES] {
        let exact = Batch::<f64>::new(&[40, 9], groups, 1.5);
        let batch = Batch::<f32>::new(&[40, 9], groups, 1.5);
        let scores = exact.scores(groups, true, None);
        let positives = some_positives(&scores);
        let (want, _) = forward(&scores, &exact, true, &positives);
        let (got, _) = forward(&scores, &batch, true, &positives);
        assert!(got.iter().zip(&want).all(|(x, y)| (f64::from(*x) / y - 1.0).abs() < 1e-5));
        let want = backward(&scores, &exact, true, &positives, &[1.0; 2 * TYPES]).concat();
        let got = backward(&scores, &batch, true, &positives, &[1.0; 2 * TYPES]).concat();
        assert!(got.iter().zip(&want).all(|(x, y)| (f64::from(*x) - y).abs() < 1e-5));
    }
}

#[test]
fn no_bit_depends_on_threads_or_on_the_batch() {
    for groups in [1, TYPES] {
        let batch = Batch::<f32>::new(&[90, 0, 3, 120, 33], groups, 1.0);
        let scores = batch.scores(groups, true, Some(50));
        let positives = some_positives(&scores);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let loss = forward(&scores, &batch, true, &positives).0;
                (loss, backward(&scores, &batch, true, &positives, &[1.0; 5 * TYPES]))
            })
        };
        let (loss, d) = run(1);
        assert_eq!((&loss, &d), (&run(3).0, &run(3).1));
        let (from, to, width) = (batch.offsets[3], batch.offsets[4], groups * 2 * KEY);
        let cut = |x: &[f32], width: usize| x[from * width..to * width].to_vec();
        let alone = Batch {
            offsets: vec![0, 120],
            qk: cut(&batch.qk, width),
            start: cut(&batch.start, TYPES),
            end: cut(&batch.end, TYPES),
        };
        let scores = alone.scores(groups, true, Some(50));
        assert_eq!(forward(&scores, &alone, true, &positives[3..4]).0, loss[3 * TYPES..4 * TYPES]);
        let d_alone = backward(&scores, &alone, true, &positives[3..4], &[1.0; TYPES]);
        assert_eq!(d_alone, [cut(&d[0], width), cut(&d[1], TYPES), cut(&d[2], TYPES)]);
    }
}

#[test]
#[should_panic(expected = "is no candidate")]
fn a_positive_outside_the_triangle_is_refused() {
    let batch = Batch::<f32>::new(&[3], 1, 1.0);
    forward(&batch.scores(1, true, None), &batch, false, &[vec![Span { kind: 0, start: 2, end: 1 }]]);
}

//! Operations on every text by itself: values by hand and gradients by central differences.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::op::fourier::fourier;
use bert4rs_tensor::op::gru::gru;
use bert4rs_tensor::op::per_text::per_text;
use bert4rs_tensor::{DType, Packed, Result, Rng, Tensor};

/// `W[:n, :n] x`, a different `n` for every text.
fn mix(x: &Tensor, w: &Tensor, batch: &Packed) -> Result<Tensor> {
    per_text(&[x], &[w], batch, 2, |_, x, w| {
        let n = x[0].shape()[0];
        w[0].narrow(0, 0, n)?.narrow(1, 0, n)?.matmul(&x[0])
    })
}

fn numbers(n: usize, shape: &[usize]) -> Tensor {
    Tensor::new((0..n).map(|i| (i as f64 * 0.7).sin()).collect(), shape).unwrap()
}

#[test]
fn texts_are_mixed_by_themselves_with_gradients() {
    let batch = Packed::from_lengths(&[3, 0, 1, 2]);
    let (x, w) = (numbers(12, &[6, 2]), numbers(9, &[3, 3]));
    let all = mix(&x, &w, &batch).unwrap();
    let alone = mix(&x.narrow(0, 4, 2).unwrap(), &w, &Packed::from_lengths(&[2])).unwrap();
    assert_eq!(all.narrow(0, 4, 2).unwrap().to_f64_vec(), alone.to_f64_vec());
    bert4rs_testing::assert_gradients("per text", &[x, w], |xs| mix(&xs[0], &xs[1], &batch));
}

#[test]
fn nothing_in_nothing_out() {
    let y = mix(&numbers(0, &[0, 2]), &numbers(9, &[3, 3]), &Packed::from_lengths(&[])).unwrap();
    assert_eq!(y.shape(), [0, 2]);
    assert!(mix(&numbers(2, &[1, 2]), &numbers(9, &[3, 3]), &Packed::from_lengths(&[2])).is_err());
}

#[test]
fn the_transform_is_the_sum_over_all_pairs() {
    let batch = Packed::from_lengths(&[5, 1, 0, 7, 4]);
    let x: Vec<f64> = (0..17 * 6).map(|i| (i as f64 * 1.3).sin()).collect();
    let y = fourier(&Tensor::new(x.clone(), &[17, 6]).unwrap(), &batch).unwrap().to_f64_vec();
    for b in 0..batch.sequences() {
        let (start, n) = (batch.offsets()[b], batch.length(b));
        for (k, c) in (0..n).flat_map(|k| (0..6).map(move |c| (k, c))) {
            let turn = |j: usize, k: usize, m: usize| (j * k % m) as f64 / m as f64;
            let sum: f64 = (0..n)
                .flat_map(|i| (0..6).map(move |j| (i, j)))
                .map(|(i, j)| {
                    let angle = std::f64::consts::TAU * (turn(i, k, n) + turn(j, c, 6));
                    x[(start + i) * 6 + j] * angle.cos()
                })
                .sum();
            let got = y[(start + k) * 6 + c];
            assert!((got - sum).abs() < 1e-12, "text {b} [{k}, {c}]: {got}, expected {sum}");
        }
    }
}

#[test]
fn the_gradient_is_the_transform() {
    let batch = Packed::from_lengths(&[3, 2]);
    let x = Tensor::new((0..20).map(|i| (i as f64).cos()).collect(), &[5, 4]).unwrap();
    bert4rs_testing::assert_gradients("fourier", &[x], |x| fourier(&x[0], &batch));
}

#[test]
fn gradients_go_back_through_time_in_both_directions() {
    let batch = Packed::from_lengths(&[3, 0, 1, 2]);
    let mut rng = Rng::new(2);
    let mut normal = |shape: &[usize]| rng.normal_tensor(shape, 0.8, DType::F64).unwrap();
    let inputs = [normal(&[6, 6]), normal(&[6, 2]), normal(&[2])];
    for reverse in [false, true] {
        let f = |x: &[Tensor]| gru(&x[0], &x[1], &x[2], &batch, reverse);
        bert4rs_testing::assert_gradients("gru", &inputs, f);
    }
}

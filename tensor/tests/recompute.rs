//! Parts that run again in the backward pass: same value, same gradients, less kept.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bert4rs_tensor::op::recompute::recompute;
use bert4rs_tensor::{DType, Error, Result, Rng, Tensor, backward};

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 1.0, DType::F64).unwrap()
}

fn part(x: &Tensor, w: &Tensor, seed: u64) -> Result<Tensor> {
    x.matmul_t(w)?.dropout(0.3, seed)?.gelu()?.add(x)
}

#[test]
fn values_and_gradients_are_those_of_the_kept_graph() {
    let (x, w) = (normal(1, &[5, 4]), normal(2, &[4, 4]));
    let run = |again: bool, x_tracked: bool| {
        let (x, w) = (if x_tracked { x.tracked() } else { x.clone() }, w.tracked());
        let mut y = x.clone();
        for seed in 0..3 {
            y = if again {
                let shared = w.clone();
                recompute::<Error>(&y, |y| part(y, &w, seed), move |y| part(y, &shared, seed)).unwrap()
            } else {
                part(&y, &w, seed).unwrap()
            };
        }
        let loss = y.square().unwrap().sum_all().unwrap();
        let value = loss.item().unwrap();
        let gradients = backward(loss).unwrap();
        let of = |t: &Tensor| gradients.of(t).map(Tensor::to_f64_vec);
        (value, of(&x), of(&w))
    };
    for x_tracked in [true, false] {
        assert_eq!(run(true, x_tracked), run(false, x_tracked));
    }
    assert!(run(true, true).1.is_some() && run(true, false).1.is_none());
}

#[test]
fn the_part_runs_once_forward_and_once_backward() {
    let count = Arc::new(AtomicUsize::new(0));
    let (x, again) = (normal(1, &[2, 2]).tracked(), count.clone());
    let y = recompute::<Error>(
        &x,
        |x| x.square(),
        move |x| {
            again.fetch_add(1, Ordering::Relaxed);
            x.square()
        },
    );
    let loss = y.unwrap().sum_all().unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 0);
    backward(loss).unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn a_part_that_changes_is_an_error() {
    let x = normal(1, &[2, 2]).tracked();
    let y = recompute::<Error>(&x, |x| x.square(), |x| x.square()?.sum_all()).unwrap();
    let error = backward(y.sum_all().unwrap()).err().unwrap().to_string();
    assert!(error.contains("[2, 2] the first time, [] the second"), "{error}");
}

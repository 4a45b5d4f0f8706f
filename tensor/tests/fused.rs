//! Fused operations against central differences in f64, and f32 against f64.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::cosent::cosent;
use bert4rs_tensor::op::cross_entropy::cross_entropy;
use bert4rs_tensor::op::feed_forward::{Layer, feed_forward};
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::linear_cross_entropy::linear_cross_entropy;
use bert4rs_tensor::op::normalization::{layer_norm, rms_norm};
use bert4rs_tensor::op::rotary::{Layout, RotaryTable};
use bert4rs_tensor::op::unfold::unfold;
use bert4rs_tensor::{DType, Packed, Result, Rng, Tensor};
use bert4rs_testing::assert_gradients;

mod precision;
use precision::assert_single_agrees;

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 1.0, DType::F64).unwrap()
}

/// Central differences at a small size, and f32 against f64 at a larger one.
fn check(name: &str, small: &[Tensor], large: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    assert_gradients(name, small, &f);
    assert_single_agrees(name, small, &f);
    assert_single_agrees(&format!("large {name}"), large, &f);
}

#[test]
fn linear_with_every_epilogue() {
    use Activation::{Gelu, GeluTanh, Relu, Sigmoid, Silu, Tanh};
    let operands = |rows: usize, k: usize, n: usize| {
        [normal(1, &[rows, k]), normal(2, &[n, k]), normal(3, &[n]), normal(4, &[rows, n])]
            .map(|x| x.mul_scalar(0.5).unwrap())
    };
    let (small, large) = (operands(3, 4, 2), operands(37, 21, 19));
    let activations = [Relu, Tanh, Sigmoid, Silu, Gelu, GeluTanh].map(Some);
    for activation in activations.into_iter().chain([None]) {
        for (bias, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            let name = format!("linear, {activation:?}, bias {bias}, residual {residual}");
            let pick = |x: &[Tensor; 4]| {
                let mut inputs = x[..2].to_vec();
                inputs.extend(bias.then(|| x[2].clone()));
                inputs.extend(residual.then(|| x[3].clone()));
                inputs
            };
            check(&name, &pick(&small), &pick(&large), |x| {
                let residual = if residual { x.last() } else { None };
                linear(&x[0], &x[1], After { bias: bias.then(|| &x[2]), activation, residual })
            });
        }
    }
}

#[test]
fn feed_forward_with_and_without_biases_and_residual() {
    use Activation::{Gelu, Relu, Silu};
    let operands = |rows: usize, d: usize, size: usize, n: usize| {
        [&[rows, d][..], &[size, d], &[n, size], &[size], &[n], &[rows, n]]
            .map(|shape| normal(shape.len() as u64 + shape[0] as u64, shape).mul_scalar(0.5).unwrap())
    };
    let (small, large) = (operands(3, 4, 5, 2), operands(37, 21, 50, 19));
    for f in [Gelu, Relu, Silu] {
        for (biases, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            let pick = |x: &[Tensor; 6]| {
                let mut inputs = x[..3].to_vec();
                inputs.extend(biases.then(|| [x[3].clone(), x[4].clone()]).into_iter().flatten());
                inputs.extend(residual.then(|| x[5].clone()));
                inputs
            };
            check(&format!("feed forward, {f:?}, biases {biases}"), &pick(&small), &pick(&large), |x| {
                let inner = Layer { weight: &x[1], bias: biases.then(|| &x[3]) };
                let outer = Layer { weight: &x[2], bias: biases.then(|| &x[4]) };
                let r = if residual { x.last() } else { None };
                let y = feed_forward(&x[0], inner, f, outer, r)?;
                let after = After { bias: inner.bias, activation: Some(f), residual: None };
                let wide = linear(&x[0], inner.weight, after)?;
                let after = After { bias: outer.bias, activation: None, residual: r };
                let steps = linear(&wide, outer.weight, after)?;
                assert_eq!(y.to_f64_vec(), steps.to_f64_vec(), "not the two layers");
                Ok(y)
            });
        }
    }
    let x = normal(1, &[3, 4]);
    let layer = |weight| Layer { weight, bias: None };
    let error = feed_forward(&x, layer(&normal(2, &[5, 4])), Gelu, layer(&normal(2, &[2, 4])), None);
    assert!(error.unwrap_err().to_string().contains("outer weight [2, 4]"));
}

#[test]
fn linear_of_more_axes_and_of_one_row() {
    let weight = normal(2, &[2, 4]);
    for shape in [&[2, 3, 4][..], &[1, 4], &[4]] {
        assert_gradients("linear", &[normal(1, shape), weight.clone()], |x| {
            linear(&x[0], &x[1], After { activation: Some(Activation::Tanh), ..After::default() })
        });
    }
}

#[test]
fn linear_is_the_product_of_elementary_operations() {
    let (x, w, b) = (normal(1, &[5, 7]), normal(2, &[3, 7]), normal(3, &[3]));
    let fused = linear(&x, &w, After { bias: Some(&b), activation: Some(Activation::Gelu), residual: None });
    let steps = x.matmul_t(&w).unwrap().add(&b).unwrap().gelu().unwrap();
    for (a, b) in fused.unwrap().to_f64_vec().iter().zip(steps.to_f64_vec()) {
        assert!((a - b).abs() < 1e-13, "{a} {b}");
    }
}

#[test]
fn layer_norm_with_and_without_parameters() {
    let operands =
        |rows: usize, width: usize| [normal(1, &[rows, width]), normal(2, &[width]), normal(3, &[width])];
    let (small, large) = (operands(3, 5), operands(29, 67));
    for count in 1..=3 {
        check(&format!("layer_norm of {count}"), &small[..count], &large[..count], |x| {
            layer_norm(&x[0], x.get(1), x.get(2), 1e-5)
        });
    }
}

#[test]
fn rms_norm_with_and_without_a_gain() {
    let operands = |rows: usize, width: usize| [normal(1, &[2, rows, width]), normal(2, &[width])];
    let (small, large) = (operands(3, 5), operands(13, 67));
    for count in 1..=2 {
        check(&format!("rms_norm of {count}"), &small[..count], &large[..count], |x| {
            rms_norm(&x[0], x.get(1), 1e-6)
        });
    }
}

#[test]
fn cross_entropy_with_smoothing_and_ignored_rows() {
    for smoothing in [0.0, 0.1] {
        check(
            &format!("cross_entropy, smoothing {smoothing}"),
            &[normal(1, &[4, 3])],
            &[normal(2, &[31, 77])],
            |x| {
                let classes = x[0].shape()[1] as i64;
                let targets: Vec<i64> =
                    (0..x[0].shape()[0] as i64).map(|i| (i * 5 + 2) % (classes + 1) - 1).collect();
                cross_entropy(&x[0], &targets, smoothing)
            },
        );
    }
}

#[test]
fn cross_entropy_of_a_product() {
    let targets = |rows: usize, classes: usize| -> Vec<i64> {
        (0..rows as i64).map(|i| (i * 5 + 2) % (classes as i64 + 1) - 1).collect()
    };
    let small = [normal(1, &[4, 5]), normal(2, &[3, 5]), normal(3, &[3])];
    let large = [normal(4, &[70, 9]), normal(5, &[41, 9]), normal(6, &[41])];
    for (smoothing, count) in [(0.0, 2), (0.0, 3), (0.1, 3)] {
        let name = format!("linear_cross_entropy of {count}, smoothing {smoothing}");
        check(&name, &small[..count], &large[..count], |x| {
            let targets = targets(x[0].shape()[0], x[1].shape()[0]);
            linear_cross_entropy(&x[0], &x[1], x.get(2), &targets, smoothing)
        });
    }
}

#[test]
fn cross_entropy_is_minus_log_softmax() {
    let x = normal(1, &[4, 3]);
    let fused = cross_entropy(&x, &[2, 0, 1, -3], 0.0).unwrap().to_f64_vec();
    let steps = x.log_softmax().unwrap().pick(&[2, 0, 1, 0]).unwrap().neg().unwrap().to_f64_vec();
    fused.iter().zip(&steps).take(3).for_each(|(a, b)| assert!((a - b).abs() < 1e-14, "{a} {b}"));
    assert_eq!(fused[3], 0.0);
}

#[test]
fn dropout_of_a_fixed_seed() {
    check("dropout", &[normal(1, &[4, 5])], &[normal(1, &[37, 23])], |x| x[0].dropout(0.4, 99));
    let x = Tensor::full(1.0, &[4000], DType::F64);
    let y = x.dropout(0.25, 7).unwrap().to_f64_vec();
    let kept = y.iter().filter(|&&v| v != 0.0).count();
    assert!((2850..3150).contains(&kept), "{kept} of 4000 kept at rate 0.25");
    assert!(y.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.75).abs() < 1e-12));
    assert_eq!(y, x.dropout(0.25, 7).unwrap().to_f64_vec());
    assert_ne!(y, x.dropout(0.25, 8).unwrap().to_f64_vec());
}

#[test]
fn rotation_in_both_layouts_and_of_a_part_of_the_head() {
    for layout in [Layout::Interleaved, Layout::Half] {
        for pairs in [1, 2, 3] {
            let frequencies: Vec<f64> = (0..pairs).map(|j| 0.3f64.powi(j)).collect();
            let table = RotaryTable::new(&frequencies, 40, 1.2);
            check(
                &format!("rotate {pairs} pairs, {layout:?}"),
                &[normal(1, &[3, 2, 6])],
                &[normal(1, &[37, 3, 6])],
                |x| {
                    let positions: Vec<usize> = (0..x[0].shape()[0]).map(|t| (t * 3 + 1) % 40).collect();
                    x[0].rotate(&table, &positions, layout)
                },
            );
        }
    }
}

#[test]
fn windows_stay_in_their_sequence() {
    for (window, dilation) in [(1, 1), (3, 1), (5, 1), (3, 2)] {
        check(
            &format!("unfold {window} by {dilation}"),
            &[normal(1, &[6, 2])],
            &[normal(1, &[36, 5])],
            |x| {
                let t = x[0].shape()[0];
                unfold(&x[0], &Packed::from_lengths(&[t / 3, 0, 1, t - t / 3 - 1]), window, dilation)
            },
        );
    }
}

#[test]
fn cosent_with_ties() {
    let scores = Tensor::new(vec![0.3, -0.2, 0.9, 0.1, 0.4], &[5]).unwrap();
    let labels = [1.0, 0.0, 2.0, 1.0, 0.0];
    assert_gradients("cosent", &[scores], |xs| cosent(&xs[0], &labels, 5.0));
}

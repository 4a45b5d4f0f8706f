//! Element by element: activations, dropout, and the bias of a linear layer.
//!
//! Definition:  gelu(x) = x Phi(x); gelu_tanh(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)));
//!              silu(x) = x sigmoid(x); relu_squared(x) = max(x, 0)^2
//! Shapes:      any, elementwise; bias [D] with x [N, D]
//! Numerics:    derivatives from the stored pre-activation, so that nothing else need be kept
//! Reference:   Hendrycks, Gimpel, Gaussian Error Linear Units, 2016

mod function;

pub use function::Activation;

use crate::Real;
use crate::cpu::simd;
use crate::parallel::rows;
use crate::random::Dropout;

/// Elements handed out together: whole vectors and whole blocks of random words.
const TILE: usize = 64;
/// Elements of which an activation is replayed at once: three slices of this length fit in L1.
const REPLAY: usize = 2048;

/// `y[i] = f(x[i])`.
pub fn forward<T: Real>(activation: Activation, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "activation: input and output differ in length");
    rows(y, TILE, 4 * TILE, |tile, y| {
        y.copy_from_slice(&x[tile * TILE..][..y.len()]);
        activation.apply_all(y);
    });
}

/// `d_x[i] = d_y[i] f'(x[i])`.
pub fn backward<T: Real>(activation: Activation, x: &[T], d_y: &[T], d_x: &mut [T]) {
    assert_eq!(x.len(), d_x.len(), "activation: input and its gradient differ in length");
    assert_eq!(d_y.len(), d_x.len(), "activation: output and input gradients differ in length");
    rows(d_x, TILE, 8 * TILE, |tile, d_x| {
        let (x, d_y) = (&x[tile * TILE..][..d_x.len()], &d_y[tile * TILE..][..d_x.len()]);
        activation.pull_back(x, d_y, d_x);
    });
}

/// From the input `x` of an activation and the gradient `d_y` of its output: the output `y` again, and
/// the gradient of the input in place of `d_y`.
pub fn replay<T: Real>(activation: Activation, x: &[T], y: &mut [T], d_y: &mut [T]) {
    assert_eq!((x.len(), d_y.len()), (y.len(), y.len()), "activation: inputs and outputs differ in length");
    let mut parts: Vec<_> = y.chunks_mut(REPLAY).zip(d_y.chunks_mut(REPLAY)).zip(x.chunks(REPLAY)).collect();
    rows(&mut parts, 1, 12 * REPLAY, |_, parts| {
        for ((y, d_y), x) in parts {
            activation.replay_part(x, y, d_y);
        }
    });
}

/// `y[i] = x[i] factor(i)`; the backward pass is the same call with the gradients.
pub fn dropout<T: Real>(dropout: Dropout, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "dropout: input and output differ in length");
    rows(y, TILE, 8 * TILE, |tile, y| {
        let first = tile * TILE;
        let x = &x[first..][..y.len()];
        simd(
            #[inline(always)]
            || {
                let mut factors = [T::ZERO; TILE];
                for (i, (y, x)) in y.chunks_mut(TILE).zip(x.chunks(TILE)).enumerate() {
                    let factors = &mut factors[..y.len()];
                    dropout.factors((first + i * TILE) as u64, factors);
                    for ((y, &x), &factor) in y.iter_mut().zip(x).zip(&*factors) {
                        *y = x * factor;
                    }
                }
            },
        )
    });
}

/// `x[n, d] += bias[d]`.
pub fn add_bias<T: Real>(x: &mut [T], bias: &[T]) {
    let width = bias.len();
    assert!(x.len().is_multiple_of(width), "add_bias: rows are not whole");
    rows(x, width, width, |_, x| {
        simd(
            #[inline(always)]
            || {
                for row in x.chunks_exact_mut(width) {
                    for (x, &b) in row.iter_mut().zip(bias) {
                        *x += b;
                    }
                }
            },
        )
    });
}

/// `out[d] = sum over n of x[n, d]`: the gradient of a bias.
///
/// Threads share out the columns. Rows are added in groups, so that the rounding error grows with the
/// number of groups and not of rows.
pub fn sum_rows<T: Real>(x: &[T], width: usize, out: &mut [T]) {
    const GROUP: usize = 64;
    assert_eq!(out.len(), width, "sum_rows: output is not one row");
    assert!(x.len().is_multiple_of(width), "sum_rows: rows are not whole");
    let count = x.len().checked_div(width).unwrap_or(0);
    rows(out, TILE, count * TILE, |tile, out| {
        simd(
            #[inline(always)]
            || {
                for (i, out) in out.chunks_mut(TILE).enumerate() {
                    let column = (tile + i) * TILE;
                    out.fill(T::ZERO);
                    for group in x.chunks(GROUP * width) {
                        let mut sums = [T::ZERO; TILE];
                        if out.len() == TILE {
                            for row in group.chunks_exact(width) {
                                let row = &row[column..column + TILE];
                                for j in 0..TILE {
                                    sums[j] += row[j];
                                }
                            }
                        } else {
                            for row in group.chunks_exact(width) {
                                for (s, &x) in sums.iter_mut().zip(&row[column..column + out.len()]) {
                                    *s += x;
                                }
                            }
                        }
                        for (o, &s) in out.iter_mut().zip(&sums) {
                            *o += s;
                        }
                    }
                }
            },
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 7] = [
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::ReluSquared,
    ];

    fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(work)
    }

    fn grid(n: usize) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * 0.731).sin() * 6.0 + 0.001).collect()
    }

    fn plain(f: Activation, x: f64) -> f64 {
        match f {
            Activation::Relu => x.max(0.0),
            Activation::ReluSquared => x.max(0.0).powi(2),
            Activation::Gelu => 0.5 * x * libm::erfc(-x / 2f64.sqrt()),
            Activation::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + u.tanh())
            }
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(Activation::Relu.apply(-2.0), 0.0);
        assert!((Activation::Gelu.apply(1.0f64) - 0.841_344_746_068_542_9).abs() < 1e-15);
        assert!((Activation::Silu.apply(1.0f64) - 0.731_058_578_630_004_9).abs() < 1e-15);
        assert!((Activation::Sigmoid.derivative(0.0f64) - 0.25).abs() < 1e-15);
    }

    #[test]
    fn values_are_the_plain_formulas_in_both_types() {
        let x = grid(1001);
        let x32: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        for f in ALL {
            let (mut y, mut y32) = (vec![0.0; x.len()], vec![0f32; x.len()]);
            forward(f, &x, &mut y);
            forward(f, &x32, &mut y32);
            for i in 0..x.len() {
                assert!((y[i] - plain(f, x[i])).abs() < 1e-14, "{f:?}({})", x[i]);
                let want = plain(f, f64::from(x32[i]));
                assert!(
                    (f64::from(y32[i]) - want).abs() < 1e-6 * want.abs().max(1.0),
                    "{f:?}({}) in f32",
                    x[i]
                );
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences_in_both_types() {
        let x = grid(333);
        let x32: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        let d_y: Vec<f64> = (0..333).map(|i| (i as f64).cos()).collect();
        let d_y32: Vec<f32> = d_y.iter().map(|&x| x as f32).collect();
        for f in ALL {
            let (mut d_x, mut d_x32) = (vec![0.0; 333], vec![0f32; 333]);
            backward(f, &x, &d_y, &mut d_x);
            backward(f, &x32, &d_y32, &mut d_x32);
            for i in 0..x.len() {
                let h = 1e-6;
                let want = d_y[i] * (plain(f, x[i] + h) - plain(f, x[i] - h)) / (2.0 * h);
                assert!((d_x[i] - want).abs() < 1e-8, "{f:?}'({})", x[i]);
                assert!((f64::from(d_x32[i]) - d_x[i]).abs() < 5e-6, "{f:?}'({}) in f32", x[i]);
            }
        }
    }

    #[test]
    fn large_inputs_saturate() {
        let slopes = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 2e4];
        for ((f, top), slope) in ALL.into_iter().zip([1e4, 1e4, 1e4, 1e4, 1.0, 1.0, 1e8]).zip(slopes) {
            assert_eq!(f.apply(1e4f32), top, "{f:?}");
            assert_eq!(f.apply(-1e4f32), if f == Activation::Tanh { -1.0 } else { 0.0 }, "{f:?}");
            assert_eq!(f.derivative(1e4f32), slope, "{f:?}");
            assert_eq!(f.derivative(-1e4f32), 0.0, "{f:?}");
        }
        assert!(ALL.iter().all(|f| f.apply(f32::NAN).is_nan()), "NaN must stay visible");
    }

    #[test]
    fn dropout_is_the_rule_of_its_stream() {
        for n in [0, 1, 63, 64, 1000] {
            let rule = Dropout::new(0.4, 11);
            let x: Vec<f32> = (0..n).map(|i| i as f32 + 1.0).collect();
            let (mut y, mut factors) = (vec![0.0; n], vec![0.0; n]);
            dropout(rule, &x, &mut y);
            rule.factors(0, &mut factors);
            assert!((0..n).all(|i| y[i] == x[i] * factors[i]));
        }
    }

    #[test]
    fn bias_and_its_gradient_are_plain_loops() {
        for (n, width) in [(0, 3), (1, 1), (5, 1), (70, 16), (200, 131), (3, 64)] {
            let mut x: Vec<f64> = (0..n * width).map(|i| ((i * 31) % 17) as f64).collect();
            let mut sums = vec![-1.0; width];
            sum_rows(&x, width, &mut sums);
            for d in 0..width {
                assert_eq!(sums[d], (0..n).map(|r| x[r * width + d]).sum::<f64>());
            }
            let before = x.clone();
            let bias: Vec<f64> = (0..width).map(|d| d as f64).collect();
            add_bias(&mut x, &bias);
            assert!((0..x.len()).all(|i| x[i] == before[i] + bias[i % width]));
        }
    }

    #[test]
    fn results_do_not_depend_on_threads() {
        let x: Vec<f32> = grid(300 * 1001).iter().map(|&x| x as f32).collect();
        let run = || {
            let mut out = vec![vec![0f32; x.len()]; 4];
            forward(Activation::Gelu, &x, &mut out[0]);
            backward(Activation::Gelu, &x, &x, &mut out[1]);
            dropout(Dropout::new(0.1, 3), &x, &mut out[2]);
            sum_rows(&x, 1001, &mut out[3][..1001]);
            out.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(on_threads(1, run), on_threads(3, run));
    }
}

//! AdamW in one pass over a parameter, and the norm its gradient is clipped by.
//!
//! Definition:  g = gradient_scale * gradient; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
//!              theta -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay theta)
//! Shapes:      parameter, gradient, m, v of one length
//! Numerics:    decay uses theta before the step; coefficients are computed in f64
//! Reference:   Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2017

use crate::Real;
use crate::cpu::simd;
use crate::parallel::{map, rows};
#[cfg(target_arch = "x86_64")]
use crate::{cpu::Path, wide};

/// Elements of a block: the unit of sharing out, and of the sums of [`squared_norm`].
const BLOCK: usize = 8192;

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the second mean.
    pub eps: f64,
    /// Decoupled weight decay, multiplied by `lr`.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub step: u64,
    /// Factor of the gradient: 1, or less where it is clipped.
    pub gradient_scale: f64,
}

/// One step of one parameter; `m` and `v` start as zeros.
pub fn adamw<T: Real>(settings: &AdamW, parameter: &mut [T], gradient: &[T], m: &mut [T], v: &mut [T]) {
    let len = parameter.len();
    assert_eq!((gradient.len(), m.len(), v.len()), (len, len, len), "adamw: lengths differ");
    let &AdamW { lr, beta1, beta2, eps, weight_decay, step, gradient_scale } = settings;
    assert!(step > 0, "adamw: steps are counted from 1");
    let t = step as f64;
    let [keep1, add1] = [beta1, 1.0 - beta1].map(T::from_f64);
    let [keep2, add2] = [beta2, 1.0 - beta2].map(T::from_f64);
    let correct1 = T::from_f64(1.0 / (1.0 - beta1.powf(t)));
    let correct2 = T::from_f64(1.0 / (1.0 - beta2.powf(t)));
    let [lr, eps, decay, scale] = [lr, eps, weight_decay, gradient_scale].map(T::from_f64);
    let states = m.chunks_mut(BLOCK).zip(v.chunks_mut(BLOCK));
    let mut blocks: Vec<_> = parameter.chunks_mut(BLOCK).zip(gradient.chunks(BLOCK)).zip(states).collect();
    rows(&mut blocks, 1, 4 * BLOCK, |_, blocks| {
        simd(
            #[inline(always)]
            || {
                for ((parameter, gradient), (m, v)) in blocks {
                    let states = m.iter_mut().zip(v.iter_mut());
                    for ((theta, &g), (m, v)) in parameter.iter_mut().zip(*gradient).zip(states) {
                        let g = g * scale;
                        *m = keep1 * *m + add1 * g;
                        *v = keep2 * *v + add2 * (g * g);
                        let direction = *m * correct1 / ((*v * correct2).sqrt() + eps);
                        *theta -= lr * (direction + decay * *theta);
                    }
                }
            },
        )
    });
}

/// The sum of squares of all elements of all slices, in f64 and in one order on any number of threads.
pub fn squared_norm<T: Real>(slices: &[&[T]]) -> f64 {
    const TASK: usize = 8; // blocks
    let blocks: Vec<&[T]> = slices.iter().flat_map(|xs| xs.chunks(BLOCK)).collect();
    let tasks: Vec<&[&[T]]> = blocks.chunks(TASK).collect();
    map(tasks.len(), TASK * BLOCK, |i| tasks[i].iter().map(|xs| squares(xs)).sum::<f64>()).into_iter().sum()
}

fn squares<T: Real>(xs: &[T]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if let (Path::Avx512, Some(xs)) = (Path::detect(), T::as_f32(xs)) {
        // SAFETY: the instructions are there.
        return unsafe { wide::squares(xs) };
    }
    let mut lanes = [0.0; 32];
    let (whole, rest) = xs.as_chunks::<32>();
    for xs in whole {
        for j in 0..32 {
            lanes[j] += xs[j].to_f64() * xs[j].to_f64();
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x.to_f64() * x.to_f64();
    }
    crate::real::sum(&lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: AdamW = AdamW {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 1,
        gradient_scale: 1.0,
    };

    fn wave(n: usize, speed: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * speed).sin() * 2.0 + 0.3).collect()
    }

    fn narrow(x: &[f64]) -> Vec<f32> {
        x.iter().map(|&x| x as f32).collect()
    }

    #[test]
    fn the_first_step_moves_by_the_learning_rate_against_the_sign() {
        let (mut theta, mut m, mut v) = ([1.0, 1.0, 1.0], [0.0; 3], [0.0; 3]);
        adamw(&AdamW { weight_decay: 0.0, ..STEP }, &mut theta, &[3.0, -0.002, 0.0], &mut m, &mut v);
        assert!(theta.iter().zip([0.9, 1.1, 1.0]).all(|(a, b): (&f64, _)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn steps_are_the_plain_formulas_in_both_types() {
        for n in [0, 1, 17, 20_000] {
            let mut theta = wave(n, 0.7);
            let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
            let mut theta32 = narrow(&theta);
            let (mut m32, mut v32) = (vec![0f32; n], vec![0f32; n]);
            let (mut want, mut a, mut b) = (theta.clone(), vec![0.0; n], vec![0.0; n]);
            for step in 1..=4 {
                let gradient = wave(n, 0.3 * step as f64);
                let settings = AdamW { step, gradient_scale: 0.5, ..STEP };
                adamw(&settings, &mut theta, &gradient, &mut m, &mut v);
                adamw(&settings, &mut theta32, &narrow(&gradient), &mut m32, &mut v32);
                for i in 0..n {
                    let g = 0.5 * gradient[i];
                    a[i] = 0.9 * a[i] + 0.1 * g;
                    b[i] = 0.999 * b[i] + 0.001 * g * g;
                    let mean = a[i] / (1.0 - 0.9f64.powi(step as i32));
                    let square = b[i] / (1.0 - 0.999f64.powi(step as i32));
                    want[i] -= 0.1 * (mean / (square.sqrt() + 1e-8) + 0.01 * want[i]);
                    assert!((theta[i] - want[i]).abs() < 1e-12 && (m[i] - a[i]).abs() < 1e-14);
                    assert!((f64::from(theta32[i]) - want[i]).abs() < 2e-5);
                }
            }
        }
    }

    #[test]
    fn squares_are_added_in_f64() {
        assert_eq!(squared_norm::<f32>(&[]), 0.0);
        assert_eq!(squared_norm(&[&[3f32, 4.0][..], &[], &[12.0]]), 169.0);
        let (x, y) = (vec![1e-4f32; 100_000], vec![f64::from(1e-4f32); 100_000]);
        assert!((squared_norm(&[&x]) / squared_norm(&[&y]) - 1.0).abs() < 1e-13);
        let odd: Vec<f32> = (0..77).map(|i| i as f32).collect();
        assert_eq!(squared_norm(&[&odd]), (76 * 77 * 153 / 6) as f64);
        let x = wave(100_003, 0.7);
        let want: f64 = x.iter().map(|x| x * x).sum();
        assert!((squared_norm(&[&x]) / want - 1.0).abs() < 1e-13);
    }

    #[test]
    fn results_do_not_depend_on_threads() {
        let x = narrow(&wave(300_001, 0.7));
        let run = || {
            let (mut theta, mut m, mut v) = (x.clone(), vec![0.0; x.len()], vec![0.0; x.len()]);
            adamw(&STEP, &mut theta, &x, &mut m, &mut v);
            (theta, m, v, squared_norm(&[&x, &x[..99]]).to_bits())
        };
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
        assert_eq!(pool(1).install(run), pool(3).install(run));
    }
}

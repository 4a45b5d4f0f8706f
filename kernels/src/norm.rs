//! Layer norm and RMS norm of rows.
//!
//! Definition:  layer norm: y = (x - mean) / sqrt(variance + eps) * gain + shift;
//!              RMS norm: y = x / sqrt(mean of x^2 + eps) * gain
//! Shapes:      x, y [N, D]; gain, shift [D]; mean, inverse deviation, inverse rms [N]
//! Numerics:    variance from centred values, and the mean corrected once, so that a constant row
//!              gives exactly the shift however large it is; a missing gain is 1, a missing shift 0
//! Reference:   Ba et al., Layer Normalization, 2016; Zhang, Sennrich, Root Mean Square Layer
//!              Normalization, 2019

use std::borrow::Cow;

use crate::Real;
use crate::activation::sum_rows;
use crate::cpu::simd;
use crate::parallel::{rows, rows2};
use crate::real::{dot, sum};

/// Columns whose gradients are summed together, in registers.
const TILE: usize = 64;

/// Layer norm; `mean` and `inverse_deviation` are kept for the backward pass.
pub fn layer_norm_forward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    shift: Option<&[T]>,
    eps: f64,
    y: &mut [T],
    mean: &mut [T],
    inverse_deviation: &mut [T],
) {
    let count = row_count(x, width);
    assert_eq!(y.len(), x.len(), "layer norm: input and output differ in length");
    assert_eq!((mean.len(), inverse_deviation.len()), (count, count), "layer norm: one mean a row");
    let (gain, shift) = (or_fill(gain, width, T::ONE), or_fill(shift, width, T::ZERO));
    let (over_width, eps) = (T::from_f64(1.0 / width as f64), T::from_f64(eps));
    let mut stats = vec![(T::ZERO, T::ZERO); count];
    rows2((y, width), (&mut stats, 1), 4 * width, |first, y, stats| {
        let x = &x[first * width..][..y.len()];
        simd(
            #[inline(always)]
            || {
                let all = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(stats);
                for ((x, y), stats) in all {
                    let rough = sum(x) * over_width;
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = x - rough;
                    }
                    let correction = sum(y) * over_width;
                    for y in y.iter_mut() {
                        *y -= correction;
                    }
                    let inverse = T::ONE / (dot(y, y) * over_width + eps).sqrt();
                    for ((y, &g), &s) in y.iter_mut().zip(&*gain).zip(&*shift) {
                        *y = *y * inverse * g + s;
                    }
                    *stats = (rough + correction, inverse);
                }
            },
        )
    });
    for (i, (m, inverse)) in stats.into_iter().enumerate() {
        mean[i] = m;
        inverse_deviation[i] = inverse;
    }
}

/// Gradients of [`layer_norm_forward`]; every output is overwritten.
pub fn layer_norm_backward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    mean: &[T],
    inverse_deviation: &[T],
    d_y: &[T],
    d_x: &mut [T],
    d_gain: Option<&mut [T]>,
    d_shift: Option<&mut [T]>,
) {
    backward(x, width, gain, Some(mean), inverse_deviation, d_y, d_x);
    if let Some(d_gain) = d_gain {
        gain_gradient(x, width, Some(mean), inverse_deviation, d_y, d_gain);
    }
    if let Some(d_shift) = d_shift {
        sum_rows(d_y, width, d_shift);
    }
}

/// RMS norm; `inverse_rms` is kept for the backward pass.
pub fn rms_norm_forward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    eps: f64,
    y: &mut [T],
    inverse_rms: &mut [T],
) {
    let count = row_count(x, width);
    assert_eq!(y.len(), x.len(), "rms norm: input and output differ in length");
    assert_eq!(inverse_rms.len(), count, "rms norm: one inverse rms a row");
    let gain = or_fill(gain, width, T::ONE);
    let (over_width, eps) = (T::from_f64(1.0 / width as f64), T::from_f64(eps));
    rows2((y, width), (inverse_rms, 1), 2 * width, |first, y, inverse_rms| {
        let x = &x[first * width..][..y.len()];
        simd(
            #[inline(always)]
            || {
                let all = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse_rms);
                for ((x, y), inverse) in all {
                    let scale = T::ONE / (dot(x, x) * over_width + eps).sqrt();
                    for ((y, &x), &g) in y.iter_mut().zip(x).zip(&*gain) {
                        *y = x * scale * g;
                    }
                    *inverse = scale;
                }
            },
        )
    });
}

/// Gradients of [`rms_norm_forward`]; every output is overwritten.
pub fn rms_norm_backward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    inverse_rms: &[T],
    d_y: &[T],
    d_x: &mut [T],
    d_gain: Option<&mut [T]>,
) {
    backward(x, width, gain, None, inverse_rms, d_y, d_x);
    if let Some(d_gain) = d_gain {
        gain_gradient(x, width, None, inverse_rms, d_y, d_gain);
    }
}

/// With `n = (x - mean) inverse` and `g = d_y gain`: `d_x = inverse (g - avg(g) - n avg(g n))`, where
/// without a mean (RMS norm) `avg(g)` is absent too.
fn backward<T: Real>(
    x: &[T],
    width: usize,
    gain: Option<&[T]>,
    mean: Option<&[T]>,
    inverse: &[T],
    d_y: &[T],
    d_x: &mut [T],
) {
    let count = row_count(x, width);
    assert_eq!((d_y.len(), d_x.len()), (x.len(), x.len()), "norm: gradients differ in length");
    assert!(inverse.len() == count && mean.is_none_or(|m| m.len() == count), "norm: one statistic a row");
    let gain = or_fill(gain, width, T::ONE);
    let over_width = T::from_f64(1.0 / width as f64);
    rows(d_x, width, 4 * width, |first, d_x| {
        let (x, d_y) = (&x[first * width..][..d_x.len()], &d_y[first * width..][..d_x.len()]);
        simd(
            #[inline(always)]
            || {
                let all = x.chunks_exact(width).zip(d_y.chunks_exact(width)).zip(d_x.chunks_exact_mut(width));
                for (i, ((x, d_y), d_x)) in all.enumerate() {
                    let (centre, inverse) = (mean.map_or(T::ZERO, |m| m[first + i]), inverse[first + i]);
                    for ((d_x, &d_y), &gain) in d_x.iter_mut().zip(d_y).zip(&*gain) {
                        *d_x = d_y * gain;
                    }
                    let average = if mean.is_some() { sum(d_x) * over_width } else { T::ZERO };
                    let slope = centred_dot(d_x, x, centre) * inverse * over_width * inverse;
                    for (d_x, &x) in d_x.iter_mut().zip(x) {
                        *d_x = inverse * (*d_x - average - (x - centre) * slope);
                    }
                }
            },
        )
    });
}

/// `sum of a (x - centre)`, with the lanes of [`dot`].
#[inline(always)]
fn centred_dot<T: Real>(a: &[T], x: &[T], centre: T) -> T {
    let mut lanes = [T::ZERO; 16];
    let (ca, cx) = (a.chunks_exact(16), x.chunks_exact(16));
    let (ra, rx) = (ca.remainder(), cx.remainder());
    for (a, x) in ca.zip(cx) {
        for i in 0..16 {
            lanes[i] += a[i] * (x[i] - centre);
        }
    }
    for (lane, (&a, &x)) in lanes.iter_mut().zip(ra.iter().zip(rx)) {
        *lane += a * (x - centre);
    }
    sum(&lanes)
}

/// `d_gain[d] = sum over n of d_y (x - mean) inverse`, in groups of rows as [`sum_rows`].
fn gain_gradient<T: Real>(
    x: &[T],
    width: usize,
    mean: Option<&[T]>,
    inverse: &[T],
    d_y: &[T],
    d_gain: &mut [T],
) {
    const GROUP: usize = 64;
    assert_eq!(d_gain.len(), width, "norm: gradient of the gain is not one row");
    let count = inverse.len();
    rows(d_gain, TILE, 2 * count * TILE, |tile, d_gain| {
        simd(
            #[inline(always)]
            || {
                for (i, out) in d_gain.chunks_mut(TILE).enumerate() {
                    let column = (tile + i) * TILE;
                    let columns = out.len();
                    out.fill(T::ZERO);
                    for group in (0..count).step_by(GROUP) {
                        let mut sums = [T::ZERO; TILE];
                        run_tile(
                            columns,
                            #[inline(always)]
                            |columns: usize| {
                                for n in group..count.min(group + GROUP) {
                                    let (centre, inverse) = (mean.map_or(T::ZERO, |m| m[n]), inverse[n]);
                                    let at = n * width + column;
                                    let (x, d_y) = (&x[at..at + columns], &d_y[at..at + columns]);
                                    for ((s, &x), &d_y) in sums[..columns].iter_mut().zip(x).zip(d_y) {
                                        *s += d_y * ((x - centre) * inverse);
                                    }
                                }
                            },
                        );
                        for (o, &s) in out.iter_mut().zip(&sums) {
                            *o += s;
                        }
                    }
                }
            },
        )
    });
}

/// Calls `work(columns)`, with a constant for whole tiles, so that their sums stay in registers.
#[inline(always)]
fn run_tile(columns: usize, work: impl FnOnce(usize)) {
    if columns == TILE { work(TILE) } else { work(columns) }
}

fn row_count<T>(x: &[T], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "norm: rows are not whole");
    x.len() / width
}

fn or_fill<T: Real>(values: Option<&[T]>, width: usize, missing: T) -> Cow<'_, [T]> {
    let values = values.map_or_else(|| Cow::Owned(vec![missing; width]), Cow::Borrowed);
    assert_eq!(values.len(), width, "norm: gain or shift is not one row");
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPS: f64 = 1e-5;

    fn wave(n: usize, speed: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * speed).sin() * 2.0 + 0.5).collect()
    }

    fn narrow(x: &[f64]) -> Vec<f32> {
        x.iter().map(|&x| x as f32).collect()
    }

    fn layer_norm<T: Real>(x: &[T], gain: Option<&[T]>, shift: Option<&[T]>, width: usize) -> [Vec<T>; 3] {
        let n = x.len() / width;
        let mut out = [vec![T::ONE; x.len()], vec![T::ONE; n], vec![T::ONE; n]];
        let [y, mean, inverse] = &mut out;
        layer_norm_forward(x, width, gain, shift, EPS, y, mean, inverse);
        out
    }

    fn rms_norm<T: Real>(x: &[T], gain: Option<&[T]>, width: usize) -> [Vec<T>; 2] {
        let mut out = [vec![T::ONE; x.len()], vec![T::ONE; x.len() / width]];
        let [y, inverse] = &mut out;
        rms_norm_forward(x, width, gain, EPS, y, inverse);
        out
    }

    #[test]
    fn three_numbers_by_hand() {
        let [y, mean, inverse] = layer_norm(&[1.0, 2.0, 6.0], None, None, 3);
        let inverse_want = 1.0 / (14.0f64 / 3.0 + EPS).sqrt();
        assert!((mean[0] - 3.0).abs() < 1e-15 && (inverse[0] - inverse_want).abs() < 1e-15);
        assert!((y[2] - 3.0 * inverse_want).abs() < 1e-15);
        let [y, inverse] = rms_norm(&[1.0, 2.0, 2.0], Some(&[1.0, 1.0, 5.0]), 3);
        assert!((inverse[0] - 1.0 / (3.0 + EPS).sqrt()).abs() < 1e-15);
        assert!((y[2] - 10.0 * inverse[0]).abs() < 1e-14);
    }

    #[test]
    fn values_are_the_plain_formulas_in_both_types() {
        for (n, width) in [(0, 5), (1, 1), (3, 17), (9, 768)] {
            let (x, gain, shift) = (wave(n * width, 0.7), wave(width, 1.3), wave(width, 2.1));
            let [y, ..] = layer_norm(&x, Some(&gain), Some(&shift), width);
            let [z, _] = rms_norm(&x, Some(&gain), width);
            let (x32, gain32, shift32) = (narrow(&x), narrow(&gain), narrow(&shift));
            let [y32, ..] = layer_norm(&x32, Some(&gain32), Some(&shift32), width);
            let [z32, _] = rms_norm(&x32, Some(&gain32), width);
            for (i, &v) in x.iter().enumerate() {
                let (row, d) = (&x[i / width * width..][..width], i % width);
                let mean = row.iter().sum::<f64>() / width as f64;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
                let square = row.iter().map(|v| v * v).sum::<f64>() / width as f64;
                let want = (v - mean) / (variance + EPS).sqrt() * gain[d] + shift[d];
                assert!((y[i] - want).abs() < 1e-12 && (f64::from(y32[i]) - want).abs() < 1e-5);
                let want = v / (square + EPS).sqrt() * gain[d];
                assert!((z[i] - want).abs() < 1e-12 && (f64::from(z32[i]) - want).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn constant_rows_give_the_shift_and_large_rows_stay_finite() {
        let shift: Vec<f32> = (0..77).map(|i| i as f32).collect();
        for value in [0.0, 0.1, 1e4, -1e4, 9_876.543] {
            let [y, ..] = layer_norm(&[value; 77], None, Some(&shift), 77);
            assert_eq!(y, shift, "constant {value}");
        }
        let x: Vec<f32> = (0..32).map(|i| if i % 2 == 0 { 1e4 } else { -1e4 }).collect();
        let [y, ..] = layer_norm(&x, None, None, 32);
        let [z, _] = rms_norm(&x, None, 32);
        assert!(x.iter().zip(y.iter().zip(&z)).all(|(x, (y, z))| *y == x / 1e4 && *z == x / 1e4));
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (n, width) in [(1, 1), (3, 5), (70, 3), (2, 70)] {
            let (x, gain, shift) = (wave(n * width, 0.7), wave(width, 1.3), wave(width, 2.1));
            let d_y = wave(n * width, 3.3);
            let check = |f: &dyn Fn(&[f64]) -> Vec<f64>, at: &[f64], got: &[f64]| {
                for i in 0..at.len() {
                    let loss = |step: f64| {
                        let mut moved = at.to_vec();
                        moved[i] += step;
                        dot(&f(&moved), &d_y)
                    };
                    let want = (loss(1e-6) - loss(-1e-6)) / 2e-6;
                    assert!((got[i] - want).abs() < 1e-6 * (1.0 + want.abs()), "{n}x{width}: {i}");
                }
            };
            let [_, mean, inverse] = layer_norm(&x, Some(&gain), Some(&shift), width);
            let (mut d_x, mut d_gain, mut d_shift) =
                (vec![9.0; n * width], vec![9.0; width], vec![9.0; width]);
            let (d_g, d_s) = (Some(&mut d_gain[..]), Some(&mut d_shift[..]));
            layer_norm_backward(&x, width, Some(&gain), &mean, &inverse, &d_y, &mut d_x, d_g, d_s);
            check(&|x| layer_norm(x, Some(&gain), Some(&shift), width)[0].clone(), &x, &d_x);
            check(&|g| layer_norm(&x, Some(g), Some(&shift), width)[0].clone(), &gain, &d_gain);
            check(&|s| layer_norm(&x, Some(&gain), Some(s), width)[0].clone(), &shift, &d_shift);
            layer_norm_backward(&x, width, None, &mean, &inverse, &d_y, &mut d_x, None, None);
            check(&|x| layer_norm(x, None, None, width)[0].clone(), &x, &d_x);

            let [_, inverse] = rms_norm(&x, Some(&gain), width);
            rms_norm_backward(&x, width, Some(&gain), &inverse, &d_y, &mut d_x, Some(&mut d_gain));
            check(&|x| rms_norm(x, Some(&gain), width)[0].clone(), &x, &d_x);
            check(&|g| rms_norm(&x, Some(g), width)[0].clone(), &gain, &d_gain);
        }
    }

    fn everything(x: &[f32], width: usize) -> Vec<Vec<f32>> {
        let d_y = narrow(&wave(x.len(), 3.3));
        let gain = narrow(&wave(width, 1.3));
        let [y, mean, inverse] = layer_norm(x, Some(&gain), None, width);
        let (mut d_x, mut d_gain) = (vec![0.0; x.len()], vec![0.0; width]);
        layer_norm_backward(x, width, Some(&gain), &mean, &inverse, &d_y, &mut d_x, Some(&mut d_gain), None);
        let [z, inverse] = rms_norm(x, Some(&gain), width);
        let mut d_z = vec![0.0; x.len()];
        rms_norm_backward(x, width, Some(&gain), &inverse, &d_y, &mut d_z, None);
        vec![y, d_x, z, d_z, d_gain]
    }

    #[test]
    fn results_do_not_depend_on_threads_or_other_rows() {
        let x = narrow(&wave(1000 * 133, 0.37));
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
        let all = pool(1).install(|| everything(&x, 133));
        assert_eq!(all, pool(3).install(|| everything(&x, 133)));
        let head = everything(&x[..133 * 7], 133);
        assert!((0..4).all(|i| head[i] == all[i][..133 * 7]));
    }

    #[test]
    fn f32_gradients_are_near_f64() {
        let x = wave(40 * 133, 0.37);
        let (d_y, gain) = (wave(x.len(), 3.3), wave(133, 1.3));
        let [_, mean, inverse] = layer_norm(&x, Some(&gain), None, 133);
        let (mut d_x, mut d_gain) = (vec![0.0; x.len()], vec![0.0; 133]);
        layer_norm_backward(&x, 133, Some(&gain), &mean, &inverse, &d_y, &mut d_x, Some(&mut d_gain), None);
        let got = everything(&narrow(&x), 133);
        assert!(d_x.iter().zip(&got[1]).all(|(want, got)| (want - f64::from(*got)).abs() < 2e-5));
        assert!(d_gain.iter().zip(&got[4]).all(|(want, got)| (want - f64::from(*got)).abs() < 2e-4));
    }
}

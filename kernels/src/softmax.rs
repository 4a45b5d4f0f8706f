//! Softmax, log-sum-exp and cross entropy of rows.
//!
//! Definition:  softmax(x) = e^x / sum of e^x; lse(x) = ln sum of e^x;
//!              loss = lse(x) - (1 - e) x[target] - e / C sum of x, with label smoothing e
//! Shapes:      x [N, C], targets [N] -> loss, lse [N]
//! Numerics:    the row's maximum is subtracted first; a row of -inf only has softmax 0 and lse -inf;
//!              NaN stays NaN; a negative target is ignored: loss 0, gradient 0
//! Reference:   Szegedy et al., Rethinking the Inception Architecture, 2016 (label smoothing)

use crate::Real;
use crate::cpu::simd;
use crate::parallel::{rows, rows2};
use crate::real::{dot, max, sum};

/// Steps an exponential costs, for sharing out the work.
pub(crate) const EXP_COST: usize = 4;

/// What is subtracted before the exponential: the maximum, or 0 for a row of -inf only, whose
/// exponentials then are 0 and not NaN.
#[inline(always)]
pub(crate) fn exp_shift<T: Real>(x: &[T]) -> T {
    let m = max(x);
    if m == T::NEG_INFINITY { T::ZERO } else { m }
}

/// `sum of e^(x - shift)`, with the lanes of [`sum`].
#[inline(always)]
fn sum_exp<T: Real>(x: &[T], shift: T) -> T {
    let mut lanes = [T::ZERO; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for c in chunks {
        for i in 0..16 {
            lanes[i] += (c[i] - shift).exp();
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += (x - shift).exp();
    }
    sum(&lanes)
}

/// Softmax of every row.
pub fn softmax_rows<T: Real>(x: &[T], width: usize, y: &mut [T]) {
    row_count(x, width);
    assert_eq!(x.len(), y.len(), "softmax: input and output differ in length");
    rows(y, width, EXP_COST * width, |first, y| {
        let x = &x[first * width..][..y.len()];
        simd(
            #[inline(always)]
            || {
                for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                    let shift = exp_shift(x);
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = (x - shift).exp();
                    }
                    let total = sum(y);
                    let scale = if total == T::ZERO { T::ZERO } else { T::ONE / total };
                    for y in y {
                        *y *= scale;
                    }
                }
            },
        )
    });
}

/// `out[n] = ln sum of e^x[n, ..]`.
pub fn log_sum_exp_rows<T: Real>(x: &[T], width: usize, out: &mut [T]) {
    assert_eq!(out.len(), row_count(x, width), "log_sum_exp: one output a row");
    rows(out, 1, EXP_COST * width, |first, out| {
        let x = &x[first * width..][..out.len() * width];
        simd(
            #[inline(always)]
            || {
                for (x, out) in x.chunks_exact(width).zip(out) {
                    let shift = exp_shift(x);
                    *out = shift + sum_exp(x, shift).ln();
                }
            },
        )
    });
}

/// `d_x = y (d_y - y . d_y)` row by row, from the output `y` of [`softmax_rows`].
pub fn softmax_backward<T: Real>(y: &[T], width: usize, d_y: &[T], d_x: &mut [T]) {
    row_count(y, width);
    assert_eq!((y.len(), d_y.len()), (d_x.len(), d_x.len()), "softmax: gradients differ in length");
    rows(d_x, width, 2 * width, |first, d_x| {
        let (y, d_y) = (&y[first * width..][..d_x.len()], &d_y[first * width..][..d_x.len()]);
        simd(
            #[inline(always)]
            || {
                let all = y.chunks_exact(width).zip(d_y.chunks_exact(width)).zip(d_x.chunks_exact_mut(width));
                for ((y, d_y), d_x) in all {
                    let average = dot(y, d_y);
                    for ((d_x, &y), &d_y) in d_x.iter_mut().zip(y).zip(d_y) {
                        *d_x = y * (d_y - average);
                    }
                }
            },
        )
    });
}

/// Cross entropy of every row against its class; `lse` is kept for the backward pass (0 where the
/// target is negative). A row of -inf only has loss infinity.
pub fn cross_entropy_forward<T: Real>(
    logits: &[T],
    classes: usize,
    targets: &[i64],
    label_smoothing: f64,
    loss: &mut [T],
    lse: &mut [T],
) {
    let count = row_count(logits, classes);
    assert_eq!(
        (targets.len(), loss.len(), lse.len()),
        (count, count, count),
        "cross entropy: one target a row"
    );
    check_targets(targets, classes);
    let (hard, soft) = (T::from_f64(1.0 - label_smoothing), T::from_f64(label_smoothing / classes as f64));
    rows2((loss, 1), (lse, 1), EXP_COST * classes, |first, loss, lse| {
        simd(
            #[inline(always)]
            || {
                for (i, (loss, lse)) in loss.iter_mut().zip(lse).enumerate() {
                    let target = targets[first + i];
                    if target < 0 {
                        (*loss, *lse) = (T::ZERO, T::ZERO);
                        continue;
                    }
                    let x = &logits[(first + i) * classes..][..classes];
                    let shift = exp_shift(x);
                    let log = sum_exp(x, shift).ln();
                    *lse = shift + log;
                    if *lse == T::NEG_INFINITY {
                        *loss = -T::NEG_INFINITY;
                        continue;
                    }
                    // Differences to the shift: at logits of 1e4 their sum has lost the digits of `log`.
                    *loss = log + hard * (shift - x[target as usize]);
                    if soft > T::ZERO {
                        *loss += soft * sum_below(x, shift);
                    }
                }
            },
        )
    });
}

/// `d_logits = d_loss (softmax - (1 - e) onehot - e / C)`.
pub fn cross_entropy_backward<T: Real>(
    logits: &[T],
    classes: usize,
    targets: &[i64],
    label_smoothing: f64,
    lse: &[T],
    d_loss: &[T],
    d_logits: &mut [T],
) {
    let count = row_count(logits, classes);
    assert_eq!(
        (targets.len(), lse.len(), d_loss.len()),
        (count, count, count),
        "cross entropy: one target a row"
    );
    assert_eq!(logits.len(), d_logits.len(), "cross entropy: logits and gradient differ in length");
    check_targets(targets, classes);
    let (hard, soft) = (T::from_f64(1.0 - label_smoothing), T::from_f64(label_smoothing / classes as f64));
    rows(d_logits, classes, EXP_COST * classes, |first, d_logits| {
        simd(
            #[inline(always)]
            || {
                for (i, d_x) in d_logits.chunks_exact_mut(classes).enumerate() {
                    let n = first + i;
                    if targets[n] < 0 {
                        d_x.fill(T::ZERO);
                        continue;
                    }
                    let x = &logits[n * classes..][..classes];
                    let lse = if lse[n] == T::NEG_INFINITY { T::ZERO } else { lse[n] };
                    let scale = d_loss[n];
                    for (d_x, &x) in d_x.iter_mut().zip(x) {
                        *d_x = scale * ((x - lse).exp() - soft);
                    }
                    // Once more, so that p - 1 is rounded before it is scaled.
                    let target = targets[n] as usize;
                    d_x[target] = scale * ((x[target] - lse).exp() - soft - hard);
                }
            },
        )
    });
}

/// `sum of (shift - x)`, with the lanes of [`sum`].
#[inline(always)]
pub(crate) fn sum_below<T: Real>(x: &[T], shift: T) -> T {
    let mut lanes = [T::ZERO; 16];
    for x in x.chunks(16) {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane += shift - x;
        }
    }
    sum(&lanes)
}

fn row_count<T>(x: &[T], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "softmax: rows are not whole");
    x.len() / width
}

pub(crate) fn check_targets(targets: &[i64], classes: usize) {
    let most = targets.iter().copied().max().unwrap_or(-1);
    assert!(most < classes as i64, "cross entropy: class {most} of {classes}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEG: f32 = f32::NEG_INFINITY;

    fn wave(n: usize, speed: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * speed).sin() * 4.0 + 0.5).collect()
    }

    fn narrow(x: &[f64]) -> Vec<f32> {
        x.iter().map(|&x| x as f32).collect()
    }

    fn softmax<T: Real>(x: &[T], width: usize) -> Vec<T> {
        let mut y = vec![T::ONE; x.len()];
        softmax_rows(x, width, &mut y);
        y
    }

    fn lse<T: Real>(x: &[T], width: usize) -> Vec<T> {
        let mut out = vec![T::ONE; x.len() / width];
        log_sum_exp_rows(x, width, &mut out);
        out
    }

    fn loss<T: Real>(x: &[T], classes: usize, targets: &[i64], smoothing: f64) -> [Vec<T>; 2] {
        let mut out = [vec![T::ONE; targets.len()], vec![T::ONE; targets.len()]];
        let [loss, lse] = &mut out;
        cross_entropy_forward(x, classes, targets, smoothing, loss, lse);
        out
    }

    fn loss_gradient<T: Real>(x: &[T], classes: usize, targets: &[i64], smoothing: f64, d: &[T]) -> Vec<T> {
        let [_, lse] = loss(x, classes, targets, smoothing);
        let mut d_x = vec![T::ONE; x.len()];
        cross_entropy_backward(x, classes, targets, smoothing, &lse, d, &mut d_x);
        d_x
    }

    #[test]
    fn three_numbers_by_hand() {
        let x = [0.0, 2f64.ln(), 5f64.ln()];
        assert!(softmax(&x, 3).iter().zip([0.125, 0.25, 0.625]).all(|(a, b)| (a - b).abs() < 1e-15));
        assert!((lse(&x, 3)[0] - 8f64.ln()).abs() < 1e-15);
        let [plain, _] = loss(&x, 3, &[1], 0.0);
        assert!((plain[0] - 4f64.ln()).abs() < 1e-15);
        let [smooth, _] = loss(&x, 3, &[1], 0.3);
        assert!((smooth[0] - (8f64.ln() - 0.7 * 2f64.ln() - 0.1 * 10f64.ln())).abs() < 1e-15);
    }

    #[test]
    fn rows_of_minus_infinity_are_defined_and_nan_stays() {
        assert_eq!(softmax(&[NEG; 20], 20), [0.0; 20]);
        assert_eq!(lse(&[NEG; 20], 20), [NEG]);
        assert_eq!(softmax(&[NEG, 1e4, NEG, -1e4, -1e4, 1e4], 3), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(lse(&[-1e4f32, -1e4, 1e4, -1e4], 2), [-1e4 + 2f32.ln(), 1e4]);
        assert!(softmax(&[f32::NAN, NEG], 2)[0].is_nan() && lse(&[f32::NAN, NEG], 2)[0].is_nan());
        let [hopeless, _] = loss(&[NEG; 4], 2, &[1, -1], 0.0);
        assert_eq!(hopeless, [f32::INFINITY, 0.0]);
        assert_eq!(loss_gradient(&[NEG; 4], 2, &[1, -1], 0.0, &[1.0; 2]), [0.0, -1.0, 0.0, 0.0]);
    }

    #[test]
    fn masked_classes_and_large_logits_keep_the_loss_exact() {
        let [got, _] = loss(&[0.0, NEG, 0.0, 1e4, -1e4, 1e4], 3, &[0, 2], 0.0);
        assert_eq!(got, [2f32.ln(), 2f32.ln()]);
    }

    #[test]
    fn values_are_the_plain_formulas_in_both_types() {
        for (n, width) in [(0, 3), (1, 1), (3, 16), (7, 133), (2, 3000)] {
            let x = wave(n * width, 0.7);
            let targets: Vec<i64> = (0..n).map(|i| (i * 5 % width) as i64).collect();
            let (y, y32) = (softmax(&x, width), softmax(&narrow(&x), width));
            let (l, l32) = (lse(&x, width), lse(&narrow(&x), width));
            let ([e, _], [e32, _]) =
                (loss(&x, width, &targets, 0.1), loss(&narrow(&x), width, &targets, 0.1));
            for (r, row) in x.chunks(width).enumerate() {
                let total = row.iter().map(|x| x.exp()).sum::<f64>();
                for (d, x) in row.iter().enumerate() {
                    let i = r * width + d;
                    assert!((y[i] - x.exp() / total).abs() < 1e-14);
                    assert!((f64::from(y32[i]) - y[i]).abs() < 1e-6);
                }
                let want = total.ln()
                    - 0.9 * row[targets[r] as usize]
                    - 0.1 / width as f64 * row.iter().sum::<f64>();
                assert!((l[r] - total.ln()).abs() < 1e-12 && (e[r] - want).abs() < 1e-12);
                assert!((f64::from(l32[r]) - l[r]).abs() < 3e-6 && (f64::from(e32[r]) - want).abs() < 5e-6);
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (n, width) in [(1, 1), (3, 5), (2, 37)] {
            let (x, d_y, d_loss) = (wave(n * width, 0.7), wave(n * width, 2.3), wave(n, 1.1));
            let targets: Vec<i64> = (0..n).map(|i| (i * 3 % width) as i64 - i64::from(i == 1)).collect();
            let mut d_x = vec![9.0; x.len()];
            softmax_backward(&softmax(&x, width), width, &d_y, &mut d_x);
            let d_logits = loss_gradient(&x, width, &targets, 0.2, &d_loss);
            let d_logits32 = loss_gradient(&narrow(&x), width, &targets, 0.2, &narrow(&d_loss));
            for i in 0..x.len() {
                let moved = |step: f64| {
                    let mut x = x.clone();
                    x[i] += step;
                    (dot(&softmax(&x, width), &d_y), dot(&loss(&x, width, &targets, 0.2)[0], &d_loss))
                };
                let ((a, b), (c, d)) = (moved(1e-5), moved(-1e-5));
                assert!((d_x[i] - (a - c) / 2e-5).abs() < 1e-8);
                assert!((d_logits[i] - (b - d) / 2e-5).abs() < 1e-8);
                assert!((d_logits[i] - f64::from(d_logits32[i])).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn ignored_rows_have_no_loss_and_no_gradient() {
        let x = narrow(&wave(6, 0.7));
        let [got, _] = loss(&x, 3, &[-100, 1], 0.1);
        let alone = loss(&x[3..], 3, &[1], 0.1);
        assert_eq!(got, [0.0, alone[0][0]]);
        let d_x = loss_gradient(&x, 3, &[-100, 1], 0.1, &[7.0, 1.0]);
        assert_eq!(d_x[..3], [0.0; 3]);
        assert!(d_x[3..].iter().sum::<f32>().abs() < 1e-6, "gradients of a row sum to 0");
    }

    #[test]
    #[should_panic(expected = "class 3 of 3")]
    fn a_class_that_does_not_exist_is_refused() {
        loss(&[0f32; 3], 3, &[3], 0.0);
    }

    #[test]
    fn results_do_not_depend_on_threads_or_other_rows() {
        let x = narrow(&wave(1000 * 133, 0.37));
        let targets: Vec<i64> = (0..1000).map(|i| i % 133).collect();
        let run = |n: usize| {
            let (x, targets) = (&x[..n * 133], &targets[..n]);
            let y = softmax(x, 133);
            let mut d_x = vec![0.0; x.len()];
            softmax_backward(&y, 133, x, &mut d_x);
            let [e, l] = loss(x, 133, targets, 0.1);
            [y, d_x, loss_gradient(x, 133, targets, 0.1, &e), e, l, lse(x, 133)]
        };
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
        let all = pool(1).install(|| run(1000));
        assert_eq!(all, pool(3).install(|| run(1000)));
        let head = run(9);
        assert!(head.iter().zip(&all).all(|(head, all)| head[..] == all[..head.len()]));
    }
}

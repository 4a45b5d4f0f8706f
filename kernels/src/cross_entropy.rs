//! Cross entropy and its gradient in one pass over logits that nobody needs any more.
//!
//! Definition:  loss = lse(x) - (1 - e) x[target] - e / C sum of x, with label smoothing e;
//!              x becomes scale (softmax(x) - (1 - e) onehot - e / C)
//! Shapes:      x [N, C], targets [N] -> loss [N]; one exponential a logit
//! Numerics:    as `softmax.rs`: the row's maximum is subtracted first; a negative target is ignored:
//!              loss 0, gradient 0

use crate::Real;
use crate::cpu::simd;
use crate::parallel::rows2;
use crate::real::sum;
use crate::softmax::{EXP_COST, check_targets, exp_shift, sum_below};

/// Replaces `logits` by `scale` times the gradient; see the head of this file.
///
/// # Panics
/// When slices do not fit or a target is no class.
pub fn cross_entropy_in_place<T: Real>(
    logits: &mut [T],
    classes: usize,
    targets: &[i64],
    label_smoothing: f64,
    scale: T,
    loss: &mut [T],
) {
    assert_eq!(logits.len(), targets.len() * classes, "cross entropy: one row of logits a target");
    assert_eq!(loss.len(), targets.len(), "cross entropy: one loss a target");
    check_targets(targets, classes);
    let (hard, soft) = (T::from_f64(1.0 - label_smoothing), T::from_f64(label_smoothing / classes as f64));
    rows2((logits, classes), (loss, 1), EXP_COST * classes, |first, logits, loss| {
        simd(
            #[inline(always)]
            || {
                for (i, (x, loss)) in logits.chunks_exact_mut(classes).zip(loss).enumerate() {
                    let Ok(target) = usize::try_from(targets[first + i]) else {
                        x.fill(T::ZERO);
                        *loss = T::ZERO;
                        continue;
                    };
                    let shift = exp_shift(x);
                    *loss = hard * (shift - x[target]);
                    if soft > T::ZERO {
                        *loss += soft * sum_below(x, shift);
                    }
                    for x in x.iter_mut() {
                        *x = (*x - shift).exp();
                    }
                    let total = sum(x);
                    *loss += total.ln();
                    let inverse = T::ONE / total;
                    if total == T::ZERO {
                        *loss = -T::NEG_INFINITY;
                    }
                    // p - 1 is rounded before it is scaled.
                    let at_target = scale * (x[target] * inverse - soft - hard);
                    for x in x.iter_mut() {
                        *x = scale * (*x * inverse - soft);
                    }
                    x[target] = at_target;
                }
            },
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softmax::{cross_entropy_backward, cross_entropy_forward};

    fn both<T: Real>(x: &[T], classes: usize, targets: &[i64], smoothing: f64) -> [Vec<T>; 4] {
        let n = targets.len();
        let [mut loss, mut lse, mut short] = [(); 3].map(|()| vec![T::ONE; n]);
        let (mut d, mut d_short) = (vec![T::ONE; x.len()], x.to_vec());
        let scale = T::from_f64(0.25);
        cross_entropy_forward(x, classes, targets, smoothing, &mut loss, &mut lse);
        cross_entropy_backward(x, classes, targets, smoothing, &lse, &vec![scale; n], &mut d);
        cross_entropy_in_place(&mut d_short, classes, targets, smoothing, scale, &mut short);
        [loss, short, d, d_short]
    }

    #[test]
    fn it_is_the_forward_and_the_backward_pass() {
        let wave = |n: usize| (0..n).map(|i| (i as f64 * 0.37).sin() * 9.0).collect::<Vec<_>>();
        for (classes, targets) in [(3, vec![0, 2, -1, 1]), (70, (0..33).collect())] {
            let x = wave(classes * targets.len());
            for smoothing in [0.0, 0.1] {
                let [loss, short, d, d_short] = both(&x, classes, &targets, smoothing);
                for (a, b) in loss.iter().chain(&d).zip(short.iter().chain(&d_short)) {
                    assert!((a - b).abs() < 1e-13, "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn logits_of_ten_thousand_keep_their_digits() {
        let x = [1e4f32, -1e4, 0.0, -1e4, 1e4, 1e4];
        let [loss, short, _, d_short] = both(&x, 3, &[0, 1], 0.0);
        assert_eq!(loss, short);
        // Through the lse the backward pass gives 0.12497: at 1e4 it has lost the digits of ln 2.
        assert_eq!(d_short, [0.0, 0.0, 0.0, 0.0, -0.125, 0.125]);
        let lost = [f32::NEG_INFINITY; 3];
        assert_eq!(both(&lost, 3, &[1], 0.0)[1], [f32::INFINITY]);
    }
}

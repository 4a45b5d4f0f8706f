//! Windows of a packed batch: a convolution over tokens is `unfold`, then one matrix product.
//!
//! Definition:  out[t, w] = x[t + (w - window / 2) * dilation], 0 outside the sequence of `t`
//! Shapes:      x [T, D] -> out [T, window * D], `window` odd
//! Gradient:    `fold`, the adjoint: d_x[t] = sum over w of d_out[t - (w - window / 2) * dilation, w]
//! Cost:        O(T window D), a copy; a row is written by one thread, in one order

use crate::{Real, cpu, parallel};

/// Windows of `x`, zeros outside each sequence.
pub fn unfold<T: Real>(
    offsets: &[usize],
    x: &[T],
    width: usize,
    window: usize,
    dilation: usize,
    out: &mut [T],
) {
    check(offsets, x.len(), width, window, out.len());
    parallel::rows(out, window * width, window * width, |first, out| {
        let rows = out.chunks_exact_mut(window * width).enumerate();
        in_sequences(offsets, first, rows, |t, sequence, row| {
            for (w, block) in row.chunks_exact_mut(width).enumerate() {
                match shifted(t, w, window / 2, dilation, sequence) {
                    Some(from) => block.copy_from_slice(&x[from * width..(from + 1) * width]),
                    None => block.fill(T::ZERO),
                }
            }
        });
    });
}

/// The adjoint of [`unfold`]: overwrites `d_x` `[T, D]` with the gradient for `d_out`
/// `[T, window * D]`.
pub fn fold<T: Real>(
    offsets: &[usize],
    d_out: &[T],
    width: usize,
    window: usize,
    dilation: usize,
    d_x: &mut [T],
) {
    check(offsets, d_x.len(), width, window, d_out.len());
    parallel::rows(d_x, width, window * width, |first, d_x| {
        let rows = d_x.chunks_exact_mut(width).enumerate();
        in_sequences(offsets, first, rows, |t, sequence, row| {
            row.fill(T::ZERO);
            for w in 0..window {
                // The window that saw token t in column block w stands at the mirrored distance.
                let Some(at) = shifted(t, window - 1 - w, window / 2, dilation, sequence) else { continue };
                let block = &d_out[(at * window + w) * width..(at * window + w + 1) * width];
                cpu::simd(
                    #[inline(always)]
                    || row.iter_mut().zip(block).for_each(|(d, &x)| *d += x),
                );
            }
        });
    });
}

fn check(offsets: &[usize], x: usize, width: usize, window: usize, out: usize) {
    let tokens = offsets.last().copied().unwrap_or(0);
    assert!(window % 2 == 1, "the window is odd, so that it has a middle");
    assert_eq!(x, tokens * width, "x is [T, D]");
    assert_eq!(out, tokens * window * width, "out is [T, window * D]");
}

/// The sequences' parts of a packed output of `width` elements a token.
pub(crate) fn by_sequence<'a, T>(offsets: &[usize], width: usize, mut data: &'a mut [T]) -> Vec<&'a mut [T]> {
    let mut parts = Vec::with_capacity(offsets.len());
    for o in offsets.windows(2) {
        let (part, rest) = data.split_at_mut((o[1] - o[0]) * width);
        parts.push(part);
        data = rest;
    }
    parts
}

/// Calls `work(t, (start, end) of its sequence, row)` for consecutive tokens from `first` on.
fn in_sequences<'a, T: 'a>(
    offsets: &[usize],
    first: usize,
    rows: impl Iterator<Item = (usize, &'a mut [T])>,
    work: impl Fn(usize, (usize, usize), &'a mut [T]),
) {
    let mut b = offsets.partition_point(|&o| o <= first);
    for (i, row) in rows {
        while offsets[b] <= first + i {
            b += 1;
        }
        work(first + i, (offsets[b - 1], offsets[b]), row);
    }
}

/// `t + (w - middle) * dilation` when that is in the sequence.
#[inline(always)]
fn shifted(
    t: usize,
    w: usize,
    middle: usize,
    dilation: usize,
    (start, end): (usize, usize),
) -> Option<usize> {
    let at = (t + w.checked_mul(dilation)?).checked_sub(middle.checked_mul(dilation)?)?;
    (start..end).contains(&at).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, count: usize) -> Vec<f64> {
        (0..count)
            .map(|i| f64::from(crate::random::philox(seed, i as u64)[0]) / 2f64.powi(32) - 0.5)
            .collect()
    }

    #[test]
    fn windows_of_three_stop_at_the_ends_of_a_sequence() {
        let x = [1f32, 2.0, 3.0, 9.0];
        let mut out = [7f32; 12];
        unfold(&[0, 3, 3, 4], &x, 1, 3, 1, &mut out);
        assert_eq!(out, [0.0, 1.0, 2.0, 1.0, 2.0, 3.0, 2.0, 3.0, 0.0, 0.0, 9.0, 0.0]);
    }

    #[test]
    fn dilation_widens_the_window() {
        let x = [1f32, 2.0, 3.0, 4.0, 5.0];
        let mut out = [7f32; 15];
        unfold(&[0, 5], &x, 1, 3, 2, &mut out);
        assert_eq!(out[..3], [0.0, 1.0, 3.0]);
        assert_eq!(out[6..9], [1.0, 3.0, 5.0]);
        assert_eq!(out[12..], [3.0, 5.0, 0.0]);
        unfold(&[0, 5], &x, 1, 3, 100, &mut out);
        assert!(out.chunks(3).zip(x).all(|(row, x)| row == [0.0, x, 0.0]));
    }

    #[test]
    fn fold_is_the_adjoint_of_unfold() {
        let offsets = [0, 1, 1, 8, 300];
        for (window, dilation) in [(1, 1), (3, 1), (3, 3), (5, 2), (7, 50)] {
            let width = 3;
            let (x, y) = (noise(1, 300 * width), noise(2, 300 * window * width));
            let (mut windows, mut d_x) = (vec![1.0; y.len()], vec![1.0; x.len()]);
            unfold(&offsets, &x, width, window, dilation, &mut windows);
            fold(&offsets, &y, width, window, dilation, &mut d_x);
            let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            assert!((inner(&windows, &y) - inner(&x, &d_x)).abs() < 1e-10, "window {window} x {dilation}");
        }
    }

    #[test]
    fn no_bit_depends_on_threads_or_on_the_batch() {
        let offsets = [0, 700, 701, 1500];
        let (window, width) = (5, 16);
        let x = noise(1, 1500 * width);
        let run = |offsets: &[usize], x: &[f64], threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let (mut windows, mut d_x) = (vec![1.0; x.len() * window], vec![1.0; x.len()]);
            pool.install(|| {
                unfold(offsets, x, width, window, 2, &mut windows);
                fold(offsets, &windows, width, window, 2, &mut d_x);
            });
            (windows, d_x)
        };
        let (windows, d_x) = run(&offsets, &x, 1);
        assert_eq!((&windows, &d_x), (&run(&offsets, &x, 3).0, &run(&offsets, &x, 3).1));
        let (alone, d_alone) = run(&[0, 799], &x[701 * width..], 1);
        assert_eq!((&alone[..], &d_alone[..]), (&windows[701 * window * width..], &d_x[701 * width..]));
    }

    #[test]
    fn an_empty_batch_is_fine() {
        unfold::<f32>(&[0], &[], 4, 3, 1, &mut []);
        fold::<f32>(&[0, 0], &[], 4, 3, 1, &mut []);
    }
}

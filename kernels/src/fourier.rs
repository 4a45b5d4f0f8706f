//! Real part of the two-dimensional Fourier transform of a real matrix.
//!
//! Definition:  Y = Re(F_n X F_d), F_m[j, k] = e^(-2 pi i j k / m)
//! Shapes:      x, y [n, d]
//! Numerics:    rows are real, so columns k and d - k of their transform are conjugates and only half
//!              of the columns are transformed: Y[j, d - k] = Y[-j mod n, k]
//! Cost:        O(n d log(n d))

use std::collections::BTreeMap;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftNum, FftPlanner};

use crate::Real;

/// A number that the transform is made for.
pub trait Frequency: Real + FftNum {}

impl Frequency for f32 {}
impl Frequency for f64 {}

/// What is worked out once for all texts of a batch.
pub struct Plans<T: Frequency> {
    rows: Option<Arc<dyn Fft<T>>>,
    columns: BTreeMap<usize, Arc<dyn Fft<T>>>,
    width: usize,
}

impl<T: Frequency> Plans<T> {
    /// For matrices of `width` columns and these numbers of rows.
    pub fn new(width: usize, lengths: &[usize]) -> Self {
        let mut planner = FftPlanner::new();
        let rows = (width > 0).then(|| planner.plan_fft_forward(width));
        let lengths = lengths.iter().filter(|n| **n > 0);
        let columns = lengths.map(|&n| (n, planner.plan_fft_forward(n))).collect();
        Self { rows, columns, width }
    }
}

/// `y = Re(F_n x F_d)` for `x [n, d]`, where `n` is one of the lengths of `plans`.
pub fn real_part<T: Frequency>(plans: &Plans<T>, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "fourier: input and output differ in length");
    let (d, Some(rows)) = (plans.width, &plans.rows) else { return };
    let n = x.len() / d;
    if n == 0 {
        return;
    }
    assert_eq!(x.len(), n * d, "fourier: x is [n, d]");
    let zero = Complex::new(T::ZERO, T::ZERO);
    let half = d / 2 + 1;
    let mut columns = vec![zero; half * n]; // [half, n]: the columns that are transformed
    let mut row = vec![zero; d];
    let mut scratch = vec![zero; rows.get_inplace_scratch_len()];
    for (i, x) in x.chunks_exact(d).enumerate() {
        row.iter_mut().zip(x).for_each(|(c, &x)| *c = Complex::new(x, T::ZERO));
        rows.process_with_scratch(&mut row, &mut scratch);
        for (k, &c) in row[..half].iter().enumerate() {
            columns[k * n + i] = c;
        }
    }
    if let Some(plan) = plans.columns.get(&n) {
        scratch.resize(plan.get_inplace_scratch_len(), zero);
        plan.process_with_scratch(&mut columns, &mut scratch);
    }
    for (j, y) in y.chunks_exact_mut(d).enumerate() {
        let mirrored = (n - j) % n;
        for (k, y) in y.iter_mut().enumerate() {
            *y = if k < half { columns[k * n + j].re } else { columns[(d - k) * n + mirrored].re };
        }
    }
}

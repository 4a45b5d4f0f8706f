//! Mean and scatter of vectors that come in batches.

use bert4rs_kernels::gemm::{View, matmul};

use crate::{Error, Result};

/// Vectors that are taken together: their differences to their own mean are one product of matrices.
const BATCH: usize = 1024;

/// The moments of the vectors seen so far; those of two parts can be merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitter {
    width: usize,
    count: u64,
    mean: Vec<f64>,
    /// `sum_i (x_i - mean)^T (x_i - mean)`, `[D, D]`.
    scatter: Vec<f64>,
}

impl Fitter {
    /// For vectors of `width` numbers.
    pub fn new(width: usize) -> Self {
        Self { width, count: 0, mean: vec![0.0; width], scatter: vec![0.0; width * width] }
    }

    /// Adds rows `[N, D]`. Refused rows leave everything as it was.
    pub fn update<T: Copy + Into<f64>>(&mut self, rows: &[T]) -> Result<()> {
        let width = self.width;
        if width == 0 || !rows.len().is_multiple_of(width) {
            return Err(Error::Input(format!("{} numbers are no rows of {width}", rows.len())));
        }
        if let Some(at) = rows.iter().position(|&x| !x.into().is_finite()) {
            return Err(Error::Input(format!(
                "vector {}: number {} is not finite; whitening needs finite numbers",
                self.count as usize + at / width + 1,
                at % width + 1
            )));
        }
        for batch in rows.chunks(BATCH * width) {
            let count = batch.len() / width;
            let mut mean = vec![0.0; width];
            for row in batch.chunks_exact(width) {
                mean.iter_mut().zip(row).for_each(|(m, &x)| *m += x.into() / count as f64);
            }
            let centred: Vec<f64> = batch
                .chunks_exact(width)
                .flat_map(|row| row.iter().zip(&mean).map(|(&x, m)| x.into() - m))
                .collect();
            let (left, right) = (View::transposed(&centred, width), View::row_major(&centred, width));
            let mut scatter = vec![0.0; width * width];
            matmul(width, width, count, left, right, &mut scatter, false);
            self.merge(&Self { width, count: count as u64, mean, scatter })?;
        }
        Ok(())
    }

    /// Adds what another one has seen.
    pub fn merge(&mut self, other: &Fitter) -> Result<()> {
        if other.width != self.width {
            return Err(Error::Input(format!(
                "vectors of {} numbers cannot join vectors of {}",
                other.width, self.width
            )));
        }
        if other.count == 0 {
            return Ok(());
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let delta: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(theirs, ours)| theirs - ours).collect();
        let factor = a * b / (a + b);
        for (i, row) in self.scatter.chunks_exact_mut(self.width).enumerate() {
            let other = &other.scatter[i * self.width..][..self.width];
            for ((sum, other), d) in row.iter_mut().zip(other).zip(&delta) {
                *sum += other + factor * delta[i] * d;
            }
        }
        self.mean.iter_mut().zip(&delta).for_each(|(mean, d)| *mean += d * b / (a + b));
        self.count += other.count;
        Ok(())
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Vectors seen.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// `1/N sum_i (x_i - beta mean)^T (x_i - beta mean)`, `[D, D]`; the covariance for `beta` 1.
    pub fn second_moment(&self, beta: f64) -> Vec<f64> {
        let offset = (1.0 - beta) * (1.0 - beta);
        let count = (self.count as f64).max(1.0);
        let at = |i: usize, j: usize| {
            self.scatter[i * self.width + j] / count + offset * self.mean[i] * self.mean[j]
        };
        (0..self.width).flat_map(|i| (0..self.width).map(move |j| at(i, j))).collect()
    }
}

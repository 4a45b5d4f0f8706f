//! Whitening: one affine map, fitted on vectors without labels, after which cosines say more.
//!
//! Definition:  y = (x - beta mean) U diag(lambda)^(-gamma/2), U and lambda of the first k eigenvectors of
//!              S = 1/N sum_i (x_i - beta mean)^T (x_i - beta mean); cosines are taken of y.
//!              beta = gamma = 1 whitens, beta = 1 with gamma = 0 is PCA, beta = gamma = 0 only turns
//! Shapes:      x [N, D] -> y [N, k]
//! Numerics:    mean and scatter in f64, batch by batch, merged by the difference of means (no
//!              E[xx] - mean mean); directions with lambda <= D eps lambda_max are noise and are dropped
//!              when they would be divided by
//! Cost:        O(N D^2) to fit and O(D^3) for the eigenvectors
//! Reference:   Whitening Sentence Representations for Better Semantics and Faster Retrieval, 2021;
//!              the beta and gamma of a later article.                      Vectors: bert-whitening.json

mod eigen;
mod fitter;

pub use fitter::Fitter;

use crate::{Error, Result};

/// What is made of the moments of the vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Numbers of a vector that are kept, those of the largest deviation; none = all.
    pub dimensions: Option<usize>,
    /// How much of the mean is taken away: 1 all, 0 nothing.
    pub beta: f64,
    /// How far deviations become equal: 1 whitens, 0 leaves them.
    pub gamma: f64,
    /// What to do when there are fewer directions than wanted.
    pub on_rank_deficient: OnRankDeficient,
}

/// What to do when the vectors do not fill the dimensions that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRankDeficient {
    /// Keep the directions that are there.
    Drop,
    /// Refuse.
    Error,
}

impl Default for Config {
    fn default() -> Self {
        Self { dimensions: None, beta: 1.0, gamma: 1.0, on_rank_deficient: OnRankDeficient::Drop }
    }
}

/// The fitted map.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    /// The mean of the vectors `[D]`.
    pub mean: Vec<f64>,
    /// `[D, k]`, row-major.
    pub kernel: Vec<f64>,
    /// All eigenvalues, the largest first `[D]`.
    pub eigenvalues: Vec<f64>,
    /// Directions that hold more than rounding.
    pub rank: usize,
    /// Numbers of a vector that comes out.
    pub dimensions: usize,
    /// How much of the mean is taken away.
    pub beta: f64,
}

/// Below this length a vector is not scaled up to 1.
const LEAST_LENGTH: f64 = 1e-8;

impl Whitening {
    /// The map for the moments that were gathered.
    pub fn fit(moments: &Fitter, config: &Config) -> Result<Self> {
        let width = moments.width();
        if moments.count() < 2 {
            return Err(Error::Input(format!(
                "whitening of {} vectors: expected at least 2; give more texts",
                moments.count()
            )));
        }
        if let Some(k) = config.dimensions
            && (k == 0 || k > width)
        {
            return Err(Error::Input(format!("{k} dimensions of vectors of {width}: expected 1 to {width}")));
        }
        for (name, value) in [("beta", config.beta), ("gamma", config.gamma)] {
            if !value.is_finite() {
                return Err(Error::Input(format!("{name} {value}: expected a number such as 0 or 1")));
            }
        }
        let found = eigen::symmetric(moments.second_moment(config.beta), width);
        let (eigenvalues, vectors) = found.ok_or_else(|| {
            Error::Input("the covariance is not finite; are there numbers of 1e150 and more?".into())
        })?;
        let least = width as f64 * f64::EPSILON * eigenvalues[0].max(0.0);
        let rank = eigenvalues.iter().filter(|&&lambda| lambda > least).count();
        let wanted = config.dimensions.unwrap_or(width);
        // A direction that is not divided by its deviation does no harm.
        let usable = if config.gamma > 0.0 { rank } else { width };
        if wanted > usable && config.on_rank_deficient == OnRankDeficient::Error || usable == 0 {
            return Err(Error::Input(format!(
                "the {} vectors fill {rank} of {width} dimensions, {wanted} are wanted; give more and \
                 different texts, or fewer dimensions",
                moments.count()
            )));
        }
        let k = wanted.min(usable);
        let mut kernel = Vec::with_capacity(width * k);
        for i in 0..width {
            kernel.extend((0..k).map(|j| vectors[j * width + i] * scale(eigenvalues[j], config.gamma)));
        }
        Ok(Self {
            mean: moments.mean().to_vec(),
            kernel,
            eigenvalues,
            rank,
            dimensions: k,
            beta: config.beta,
        })
    }

    /// The numbers of a vector that goes in.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// `(x - beta mean) kernel` of rows `[N, D]`, in f64: `[N, k]`.
    pub fn project<T: Copy + Into<f64>>(&self, rows: &[T]) -> Result<Vec<f64>> {
        let (width, k) = (self.width(), self.dimensions);
        if !rows.len().is_multiple_of(width) {
            return Err(Error::Input(format!("{} numbers are no rows of {width}", rows.len())));
        }
        let mut out = vec![0.0; rows.len() / width * k];
        for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(k)) {
            for ((&x, mean), kernel) in row.iter().zip(&self.mean).zip(self.kernel.chunks_exact(k)) {
                let x: f64 = x.into() - self.beta * mean;
                out.iter_mut().zip(kernel).for_each(|(y, w)| *y += x * w);
            }
        }
        Ok(out)
    }

    /// As [`Whitening::project`], scaled to length 1: inner products are cosines.
    pub fn transform<T: Copy + Into<f64>>(&self, rows: &[T]) -> Result<Vec<f64>> {
        let mut out = self.project(rows)?;
        for y in out.chunks_exact_mut(self.dimensions) {
            let length = y.iter().map(|y| y * y).sum::<f64>().sqrt().max(LEAST_LENGTH);
            y.iter_mut().for_each(|y| *y /= length);
        }
        Ok(out)
    }

    /// The same map as a linear layer `y = x W^T + b`: `W [k, D]` and `b [k]`.
    pub fn linear_layer(&self) -> (Vec<f32>, Vec<f32>) {
        let (width, k) = (self.width(), self.dimensions);
        let weight = (0..k).flat_map(|j| (0..width).map(move |i| self.kernel[i * k + j] as f32)).collect();
        let bias = |j: usize| -> f64 {
            self.mean.iter().enumerate().map(|(i, mean)| -self.beta * mean * self.kernel[i * k + j]).sum()
        };
        (weight, (0..k).map(|j| bias(j) as f32).collect())
    }
}

fn scale(eigenvalue: f64, gamma: f64) -> f64 {
    if gamma == 0.0 { 1.0 } else { eigenvalue.powf(-gamma / 2.0) }
}

#[cfg(test)]
mod tests;

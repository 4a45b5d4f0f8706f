//! Binary codes of vectors: random ones (FlyHash, LSH) and learned ones (BioHash).
//!
//! Definition:  FlyHash: ones at the k largest of x M, M [D, K'] of random zeros and ones;
//!              LSH: signs of x M, M of N(0, 1/D), zero is no one;
//!              BioHash: ones at the k centres w with the largest <x, w / |w|> (or <x, w>), where
//!              training moves the winner by x - <w, x> w, in batches, by at most `lr` a number
//! Shapes:      x [D] -> bits [K']
//! Numerics:    of equal activations the first wins; sums in f32 in the order of the vector
//! Reference:   A neural algorithm for a fundamental computing problem, Science 2017; Bio-Inspired
//!              Hashing for Unsupervised Similarity Search, 2020.        Vectors: bioword-biohash.json

use bert4rs_kernels::random::philox;

use crate::binary_code::BinaryCode;
use crate::{Error, Result};

/// Makes codes of vectors.
pub trait Binarizer {
    /// The code of a vector.
    fn encode(&self, x: &[f32]) -> Result<BinaryCode>;
}

/// The `k` winners among sums of a few random numbers of the vector.
#[derive(Clone, Debug)]
pub struct FlyHash {
    /// `[D, K']`
    projection: Vec<f32>,
    width: usize,
    k: usize,
}

/// The signs of random projections: angles become Hamming distances.
#[derive(Clone, Debug)]
pub struct SignLsh {
    /// `[D, K']`
    projection: Vec<f32>,
    width: usize,
}

/// The `k` winners among learned centres.
#[derive(Clone, Debug)]
pub struct BioHash {
    /// `[K', D]`
    centres: Vec<f32>,
    width: usize,
    k: usize,
    normalize_centres: bool,
}

/// How [`BioHash`] learns.
#[derive(Clone, Debug, PartialEq)]
pub struct BioHashConfig {
    /// Centres, the bits of a code.
    pub bits: usize,
    /// Ones of a code.
    pub ones: usize,
    /// Passes over the vectors.
    pub epochs: usize,
    /// Vectors of one step.
    pub batch: usize,
    /// The most a number changes in the first step; it falls to 0 by a line.
    pub lr: f32,
    /// Whether the length of a centre counts when its code is made.
    pub normalize_centres: bool,
    /// Of the random start.
    pub seed: u64,
}

impl Default for BioHashConfig {
    fn default() -> Self {
        Self { bits: 512, ones: 16, epochs: 10, batch: 256, lr: 0.02, normalize_centres: true, seed: 0 }
    }
}

/// A number in `[0, 1)`, of a seed and a position.
pub(crate) fn uniform(seed: u64, at: u64) -> f32 {
    (philox(seed, at)[0] >> 8) as f32 / (1 << 24) as f32
}

/// A standard normal number, of a seed and a position.
pub(crate) fn normal(seed: u64, at: u64) -> f32 {
    let [a, b, ..] = philox(seed, at);
    let unit = |x: u32| (f64::from(x) + 0.5) / 4_294_967_296.0;
    ((-2.0 * unit(a).ln()).sqrt() * (2.0 * std::f64::consts::PI * unit(b)).cos()) as f32
}

fn check(x: &[f32], width: usize) -> Result<()> {
    if x.len() != width {
        return Err(Error::Input(format!("a vector of {} numbers; expected {width}", x.len())));
    }
    match x.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(Error::Input(format!("number {} of the vector is not finite", at + 1))),
        None => Ok(()),
    }
}

fn check_ones(k: usize, bits: usize) -> Result<()> {
    if (1..=bits).contains(&k) {
        return Ok(());
    }
    Err(Error::Input(format!("{k} ones of {bits} bits; expected 1 to {bits}")))
}

/// `x M` for `M [D, K']`.
fn project(x: &[f32], matrix: &[f32], bits: usize) -> Vec<f32> {
    let mut sums = vec![0.0; bits];
    for (x, row) in x.iter().zip(matrix.chunks_exact(bits)) {
        sums.iter_mut().zip(row).for_each(|(sum, m)| *sum += x * m);
    }
    sums
}

impl FlyHash {
    /// Codes of `bits` with `ones`; each bit looks at a share `density` of the numbers.
    pub fn new(width: usize, bits: usize, ones: usize, density: f32, seed: u64) -> Result<Self> {
        let at_random = |i: usize| f32::from(u8::from(uniform(seed, i as u64) < density));
        Self::with_projection((0..width * bits).map(at_random).collect(), width, ones)
    }

    /// With a matrix `[D, K']` of one's own.
    pub fn with_projection(projection: Vec<f32>, width: usize, ones: usize) -> Result<Self> {
        check_ones(ones, bits_of(&projection, width)?)?;
        Ok(Self { projection, width, k: ones })
    }
}

/// The columns of a matrix of `width` rows.
fn bits_of(projection: &[f32], width: usize) -> Result<usize> {
    if width == 0 || projection.is_empty() || !projection.len().is_multiple_of(width) {
        return Err(Error::Input(format!("{} numbers are no matrix of {width} rows", projection.len())));
    }
    Ok(projection.len() / width)
}

impl Binarizer for FlyHash {
    fn encode(&self, x: &[f32]) -> Result<BinaryCode> {
        check(x, self.width)?;
        let sums = project(x, &self.projection, self.projection.len() / self.width);
        Ok(BinaryCode::winners(&sums, self.k))
    }
}

impl SignLsh {
    /// Codes of `bits`.
    pub fn new(width: usize, bits: usize, seed: u64) -> Result<Self> {
        let scale = (width as f32).sqrt().recip();
        Self::with_projection((0..width * bits).map(|i| scale * normal(seed, i as u64)).collect(), width)
    }

    /// With a matrix `[D, K']` of one's own.
    pub fn with_projection(projection: Vec<f32>, width: usize) -> Result<Self> {
        bits_of(&projection, width)?;
        Ok(Self { projection, width })
    }
}

impl Binarizer for SignLsh {
    fn encode(&self, x: &[f32]) -> Result<BinaryCode> {
        check(x, self.width)?;
        let sums = project(x, &self.projection, self.projection.len() / self.width);
        let mut code = BinaryCode::zeros(sums.len());
        (0..sums.len()).filter(|&i| sums[i] > 0.0).for_each(|i| code.set(i));
        Ok(code)
    }
}

impl BioHash {
    /// With centres `[K', D]` that are there.
    pub fn with_centres(
        centres: Vec<f32>,
        width: usize,
        ones: usize,
        normalize_centres: bool,
    ) -> Result<Self> {
        check_ones(ones, bits_of(&centres, width)?)?;
        Ok(Self { centres, width, k: ones, normalize_centres })
    }

    /// Learns centres from vectors `[N, D]`.
    pub fn fit(vectors: &[f32], width: usize, config: &BioHashConfig) -> Result<Self> {
        if width == 0 || vectors.is_empty() || !vectors.len().is_multiple_of(width) {
            return Err(Error::Input(format!("{} numbers are no vectors of {width}", vectors.len())));
        }
        check_ones(config.ones, config.bits)?;
        vectors.chunks_exact(width).try_for_each(|x| check(x, width))?;
        let count = vectors.len() / width;
        // A start far from the vectors hardly learns: each centre is one of them, and a little noise.
        let mut centres = Vec::with_capacity(config.bits * width);
        for i in 0..config.bits {
            let from = (uniform(config.seed, i as u64) * count as f32) as usize;
            let mut x = vectors[from.min(count - 1) * width..][..width].to_vec();
            crate::codes::normalize(&mut x);
            let noise = |j: usize| 1e-3 * normal(!config.seed, (i * width + j) as u64);
            centres.extend(x.iter().enumerate().map(|(j, x)| x + noise(j)));
        }
        let mut hash = Self::with_centres(centres, width, config.ones, config.normalize_centres)?;
        for epoch in 0..config.epochs {
            let lr = config.lr * (1.0 - epoch as f32 / config.epochs as f32);
            for batch in vectors.chunks(config.batch.max(1) * width) {
                hash.step(batch, lr);
            }
        }
        Ok(hash)
    }

    fn step(&mut self, batch: &[f32], lr: f32) {
        let mut change = vec![0.0; self.centres.len()];
        for x in batch.chunks_exact(self.width) {
            let scores = self.activations(x);
            let best = (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
            let row = best * self.width..(best + 1) * self.width;
            let act: f32 = self.centres[row.clone()].iter().zip(x).map(|(w, x)| w * x).sum();
            let centre = &self.centres[row.clone()];
            change[row].iter_mut().zip(x.iter().zip(centre)).for_each(|(d, (x, w))| *d += x - act * w);
        }
        let largest = change.iter().fold(1e-30f32, |most, d| most.max(d.abs()));
        self.centres.iter_mut().zip(&change).for_each(|(w, d)| *w += lr / largest * d);
    }

    fn activations(&self, x: &[f32]) -> Vec<f32> {
        let one = |w: &[f32]| {
            let sum: f32 = w.iter().zip(x).map(|(w, x)| w * x).sum();
            let length = w.iter().map(|w| w * w).sum::<f32>().sqrt();
            if self.normalize_centres { sum / length.max(1e-30) } else { sum }
        };
        self.centres.chunks_exact(self.width).map(one).collect()
    }
}

impl Binarizer for BioHash {
    fn encode(&self, x: &[f32]) -> Result<BinaryCode> {
        check(x, self.width)?;
        Ok(BinaryCode::winners(&self.activations(x), self.k))
    }
}

#[cfg(test)]
mod tests;

//! Random numbers from an explicit generator: a seed and a counter, so a run can be resumed exactly.

use bert4rs_kernels::random::philox;

use crate::{DType, Result, Tensor, normal};

/// A counter-based generator (Philox4x32-10). Its whole state is two numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    seed: u64,
    counter: u64,
}

impl Rng {
    /// The generator of a seed, at its start.
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The state as (seed, counter), for checkpoints.
    pub fn state(&self) -> (u64, u64) {
        (self.seed, self.counter)
    }

    /// A generator at a saved state.
    pub fn from_state((seed, counter): (u64, u64)) -> Self {
        Self { seed, counter }
    }

    /// An independent generator for a purpose; the same name always gives the same one.
    pub fn fork(&self, purpose: &str) -> Self {
        // FNV-1a of the name, mixed with the seed by one round of the generator itself.
        let name = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let w = philox(self.seed, name);
        Self::new(u64::from(w[0]) << 32 | u64::from(w[1]))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let w = philox(self.seed, self.counter);
        self.counter += 1;
        u64::from(w[0]) << 32 | u64::from(w[1])
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    /// Uniform in `0..n`; 0 for n = 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// A random order of `0..n` (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// A tensor of independent normal numbers.
    pub fn normal_tensor(&mut self, shape: &[usize], deviation: f64, dtype: DType) -> Result<Tensor> {
        let n = shape.iter().product();
        Tensor::new((0..n).map(|_| self.normal() * deviation).collect(), shape)?.cast(dtype)
    }

    /// A tensor of independent normal numbers of deviation `sigma`, cut at two `sigma`: each by the
    /// inverse of its distribution from one uniform number. They deviate by 0.88 `sigma`.
    pub fn truncated_tensor(&mut self, shape: &[usize], sigma: f64, dtype: DType) -> Result<Tensor> {
        let n = shape.iter().product();
        let one = |rng: &mut Self| normal::truncated_quantile(rng.uniform(), -2.0, 2.0) * sigma;
        Tensor::new((0..n).map(|_| one(self)).collect(), shape)?.cast(dtype)
    }

    /// A tensor of independent uniform numbers in `[-limit, limit)`.
    pub fn uniform_tensor(&mut self, shape: &[usize], limit: f64, dtype: DType) -> Result<Tensor> {
        let n = shape.iter().product();
        Tensor::new((0..n).map(|_| (2.0 * self.uniform() - 1.0) * limit).collect(), shape)?.cast(dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_state_continues_the_same_numbers() {
        let mut rng = Rng::new(7);
        rng.uniform();
        let mut copy = Rng::from_state(rng.state());
        assert_eq!(rng.next_u64(), copy.next_u64());
        assert_ne!(rng.fork("dropout"), rng.fork("shuffle"));
    }

    #[test]
    fn moments_are_right() {
        let mut rng = Rng::new(1);
        let xs: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = xs.iter().sum::<f64>() / 2e4;
        let variance = xs.iter().map(|x| x * x).sum::<f64>() / 2e4;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let mut seen = [0; 5];
        (0..5000).for_each(|_| seen[rng.below(5)] += 1);
        assert!(seen.iter().all(|n| (850..1150).contains(n)), "{seen:?}");
    }

    #[test]
    fn a_permutation_has_every_number_once() {
        let mut order = Rng::new(3).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}

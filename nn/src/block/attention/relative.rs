//! Positions inside the scores: NEZHA's relative keys and values, DeBERTa's disentangled scores.
//! Definition:  NEZHA: s_ij = scale q_i (k_j + r_ij), out_i = sum a_ij (v_j + r_ij), r_ij a fixed sinusoid
//!              of clip(j - i, -R, R); DeBERTa: s_ij = scale (q_i k_j + q_i K_r[d] + k_j Q_r[d]), d the
//!              bucket of i - j, K_r and Q_r the key and query products of a learned table
//! Shapes:      q, k, v [H, L, K]; r [2 R + 1, K]; K_r, Q_r [H, 2 S, K]
//! Reference:   Wei et al., NEZHA, 2019; He et al., DeBERTa, 2020. Checkpoints nezha-tiny, deberta-v2-tiny

use bert4rs_tensor::{DType, Tensor};

use super::pairs::{gather_pairs, spread_pairs};
use crate::Result;
use crate::block::position::{Rerope, sinusoids};

/// NEZHA's fixed vectors of the distances `-reach..=reach`: sines in even, cosines in odd channels.
#[derive(Clone)]
pub struct RelativeKeys {
    table: Tensor, // [2 R + 1, K]
    reach: usize,
}

impl RelativeKeys {
    /// For distances up to `reach` and heads of width `size`.
    pub fn new(reach: usize, size: usize, dtype: DType) -> Result<Self> {
        let rows: Vec<usize> = (0..2 * reach + 1).collect();
        Ok(Self { table: sinusoids(&rows, size, dtype)?, reach })
    }

    fn column(&self, i: usize, j: usize) -> usize {
        let reach = self.reach as isize;
        ((j as isize - i as isize).clamp(-reach, reach) + reach) as usize
    }

    /// `q_i r_ij` for all pairs, `[H, L, L]`.
    pub fn scores(&self, q: &Tensor) -> Result<Tensor> {
        let by_distance = q.matmul(&self.table.t()?)?; // [H, L, 2 R + 1]
        gather_pairs(&by_distance, q.shape()[1], |i, j| (i, self.column(i, j)))
    }

    /// `sum over j of a_ij r_ij`, `[H, L, K]`.
    pub fn values(&self, weights: &Tensor) -> Result<Tensor> {
        let by_distance = spread_pairs(weights, 2 * self.reach + 1, |i, j| self.column(i, j))?;
        Ok(by_distance.matmul(&self.table)?)
    }
}

/// What an encoder gives all its layers about distances.
#[derive(Clone)]
pub enum Relative {
    /// NEZHA.
    Keys(RelativeKeys),
    /// ReRoPE: distances that stop growing.
    Rerope(Rerope),
    /// DeBERTa: the normalised table `[2 S, D]`, and what makes buckets.
    Disentangled {
        /// A row for each bucket.
        table: Tensor,
        /// Buckets in each direction.
        buckets: usize,
        /// The length they were made for.
        longest: usize,
    },
}

/// DeBERTa's bucket of the distance `i - j`: itself up to half of `buckets`, then ever wider ones, up to
/// `longest` positions; shifted to `0..2 buckets`.
pub fn deberta_bucket(distance: isize, buckets: usize, longest: usize) -> usize {
    let middle = buckets as isize / 2;
    let bucket = if distance.abs() <= middle {
        distance
    } else {
        let middle = middle as f64;
        let ratio = (distance.abs() as f64 / middle).ln() / ((longest as f64 - 1.0) / middle).ln();
        distance.signum() * ((ratio * (middle - 1.0)).ceil() + middle) as isize
    };
    let shift = buckets as isize;
    (bucket + shift).clamp(0, 2 * shift - 1) as usize
}

/// `q_i K_r[d] + k_j Q_r[d]` for all pairs, `[H, L, L]`; `bucket` names `d` of `i - j`.
pub fn disentangled_scores(
    q: &Tensor,
    k: &Tensor,
    position_queries: &Tensor,
    position_keys: &Tensor,
    bucket: impl Fn(isize) -> usize,
) -> Result<Tensor> {
    let len = q.shape()[1];
    let at = |i: usize, j: usize| bucket(i as isize - j as isize);
    let content = gather_pairs(&q.matmul_t(position_keys)?, len, |i, j| (i, at(i, j)))?;
    let position = gather_pairs(&k.matmul_t(position_queries)?, len, |i, j| (j, at(i, j)))?;
    Ok(content.add(&position)?)
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::Rng;

    use super::*;

    #[test]
    fn relative_keys_are_their_sums_over_pairs() {
        let (heads, len, size, reach) = (2, 5, 4, 2);
        let relative = RelativeKeys::new(reach, size, DType::F64).unwrap();
        let mut rng = Rng::new(1);
        let q = rng.normal_tensor(&[heads, len, size], 1.0, DType::F64).unwrap();
        let a = rng.normal_tensor(&[heads, len, len], 1.0, DType::F64).unwrap();
        let (scores, values) =
            (relative.scores(&q).unwrap().to_f64_vec(), relative.values(&a).unwrap().to_f64_vec());
        let (q, a, r) = (q.to_f64_vec(), a.to_f64_vec(), relative.table.to_f64_vec());
        let row = |i: usize, j: usize| (j as isize - i as isize).clamp(-2, 2) + 2;
        for h in 0..heads {
            for i in 0..len {
                for j in 0..len {
                    let want: f64 = (0..size)
                        .map(|c| q[(h * len + i) * size + c] * r[row(i, j) as usize * size + c])
                        .sum();
                    assert!((scores[(h * len + i) * len + j] - want).abs() < 1e-12);
                }
                for c in 0..size {
                    let want: f64 =
                        (0..len).map(|j| a[(h * len + i) * len + j] * r[row(i, j) as usize * size + c]).sum();
                    assert!((values[(h * len + i) * size + c] - want).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn distances_keep_their_order_in_buckets() {
        let bucket = |d| deberta_bucket(d, 8, 40);
        assert_eq!([0, 1, 4, -4, -1].map(bucket), [8, 9, 12, 4, 7]);
        assert!((-40..40).all(|d| bucket(d) <= bucket(d + 1) && bucket(d) < 16));
        assert_eq!([39, -39].map(bucket), [15, 1]);
    }
}

//! Reciprocal-rank fusion: one order out of several, without comparing their scores.
//!
//! Definition:  score(d) = sum over the orders that hold d of 1 / (60 + rank), ranks from 1
//! Numerics:    f64 sums in the order of the lists; equal scores go by row number
//! Reference:   Reciprocal Rank Fusion outperforms Condorcet, SIGIR 2009 (60 is theirs)     Vectors: none

use std::collections::HashMap;

use crate::Hit;

/// What keeps the first ranks from deciding alone.
const OFFSET: f64 = 60.0;

/// The best `k` rows of several orders, each the best first.
pub fn reciprocal_rank(orders: &[Vec<u32>], k: usize) -> Vec<Hit> {
    let mut sums: HashMap<u32, f64> = HashMap::new();
    for order in orders {
        for (rank, row) in order.iter().enumerate() {
            *sums.entry(*row).or_default() += 1.0 / (OFFSET + rank as f64 + 1.0);
        }
    }
    let mut hits: Vec<Hit> = sums.into_iter().map(|(row, sum)| Hit { row, score: sum as f32 }).collect();
    hits.sort_unstable_by(Hit::order);
    hits.truncate(k);
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_orders_by_hand() {
        // 7: 1/62 + 1/61; 1: 1/61; 4: 1/62; 9: 1/63
        let found = reciprocal_rank(&[vec![1, 7, 9], vec![7, 4]], 3);
        assert_eq!(found.iter().map(|hit| hit.row).collect::<Vec<_>>(), [7, 1, 4]);
        assert!((found[0].score - (1.0 / 62.0 + 1.0 / 61.0)).abs() < 1e-7);
        assert!(reciprocal_rank(&[], 3).is_empty());
    }
}

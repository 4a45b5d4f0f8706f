//! The best k of many scores.
//!
//! Numerics:    equal scores are ordered by row number, so the answer does not depend on the order in which
//!              scores come, nor on how work was shared out
//! Cost:        O(1) a score on average: a buffer of 2 k is halved when full

use std::cmp::Ordering;

/// A vector that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Its row number.
    pub row: u32,
    /// How alike it is, the more the better.
    pub score: f32,
}

impl Hit {
    /// The better one first.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.row.cmp(&other.row))
    }
}

/// Collects hits and keeps the best.
pub(crate) struct Top {
    k: usize,
    hits: Vec<Hit>,
    /// The worst score that can still be among the best.
    bound: f32,
}

impl Top {
    pub fn new(k: usize) -> Self {
        Self { k, hits: Vec::new(), bound: if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY } }
    }

    /// Scores below it need not be offered.
    #[inline(always)]
    pub fn bound(&self) -> f32 {
        self.bound
    }

    pub fn offer(&mut self, row: u32, score: f32) {
        if self.k == 0 || score < self.bound {
            return;
        }
        // 0 and -0 are one score.
        self.hits.push(Hit { row, score: score + 0.0 });
        if self.hits.len() >= (2 * self.k).max(32) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.hits.len() > self.k {
            self.hits.select_nth_unstable_by(self.k - 1, Hit::order);
            self.hits.truncate(self.k);
        }
        if self.hits.len() == self.k {
            self.bound = self.hits.iter().map(|hit| hit.score).fold(f32::INFINITY, f32::min);
        }
    }

    pub fn merge(&mut self, other: Self) {
        other.hits.into_iter().for_each(|hit| self.offer(hit.row, hit.score));
    }

    /// The best, the best first.
    pub fn into_hits(mut self) -> Vec<Hit> {
        if self.k > 0 {
            self.cut();
        }
        self.hits.sort_unstable_by(Hit::order);
        self.hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_stay_in_any_order_and_ties_go_by_row() {
        let scores: Vec<f32> = (0..500u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as f32).collect();
        for k in [0, 1, 3, 40, 600] {
            let mut want: Vec<Hit> =
                scores.iter().enumerate().map(|(i, &score)| Hit { row: i as u32, score }).collect();
            want.sort_by(Hit::order);
            want.truncate(k);
            let mut forward = Top::new(k);
            scores.iter().enumerate().for_each(|(i, &s)| forward.offer(i as u32, s));
            let (mut a, mut b) = (Top::new(k), Top::new(k));
            for (i, &s) in scores.iter().enumerate().rev() {
                if i % 3 == 0 { a.offer(i as u32, s) } else { b.offer(i as u32, s) }
            }
            a.merge(b);
            assert_eq!(forward.into_hits(), want);
            assert_eq!(a.into_hits(), want);
        }
    }

    #[test]
    fn both_zeros_are_one_score() {
        let mut top = Top::new(2);
        top.offer(5, 0.0);
        top.offer(1, -0.0);
        assert_eq!(top.into_hits().iter().map(|hit| hit.row).collect::<Vec<_>>(), [1, 5]);
    }
}

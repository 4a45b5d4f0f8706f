//! A running `log(1 + sum e^x)`: the implicit score 0 is in from the start.

use super::product::LANE;
use crate::{Real, real};

/// Scores of one start, and what their type adds to them.
#[derive(Clone, Copy)]
pub struct Row<'a, T> {
    /// Inner products, whole lanes.
    pub scores: &'a [T],
    /// Added to all.
    pub start: T,
    /// Added to each.
    pub ends: &'a [T],
}

/// `log(1 + sum e^x)` of the numbers pushed so far: `sum` = the sum of `e^(x - max)`, and `max >= 0`
/// because of the 1.
#[derive(Clone, Copy, Default)]
pub struct LogSumExp {
    max: f64,
    sum: f64,
}

impl LogSumExp {
    #[inline(always)]
    fn raise(&mut self, max: f64) {
        if max > self.max {
            self.sum *= (self.max - max).exp();
            self.max = max;
        }
    }

    #[inline(always)]
    pub fn push(&mut self, x: f64) {
        self.raise(x);
        self.sum += (x - self.max).exp();
    }

    /// Adds what other numbers pushed elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.raise(other.max);
        self.sum += other.sum * (other.max - self.max).exp();
    }

    /// Pushes the numbers of `rows`, each a whole number of lanes with something to add to all of them
    /// and to every column; -inf counts nothing. The rows are read twice.
    #[inline(always)]
    pub fn push_rows<'a, T: Real>(&mut self, rows: impl Iterator<Item = Row<'a, T>> + Clone) {
        let mut top = [T::NEG_INFINITY; LANE];
        for Row { scores, start, ends } in rows.clone() {
            for (c, e) in scores.chunks_exact(LANE).zip(ends.chunks_exact(LANE)) {
                for i in 0..LANE {
                    let x = c[i] + (start + e[i]);
                    top[i] = if x > top[i] { x } else { top[i] };
                }
            }
        }
        self.raise(real::max(&top).to_f64());
        let max = T::from_f64(self.max);
        let mut lanes = [T::ZERO; LANE];
        for Row { scores, start, ends } in rows {
            for (c, e) in scores.chunks_exact(LANE).zip(ends.chunks_exact(LANE)) {
                for i in 0..LANE {
                    lanes[i] += (c[i] + (start + e[i]) - max).exp();
                }
            }
        }
        self.sum += real::sum(&lanes).to_f64();
    }

    pub fn value(&self) -> f64 {
        // With max = 0 this is ln(1 + sum) without losing a small sum.
        self.max + ((-self.max).exp_m1() + self.sum).ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sum_exp_of_nothing_is_zero_and_keeps_small_sums() {
        assert_eq!(LogSumExp::default().value(), 0.0);
        let mut small = LogSumExp::default();
        small.push(-50.0);
        assert_eq!(small.value(), (-50f64).exp());
        let mut large = LogSumExp::default();
        let mut scores = [f32::NEG_INFINITY; LANE];
        scores[..3].copy_from_slice(&[1e4 - 5.0, -1e4, 1e4 - 5.0]);
        let rows = [Row { scores: &scores, start: 2.0, ends: &[3.0; LANE] }];
        large.push_rows(rows.into_iter());
        let mut other = LogSumExp::default();
        other.push(-3.0);
        large.merge(other);
        assert!((large.value() - (1e4 + 2f64.ln())).abs() < 1e-9);
    }
}

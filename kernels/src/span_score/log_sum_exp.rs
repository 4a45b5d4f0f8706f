//! A running `log(1 + sum e^x)`: the implicit score 0 is in from the start.

use crate::{Real, real};

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

    #[inline(always)]
    pub fn push_row<T: Real>(&mut self, xs: &[T]) {
        self.raise(real::max(xs).to_f64());
        let max = T::from_f64(self.max);
        let mut lanes = [T::ZERO; 16];
        let chunks = xs.chunks_exact(16);
        for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
            *lane = (x - max).exp();
        }
        for c in chunks {
            for i in 0..16 {
                lanes[i] += (c[i] - max).exp();
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
        large.push_row(&[1e4f32, -1e4, 1e4]);
        large.push(-3.0);
        assert!((large.value() - (1e4 + 2f64.ln())).abs() < 1e-9);
    }
}

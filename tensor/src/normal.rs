//! The standard normal distribution of one number.
//! Definition:  density e^(-x^2 / 2) / sqrt(2 pi), distribution its integral, quantile the inverse
//! Numerics:    the quantile by one rational approximation and one step of Halley: about 1e-15

use bert4rs_kernels::Real;

/// The density at `x`.
pub fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The probability of less than `x`.
pub fn distribution(x: f64) -> f64 {
    0.5 + 0.5 * Real::erf(x * std::f64::consts::FRAC_1_SQRT_2)
}

/// The number below which the probability is `p`, for `0 < p < 1`.
pub fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    // Abramowitz and Stegun, 26.2.23: within 4.5e-4, which Halley's step cubes.
    let t = (-2.0 * p.ln()).sqrt();
    let top = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let bottom = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let mut x = top / bottom - t;
    for _ in 0..2 {
        let u = (distribution(x) - p) / density(x);
        x -= u / (1.0 + 0.5 * x * u);
    }
    x
}

/// The number with probability `u` below it, for a standard normal that is cut to `from..to`.
pub fn truncated_quantile(u: f64, from: f64, to: f64) -> f64 {
    let (low, high) = (distribution(from), distribution(to));
    quantile(low + u * (high - low)).clamp(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_the_inverse() {
        for p in [1e-6, 0.02275, 0.1, 0.3, 0.5, 0.8, 0.97, 0.999] {
            assert!((distribution(quantile(p)) - p).abs() < 1e-14, "{p}");
        }
        assert!((quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
        assert_eq!((truncated_quantile(0.0, -2.0, 2.0), truncated_quantile(1.0, -2.0, 2.0)), (-2.0, 2.0));
    }
}

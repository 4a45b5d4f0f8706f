//! Sines and cosines of a position: one vector for each.
//! Definition:  channel 2 i: sin(p 10000^(-2 i / D)), channel 2 i + 1: cos of the same angle
//! Shapes:      positions [N] -> [N, D]
//! Numerics:    angles in f64
//! Reference:   Vaswani et al., Attention is all you need, 2017.

use bert4rs_tensor::{DType, Tensor};

use crate::Result;

/// The vectors of these positions.
pub fn sinusoids(positions: &[usize], width: usize, dtype: DType) -> Result<Tensor> {
    let value = |n: usize| {
        let (position, channel) = (positions[n / width], n % width);
        let angle = position as f64 * 10_000f64.powf(-((channel / 2 * 2) as f64) / width as f64);
        if channel % 2 == 0 { angle.sin() } else { angle.cos() }
    };
    let values: Vec<f64> = (0..positions.len() * width).map(value).collect();
    Ok(Tensor::new(values, &[positions.len(), width])?.cast(dtype)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_stand_in_even_channels_and_turn_slower_and_slower() {
        let x = sinusoids(&[0, 3], 4, DType::F64).unwrap().to_f64_vec();
        assert_eq!(x[..4], [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(x[4..6], [3f64.sin(), 3f64.cos()]);
        assert!((x[6] - 0.03f64.sin()).abs() < 1e-15);
    }
}

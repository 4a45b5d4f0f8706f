//! Rows in 8 bits.
//!
//! Definition:  scale = max |x| / 127; code = 128 + round(x / scale)
//! Shapes:      x [N, width] -> codes [N, stride], scales [N]; codes beyond the width are 128, that is 0
//! Numerics:    ties to even; a row whose largest number is below 1e-30 counts as 0; one with a NaN
//!              or an infinity has such a scale, so that it cannot pass for a result

use crate::cpu::simd;
use crate::parallel::rows2;

/// The code of 0.
pub(super) const ZERO: i32 = 128;
/// Adding it rounds to an integer, which is then in the low bits (1.5 * 2^23), plus the code of 0.
const ROUND: f32 = 12_582_912.0 + ZERO as f32;

/// Sets the codes and the scale of every row.
pub fn quantise(x: &[f32], width: usize, codes: &mut [u8], stride: usize, scales: &mut [f32]) {
    assert!(stride >= width && stride > 0, "quantise: rows of {width} do not fit into {stride}");
    assert_eq!(x.len(), scales.len() * width, "quantise: one scale for every row");
    assert_eq!(codes.len(), scales.len() * stride, "quantise: codes have a wrong length");
    rows2((codes, stride), (scales, 1), 2 * width, |first, codes, scales| {
        quantise_here(&x[first * width..][..scales.len() * width], width, codes, stride, scales);
    });
}

/// As [`quantise`], on this thread.
pub(super) fn quantise_here(x: &[f32], width: usize, codes: &mut [u8], stride: usize, scales: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (i, (codes, scale)) in codes.chunks_exact_mut(stride).zip(scales).enumerate() {
                let x = &x[i * width..][..width];
                // As integers, absolute values are in order, infinities and NaN at the top.
                let largest = x.iter().fold(0, |m, x| m.max(x.to_bits() & 0x7fff_ffff));
                let largest = f32::from_bits(largest);
                let inverse = if largest < 1e-30 { 0.0 } else { 127.0 / largest };
                let (codes, rest) = codes.split_at_mut(width);
                for (code, &x) in codes.iter_mut().zip(x) {
                    *code = (x * inverse + ROUND).to_bits() as u8;
                }
                rest.fill(ZERO as u8);
                *scale = if largest < 1e-30 { 0.0 } else { largest / 127.0 };
            }
        },
    );
}

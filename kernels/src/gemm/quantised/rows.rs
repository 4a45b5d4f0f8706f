//! Rows in 8 bits, each with its own scale and zero.
//!
//! Definition:  low = min(0, min x), high = max(0, max x), scale = (high - low) / 254,
//!              zero = round(-low / scale), code = zero + round(x / scale)
//! Shapes:      x [N, width] -> codes [N, stride], rows [N]; codes beyond the width are those of 0
//! Numerics:    ties to even; 0 is kept exactly. One step less than a byte has, because `zero` and
//!              a code may both be rounded up. A row that spans less than 1e-30 counts as 0; one with
//!              a NaN or an infinity has such a scale, so that it cannot pass for a result

use crate::cpu::simd;
use crate::parallel::rows2;

/// Steps between the least and the largest number of a row.
const STEPS: f32 = 254.0;
/// Adding it rounds to an integer, which is then in the low bits (1.5 * 2^23).
const ROUND: f32 = 12_582_912.0;

/// What the codes of a row mean: `x = scale (code - zero)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// Of one step.
    pub scale: f32,
    /// The code of 0, `0 ..= 254`.
    pub zero: i32,
}

/// Sets the codes of every row, and what they mean.
pub(super) fn quantise(x: &[f32], [width, stride]: [usize; 2], codes: &mut [u8], rows: &mut [Row]) {
    assert!(stride >= width && stride > 0, "quantise: rows of {width} do not fit into {stride}");
    assert_eq!(x.len(), rows.len() * width, "quantise: one scale for every row");
    assert_eq!(codes.len(), rows.len() * stride, "quantise: codes have a wrong length");
    rows2((codes, stride), (rows, 1), 2 * width, |first, codes, rows| {
        quantise_here(&x[first * width..][..rows.len() * width], [width, stride], codes, rows);
    });
}

/// As [`quantise`], on this thread.
pub(super) fn quantise_here(x: &[f32], [width, stride]: [usize; 2], codes: &mut [u8], rows: &mut [Row]) {
    simd(
        #[inline(always)]
        || {
            for (i, (codes, row)) in codes.chunks_exact_mut(stride).zip(rows).enumerate() {
                let (codes, rest) = codes.split_at_mut(width);
                *row = quantise_row(&x[i * width..][..width], codes);
                rest.fill(row.zero as u8);
            }
        },
    );
}

#[inline(always)]
fn quantise_row(x: &[f32], codes: &mut [u8]) -> Row {
    let (low, high) = ends(x);
    let span = high - low; // infinite or NaN when a number is
    if span < 1e-30 {
        codes.fill(0);
        return Row::default();
    }
    let inverse = STEPS / span;
    let zero = (-low * inverse).round_ties_even();
    let round = ROUND + zero;
    for (code, &x) in codes.iter_mut().zip(x) {
        *code = (x * inverse + round).to_bits() as u8;
    }
    Row { scale: span / STEPS, zero: zero as i32 }
}

/// The least and the largest of some numbers and 0.
#[inline(always)]
fn ends(x: &[f32]) -> (f32, f32) {
    // As integers with a sign, numbers from 0 on are in order and above all others; as integers
    // without, those below 0 are, the least at the top. Infinities lie beyond, and NaN beyond them.
    let (mut low, mut high) = ((-0.0f32).to_bits(), 0i32);
    for x in x {
        low = low.max(x.to_bits());
        high = high.max(x.to_bits() as i32);
    }
    (f32::from_bits(low), f32::from_bits(high as u32))
}

/// Weights: codes `-127 ..= 127` and the scale of a row whose 0 is in the middle.
pub(super) fn symmetric(weight: &[f32], codes: &mut [i8]) -> f32 {
    // As integers, absolute values are in order, infinities and NaN at the top.
    let largest = f32::from_bits(weight.iter().fold(0, |m, w| m.max(w.to_bits() & 0x7fff_ffff)));
    let empty = largest < 1e-30;
    let inverse = if empty { 0.0 } else { 127.0 / largest };
    for (code, &w) in codes.iter_mut().zip(weight) {
        *code = (w * inverse + ROUND).to_bits() as i8;
    }
    if empty { 0.0 } else { largest / 127.0 }
}

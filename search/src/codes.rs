//! Vectors in fewer bytes: 8 bits a number, or one.
//!
//! Definition:  8 bits: x_i = scale * q_i, scale = max |x_i| / 127, q_i rounded to -127 .. 127
//!              one bit: whether x_i > 0; alike is 1 - 2 h / D for h bits that differ
//! Shapes:      rows [N, D] -> numbers [N, D] and scales [N], or codes [N, ceil(D / 64)]
//! Numerics:    8 bits: a number is off by half a scale at most; a vector of zeros has scale 0
//! Reference:   symmetric quantisation per vector; signs of a random rotation keep angles (LSH)

/// Bits of a word.
const WORD: usize = 64;

/// Rounds a vector to 8 bits; gives its scale.
pub fn to_int8(x: &[f32], out: &mut [i8]) -> f32 {
    let largest = x.iter().fold(0f32, |most, x| most.max(x.abs()));
    if largest == 0.0 {
        out.fill(0);
        return 0.0;
    }
    let scale = largest / 127.0;
    // `scale` may be too small to divide by, `largest` is not.
    out.iter_mut().zip(x).for_each(|(q, x)| *q = (x / largest * 127.0).round_ties_even() as i8);
    scale
}

/// Words of a code.
pub fn words(width: usize) -> usize {
    width.div_ceil(WORD)
}

/// The signs of a vector, number `i` in bit `i % 64` of word `i / 64`.
pub fn to_bits(x: &[f32], out: &mut [u64]) {
    for (word, x) in out.iter_mut().zip(x.chunks(WORD)) {
        *word = x.iter().enumerate().fold(0, |word, (i, &x)| word | u64::from(x > 0.0) << i);
    }
}

/// Scales a vector to length 1; zeros stay.
pub fn normalize(x: &mut [f32]) {
    let length = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        x.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_are_within_half_a_step() {
        let x = [0.5f32, -1.0, 0.0, 0.3, 0.004];
        let mut q = [0i8; 5];
        let scale = to_int8(&x, &mut q);
        assert_eq!((q[0], q[1], q[2]), (64, -127, 0));
        assert!(x.iter().zip(q).all(|(x, q)| (x - scale * f32::from(q)).abs() <= 0.5001 * scale));
        assert_eq!((to_int8(&[0.0; 2], &mut q[..2]), q[0]), (0.0, 0));
        let scale = to_int8(&[1e-44, -1e-44], &mut q[..2]);
        assert!(scale.is_finite() && q[..2] == [127, -127]);
    }

    #[test]
    fn signs_become_bits() {
        let mut x = vec![-1.0f32; 70];
        (x[0], x[3], x[64]) = (0.1, 2.0, 1e-30);
        let mut code = [9; 2];
        to_bits(&x, &mut code);
        assert_eq!(code, [0b1001, 1]);
        assert_eq!((words(64), words(65), words(0)), (1, 2, 0));
    }

    #[test]
    fn lengths_become_one() {
        let mut x = [3.0, -4.0];
        normalize(&mut x);
        assert_eq!(x, [0.6, -0.8]);
        normalize(&mut [0.0; 2]);
    }
}

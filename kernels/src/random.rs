//! Counter-based random numbers: the value at a position depends on (seed, position) alone.
//!
//! Definition:  Philox4x32-10; block `i` of stream `seed` gives four 32-bit words
//! Use:         dropout masks are recomputed in the backward pass instead of being stored, and do
//!              not depend on threads
//! Reference:   Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011

/// Four random words for counter `block` of stream `seed`.
#[inline(always)]
pub fn philox(seed: u64, block: u64) -> [u32; 4] {
    const M0: u64 = 0xD251_1F53;
    const M1: u64 = 0xCD9E_8D57;
    let mut c = [block as u32, (block >> 32) as u32, 0, 0];
    let mut k = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let (p0, p1) = (M0 * u64::from(c[0]), M1 * u64::from(c[2]));
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// [`philox`] of 16 counters from `block` on, counter by counter in lanes, so that it vectorises.
#[inline(always)]
fn philox_lanes(seed: u64, block: u64) -> [[u32; 16]; 4] {
    const M0: u64 = 0xD251_1F53;
    const M1: u64 = 0xCD9E_8D57;
    let mut c = [[0u32; 16]; 4];
    for lane in 0..16 {
        let at = block.wrapping_add(lane as u64);
        (c[0][lane], c[1][lane]) = (at as u32, (at >> 32) as u32);
    }
    let mut k = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let mut next = [[0u32; 16]; 4];
        for lane in 0..16 {
            let (p0, p1) = (M0 * u64::from(c[0][lane]), M1 * u64::from(c[2][lane]));
            next[0][lane] = (p1 >> 32) as u32 ^ c[1][lane] ^ k[0];
            next[1][lane] = p1 as u32;
            next[2][lane] = (p0 >> 32) as u32 ^ c[3][lane] ^ k[1];
            next[3][lane] = p0 as u32;
        }
        c = next;
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// A dropout mask as a rule: element `i` is kept when its random word is at least the threshold.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Stream of this use.
    pub seed: u64,
    threshold: u32,
    scale: f64,
}

impl Dropout {
    /// Drops with probability `rate` in `[0, 1)`; kept elements are multiplied by `1 / (1 - rate)`.
    pub fn new(rate: f64, seed: u64) -> Self {
        assert!((0.0..1.0).contains(&rate), "dropout rate {rate} is outside [0, 1)");
        Self { seed, threshold: (rate * 4_294_967_296.0) as u32, scale: 1.0 / (1.0 - rate) }
    }

    /// The factor of kept elements.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The factors (0 or `scale`) of elements `first..first + out.len()`.
    #[inline(always)]
    pub fn factors<T: crate::Real>(&self, first: u64, out: &mut [T]) {
        let scale = T::from_f64(self.scale);
        let mut i = 0;
        while i < out.len() {
            let at = first + i as u64;
            if at.is_multiple_of(4) && out.len() - i >= 64 {
                let words = philox_lanes(self.seed, at / 4);
                for (lane, out) in out[i..i + 64].chunks_exact_mut(4).enumerate() {
                    for (out, words) in out.iter_mut().zip(&words) {
                        *out = if words[lane] >= self.threshold { scale } else { T::ZERO };
                    }
                }
                i += 64;
                continue;
            }
            let words = philox(self.seed, at / 4);
            for w in &words[(at % 4) as usize..] {
                if i < out.len() {
                    out[i] = if *w >= self.threshold { scale } else { T::ZERO };
                    i += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_of_the_reference_implementation() {
        assert_eq!(philox(0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    }

    #[test]
    fn lanes_are_the_single_counters_also_past_32_bits() {
        for block in [0, 5, u64::from(u32::MAX) - 7] {
            let lanes = philox_lanes(0x1234_5678_9abc, block);
            for lane in 0..16 {
                assert_eq!(
                    [0, 1, 2, 3].map(|i| lanes[i][lane]),
                    philox(0x1234_5678_9abc, block + lane as u64)
                );
            }
        }
    }

    #[test]
    fn factors_do_not_depend_on_where_a_block_starts() {
        let d = Dropout::new(0.3, 7);
        let mut all = vec![0f32; 1000];
        d.factors(0, &mut all);
        let mut part = vec![0f32; 500];
        d.factors(301, &mut part);
        assert_eq!(&all[301..801], &part[..]);
        let kept = all.iter().filter(|x| **x > 0.0).count();
        assert!((620..780).contains(&kept), "kept {kept} of 1000 at rate 0.3");
    }
}

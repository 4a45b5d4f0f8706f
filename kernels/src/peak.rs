//! What this machine computes at most: multiply-adds in registers only, on every thread.
//!
//! Definition:  operations a second; a multiply-add counts as two
//! Numerics:    the best of several runs, since others may use the machine

use std::time::Instant;

/// f32 operations a second with AVX-512 on the threads of the current pool; none without AVX-512.
pub fn f32_operations() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512F was detected.
        return Some(best(12.0 * 32.0, |rounds| unsafe { x86::multiply_add(rounds) }));
    }
    None
}

/// 8-bit operations a second with VNNI on the threads of the current pool; none without it.
pub fn int8_operations() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vnni") {
        // SAFETY: AVX-512F and VNNI were detected.
        return Some(best(12.0 * 128.0, |rounds| unsafe { x86::dot_product(rounds) }));
    }
    None
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
fn best<R>(operations: f64, work: impl Fn(usize) -> R + Sync) -> f64 {
    const ROUNDS: usize = 200_000;
    let rate = |_| {
        let start = Instant::now();
        let threads = rayon::broadcast(|_| {
            std::hint::black_box(work(ROUNDS));
        });
        operations * (ROUNDS * threads.len()) as f64 / start.elapsed().as_secs_f64()
    };
    (0..20).map(rate).fold(0.0, f64::max)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub(super) fn multiply_add(rounds: usize) -> f32 {
        let mut sums = [_mm512_set1_ps(1.0); 12];
        let (x, y) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn dot_product(rounds: usize) -> i32 {
        let mut sums = [_mm512_set1_epi32(1); 12];
        let (x, y) = (_mm512_set1_epi32(black_box(0x0101_0101)), _mm512_set1_epi32(black_box(0x01ff_01ff)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, y);
            }
        }
        sums.into_iter().fold(0, |all, sum| all.wrapping_add(_mm512_reduce_add_epi32(sum)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_are_faster_where_both_exist() {
        if let (Some(f32), Some(int8)) = (f32_operations(), int8_operations()) {
            assert!(f32 > 1e9 && int8 > 2.0 * f32, "{f32:e} {int8:e}");
        }
    }
}

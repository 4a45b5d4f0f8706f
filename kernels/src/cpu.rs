//! Which instructions this machine has, chosen once at run time.
//!
//! Most kernels are plain loops inside `simd(|| ..)`: the closure is compiled once per instruction
//! set (AVX-512, AVX2 + FMA, baseline) and the best version runs. Only the matrix product has
//! hand-written instructions.

use std::sync::OnceLock;

/// A family of code paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Baseline code of the target.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
}

impl Path {
    /// The best path of this machine; always `Portable` with the feature `portable`.
    pub fn detect() -> Self {
        static PATH: OnceLock<Path> = OnceLock::new();
        *PATH.get_or_init(|| {
            if cfg!(feature = "portable") {
                return Path::Portable;
            }
            #[cfg(target_arch = "x86_64")]
            {
                if pulp::x86::V4::try_new().is_some() {
                    return Path::Avx512;
                }
                if pulp::x86::V3::try_new().is_some() {
                    return Path::Avx2;
                }
            }
            Path::Portable
        })
    }
}

/// Runs `work` compiled for the best instruction set.
///
/// `work` and everything it calls must be `#[inline(always)]`, or it stays baseline code.
#[inline(always)]
pub fn simd<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    match Path::detect() {
        Path::Avx512 => {
            if let Some(v4) = pulp::x86::V4::try_new() {
                return v4.vectorize(work);
            }
        }
        Path::Avx2 => {
            if let Some(v3) = pulp::x86::V3::try_new() {
                return v3.vectorize(work);
            }
        }
        Path::Portable => {}
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_computes_the_same() {
        let xs: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let mut ys = vec![0.0; 100];
        simd(
            #[inline(always)]
            || {
                for (y, x) in ys.iter_mut().zip(&xs) {
                    *y = 2.0 * x + 1.0;
                }
            },
        );
        assert!(ys.iter().enumerate().all(|(i, &y)| y == 2.0 * i as f32 + 1.0));
    }

    #[test]
    #[cfg(feature = "portable")]
    fn portable_feature_forces_the_portable_path() {
        assert_eq!(Path::detect(), Path::Portable);
    }
}

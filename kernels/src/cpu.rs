//! Which instructions this machine has, chosen once at run time.
//!
//! Most kernels are plain loops inside `simd(|| ..)`: the closure is compiled once per instruction
//! set (AVX-512, AVX2 + FMA, baseline) and the best version runs. Only the matrix product has
//! hand-written instructions.

use std::sync::OnceLock;

/// A family of code paths, the better one the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// Baseline code of the target.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
}

impl Path {
    /// The path that everything runs on: the best of this machine, or the one that the environment
    /// variable `BERT4RS_CPU` names (`portable`, `avx2`, `avx512`).
    ///
    /// # Panics
    /// When the variable names something else, or what this machine does not have.
    pub fn detect() -> Self {
        static PATH: OnceLock<Path> = OnceLock::new();
        *PATH.get_or_init(|| {
            let best = Self::best();
            let Ok(name) = std::env::var("BERT4RS_CPU") else { return best };
            let wanted = match name.as_str() {
                "" => return best,
                "portable" => Path::Portable,
                "avx2" => Path::Avx2,
                "avx512" => Path::Avx512,
                _ => panic!("BERT4RS_CPU={name}: expected portable, avx2 or avx512"),
            };
            assert!(wanted <= best, "BERT4RS_CPU={name}: this machine has {best:?} at most; unset it");
            wanted
        })
    }

    /// The best path of this machine.
    fn best() -> Self {
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
    }
}

/// Whether products of 8-bit numbers run in hardware (VNNI) on the path of this process.
pub fn has_int8_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    if Path::detect() == Path::Avx512 {
        return std::is_x86_feature_detected!("avx512vnni");
    }
    false
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
    fn a_named_path_is_the_path() {
        let named = std::env::var("BERT4RS_CPU").unwrap_or_default();
        let path = format!("{:?}", Path::detect()).to_lowercase();
        assert!(named.is_empty() || named == path, "{named} was asked for, {path} runs");
    }
}

//! SIMD kernels on plain slices, forward and backward.
//!
//! Rules of this crate: slices and sizes only (no tensors, no errors: a wrong length is a bug of the
//! caller and panics); row-major; `f32` is fast, `f64` exact and used by gradient checks; work is
//! split over rows, sequences or tiles and never over a sum, so results do not depend on threads.
//! Axis letters: `T` packed tokens, `B` sequences, `L` length, `D` width, `H` heads, `K` head width,
//! `V` vocabulary, `S` span types, `N` rows. Sequence `b` owns tokens `offsets[b]..offsets[b + 1]`.

pub mod activation;
pub mod attention;
pub mod cpu;
pub mod crf;
pub mod cross_entropy;
pub mod embedding;
pub mod fourier;
pub mod gemm;
pub mod gru;
pub mod lstm;
pub mod mapped_file;
pub mod nearest;
pub mod norm;
pub mod optimizer;
pub mod parallel;
pub mod peak;
pub mod random;
pub mod real;
pub mod rotary;
pub mod softmax;
pub mod span_score;
pub mod unfold;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use real::Real;

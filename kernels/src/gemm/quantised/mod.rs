//! Products with weights stored in fewer bits, for inference.
//!
//! Definition:  y = activation(x W'^T + bias) + residual, W' = W in 8 bits or in bf16
//! Shapes:      x [N, inputs] f32, W [outputs, inputs] f32, y [N, outputs] f32
//! Numerics:    int8: exact integer sums between two roundings, see `int8.rs`; bf16: the weights are
//!              rounded to 8 significant bits and sums run in f32, see `bf16.rs`. A row of the
//!              result depends neither on the other rows nor on the threads, bit for bit
//! Cost:        O(N inputs outputs); int8 reads a quarter of the memory of f32 and bf16 a half

mod bf16;
#[cfg(target_arch = "x86_64")]
mod bf16_avx512;
mod int8;
#[cfg(target_arch = "x86_64")]
mod int8_avx512;
#[cfg(target_arch = "x86_64")]
mod parts;
mod rows;

pub use bf16::{Bf16, linear_bf16};
pub use int8::{Int8, linear_int8};

#[cfg(test)]
mod tests;

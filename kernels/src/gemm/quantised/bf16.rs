//! The linear layer with weights in bf16.
//!
//! Definition:  y = activation(x W'^T + bias) + residual, W' = W rounded to 8 significant bits
//! Numerics:    ties to even; activations and sums are f32, so only the weights lose digits
//! Cost:        half the memory of f32: what counts when one text meets a large model. Weights are
//!              widened on the way into the f32 micro-kernel, so many rows run no faster than f32;
//!              machines with bf16 products (avx512_bf16, AMX) could, that path is not written

#[cfg(target_arch = "x86_64")]
use crate::cpu::Path;
#[cfg(target_arch = "x86_64")]
use crate::gemm::quantised::bf16_avx512;
use crate::gemm::{Epilogue, linear};

/// Weights `[outputs, inputs]` in bf16.
pub struct Bf16 {
    outputs: usize,
    inputs: usize,
    store: Store,
}

enum Store {
    /// As the micro-kernel reads them.
    #[cfg(target_arch = "x86_64")]
    Panels(Vec<bf16_avx512::Line>),
    /// `[outputs, inputs]`, for machines without it.
    Rows(Vec<u16>),
}

impl Bf16 {
    /// Rounds `weight [outputs, inputs]`.
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "bf16: weight has a wrong length");
        #[cfg(target_arch = "x86_64")]
        if Path::detect() == Path::Avx512 {
            let panels = bf16_avx512::panels(weight, outputs, inputs);
            return Self { outputs, inputs, store: Store::Panels(panels) };
        }
        Self { outputs, inputs, store: Store::Rows(weight.iter().map(|&w| round(w)).collect()) }
    }

    /// Rows of the weight.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the weight.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        match &self.store {
            #[cfg(target_arch = "x86_64")]
            Store::Panels(lines) => 64 * lines.len(),
            Store::Rows(rows) => 2 * rows.len(),
        }
    }
}

/// The upper half of the nearest number whose lower half is 0.
pub(super) fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40; // a carry could make it infinite
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

fn widen(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// `y [rows, outputs] = activation(x [rows, inputs] W'^T + bias) + residual`.
pub fn linear_bf16(rows: usize, x: &[f32], weight: &Bf16, epilogue: Epilogue<f32>, y: &mut [f32]) {
    let (inputs, outputs) = (weight.inputs, weight.outputs);
    assert_eq!(x.len(), rows * inputs, "bf16: input has a wrong length");
    assert_eq!(y.len(), rows * outputs, "bf16: output has a wrong length");
    match &weight.store {
        #[cfg(target_arch = "x86_64")]
        Store::Panels(lines) => {
            bf16_avx512::product([rows, inputs, outputs], x, lines, epilogue, y);
        }
        Store::Rows(codes) => {
            let weight: Vec<f32> = codes.iter().map(|&w| widen(w)).collect();
            linear(rows, inputs, outputs, x, &weight, epilogue, y);
        }
    }
}

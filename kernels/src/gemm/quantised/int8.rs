//! The linear layer in 8 bits: weights per output, activations per row.
//!
//! Definition:  w = t_o W, |W| <= 127; x = s_r (X - z_r), X in 0 ..= 255, z_r the code of 0;
//!              y = (sum_i X_i W_i - z_r sum_i W_i) s_r t_o + bias, then activation and residual
//! Numerics:    integer sums are exact (at most 66,000 inputs), so all paths agree in them; scales,
//!              bias, activation and residual are f32. A zero of its own gives every row all codes:
//!              what leaves a GELU is hardly negative, and outliers lie on one side
//! Cost:        AVX-512 with VNNI: 4 multiply-adds where f32 has one; elsewhere plain loops

use super::rows::{Row, quantise_here, symmetric};
use crate::activation::Activation;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Path;
use crate::cpu::simd;
use crate::gemm::Epilogue;
#[cfg(target_arch = "x86_64")]
use crate::gemm::quantised::int8_avx512;
use crate::parallel;

/// Weights `[outputs, inputs]` in 8 bits, with a scale for every output.
pub struct Int8 {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// `[outputs]`
    pub(super) scales: Vec<f32>,
    /// `sum_i W_i`: what a code of 1 for 0 adds, to be taken off; `[outputs]`.
    pub(super) sums: Vec<i32>,
    pub(super) store: Store,
}

pub(super) enum Store {
    /// As the micro-kernel reads them.
    #[cfg(target_arch = "x86_64")]
    Panels(Vec<int8_avx512::Line>),
    /// `[outputs, inputs]`, for machines without it.
    Rows(Vec<i8>),
}

impl Int8 {
    /// Rounds `weight [outputs, inputs]`.
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "int8: weight has a wrong length");
        assert!(inputs <= 66_000, "int8: {inputs} inputs overflow a sum");
        let mut codes = vec![0i8; weight.len()];
        let (mut scales, mut sums) = (vec![0.0; outputs], vec![0; outputs]);
        let rows = codes.chunks_exact_mut(inputs.max(1)).zip(weight.chunks_exact(inputs.max(1)));
        for ((codes, row), (scale, sum)) in rows.zip(scales.iter_mut().zip(&mut sums)) {
            *scale = symmetric(row, codes);
            *sum = codes.iter().map(|&w| i32::from(w)).sum();
        }
        #[cfg(target_arch = "x86_64")]
        if has_vnni() {
            let store = Store::Panels(int8_avx512::panels(&codes, outputs, inputs));
            return Self { outputs, inputs, scales, sums, store };
        }
        Self { outputs, inputs, scales, sums, store: Store::Rows(codes) }
    }

    /// Rows of the weight.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the weight.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes of the weights and their scales.
    pub fn bytes(&self) -> usize {
        let codes = match &self.store {
            #[cfg(target_arch = "x86_64")]
            Store::Panels(lines) => 64 * lines.len(),
            Store::Rows(rows) => rows.len(),
        };
        codes + 8 * self.outputs
    }
}

#[cfg(target_arch = "x86_64")]
fn has_vnni() -> bool {
    Path::detect() == Path::Avx512 && std::is_x86_feature_detected!("avx512vnni")
}

/// `y [rows, outputs] = activation(x [rows, inputs] W'^T + bias) + residual`; nothing is kept for a
/// backward pass.
pub fn linear_int8(rows: usize, x: &[f32], weight: &Int8, epilogue: Epilogue<f32>, y: &mut [f32]) {
    let (inputs, outputs) = (weight.inputs, weight.outputs);
    assert_eq!(x.len(), rows * inputs, "int8: input has a wrong length");
    assert_eq!(y.len(), rows * outputs, "int8: output has a wrong length");
    let finish = Finish::new(&epilogue, rows, outputs);
    if y.is_empty() {
        return;
    }
    match &weight.store {
        #[cfg(target_arch = "x86_64")]
        Store::Panels(lines) => int8_avx512::product(rows, x, weight, lines, &finish, y),
        Store::Rows(weights) => plain(x, weight, weights, &finish, y),
    }
}

/// What follows the product.
pub(super) struct Finish<'a> {
    pub bias: Option<&'a [f32]>,
    pub activation: Option<Activation>,
    pub residual: Option<&'a [f32]>,
}

impl<'a> Finish<'a> {
    fn new(epilogue: &Epilogue<'a, f32>, rows: usize, outputs: usize) -> Self {
        let &Epilogue { bias, activation, residual, ref pre_activation } = epilogue;
        assert!(pre_activation.is_none(), "int8: nothing is kept for a backward pass");
        assert!(bias.is_none_or(|b| b.len() == outputs), "int8: bias has a wrong length");
        assert!(residual.is_none_or(|r| r.len() == rows * outputs), "int8: residual has a wrong length");
        Self { bias, activation, residual }
    }
}

/// Row by row, output by output.
fn plain(x: &[f32], weight: &Int8, weights: &[i8], finish: &Finish, y: &mut [f32]) {
    let (inputs, outputs) = (weight.inputs, weight.outputs);
    parallel::rows(y, outputs, outputs * inputs.max(1) / 4, |first, y| {
        let (mut codes, mut row) = (vec![0; inputs.max(1)], [Row::default()]);
        for (i, y) in y.chunks_exact_mut(outputs).enumerate() {
            let x = &x[(first + i) * inputs..][..inputs];
            quantise_here(x, [inputs, inputs.max(1)], &mut codes, &mut row);
            let [row] = row;
            let residual = finish.residual.map(|r| &r[(first + i) * outputs..][..outputs]);
            simd(
                #[inline(always)]
                || {
                    for (o, y) in y.iter_mut().enumerate() {
                        let sum = inner(&codes[..inputs], &weights[o * inputs..][..inputs]);
                        let sum = sum - row.zero * weight.sums[o];
                        *y = sum as f32 * (row.scale * weight.scales[o]);
                        *y += finish.bias.map_or(0.0, |b| b[o]);
                    }
                    if let Some(f) = finish.activation {
                        for y in y.iter_mut() {
                            *y = f.apply(*y);
                        }
                    }
                    for (y, r) in y.iter_mut().zip(residual.unwrap_or_default()) {
                        *y += r;
                    }
                },
            );
        }
    });
}

#[inline(always)]
fn inner(x: &[u8], w: &[i8]) -> i32 {
    x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum()
}

//! GFLOP/s of the matrix product for the shapes of BERT layers, beside the peak of the machine and
//! the `gemm` crate: `cargo run --release -p bert4rs-kernels --example gemm_rate -- [threads] [rows]`
//!
//! On a busy machine choose few rows: a run that fits a slice of the scheduler is not interrupted.

use bert4rs_kernels::activation::Activation;
use bert4rs_kernels::gemm::quantised::{Bf16, Int8, linear_bf16, linear_int8};
use bert4rs_kernels::gemm::{Epilogue, Packed, View, linear_packed, matmul};
use std::hint::black_box;
use std::time::Instant;

/// Best rate of several runs of `work`, in GFLOP/s.
fn rate(flops: f64, mut work: impl FnMut()) -> f64 {
    work();
    let runs = ((2e9 / flops) as usize).clamp(5, 300);
    let seconds = (0..runs).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    flops / seconds.fold(f64::INFINITY, f64::min) / 1e9
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_add(rounds: usize) -> f32 {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_set1_ps(1.0); 12];
    let (x, y) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
    for _ in 0..rounds {
        for i in 0..12 {
            sums[i] = _mm512_fmadd_ps(sums[i], x, y);
        }
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
}

/// Multiply-adds in registers only, on every thread.
fn peak() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        let threads = rayon::current_num_threads();
        return Some(rate((threads * 12 * 32 * 50_000) as f64, || {
            // SAFETY: AVX-512F was detected.
            rayon::broadcast(|_| black_box(unsafe { multiply_add(50_000) }));
        }));
    }
    None
}

fn report(name: &str, (m, n, k): (usize, usize, usize), work: impl FnMut()) {
    println!("{name:<22} {m:>5} x {n:>5} x {k:>5} {:>8.1}", rate(2.0 * (m * n * k) as f64, work));
}

fn main() {
    let argument =
        |i: usize, default| std::env::args().nth(i).and_then(|x| x.parse().ok()).unwrap_or(default);
    let (threads, rows) = (argument(1, 1), argument(2, 2048));
    if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global() {
        return eprintln!("no threads: {error}");
    }
    println!("{threads} threads, GFLOP/s; multiply-adds in registers: {:.1}", peak().unwrap_or(f64::NAN));
    for (outputs, inputs) in [(384, 384), (1536, 384), (768, 768), (768, 3072)] {
        let x = vec![0.5f32; rows * inputs];
        let w = vec![0.25f32; outputs * inputs];
        let mut y = vec![0.0f32; rows * outputs];
        let mut d_x = vec![0.0f32; rows * inputs];
        let mut d_w = vec![0.0f32; outputs * inputs];
        let packed = Packed::new(&w, outputs, inputs);
        report("x W^T, packed", (rows, outputs, inputs), || {
            linear_packed(rows, &x, &packed, Epilogue::default(), &mut y);
        });
        let (bf16, int8) = (Bf16::new(&w, outputs, inputs), Int8::new(&w, outputs, inputs));
        report("x W^T, bf16 weights", (rows, outputs, inputs), || {
            linear_bf16(rows, &x, &bf16, Epilogue::default(), &mut y);
        });
        report("x W^T, packed, GELU", (rows, outputs, inputs), || {
            let epilogue = Epilogue { activation: Some(Activation::Gelu), ..Epilogue::default() };
            linear_packed(rows, &x, &packed, epilogue, &mut y);
        });
        report("x W^T, int8", (rows, outputs, inputs), || {
            linear_int8(rows, &x, &int8, Epilogue::default(), &mut y);
        });
        report("x W^T, int8, GELU", (rows, outputs, inputs), || {
            let epilogue = Epilogue { activation: Some(Activation::Gelu), ..Epilogue::default() };
            linear_int8(rows, &x, &int8, epilogue, &mut y);
        });
        report("x W^T", (rows, outputs, inputs), || {
            let (a, b) = (View::row_major(&x, inputs), View::transposed(&w, inputs));
            matmul(rows, outputs, inputs, a, b, &mut y, false);
        });
        report("dX = dY W", (rows, inputs, outputs), || {
            let (a, b) = (View::row_major(&y, outputs), View::row_major(&w, inputs));
            matmul(rows, inputs, outputs, a, b, &mut d_x, false);
        });
        report("dW = dY^T X", (outputs, inputs, rows), || {
            let (a, b) = (View::transposed(&y, outputs), View::row_major(&x, inputs));
            matmul(outputs, inputs, rows, a, b, &mut d_w, false);
        });
        report("x W^T, gemm crate", (rows, outputs, inputs), || {
            // SAFETY: sizes and strides are those of the three vectors.
            unsafe {
                gemm::gemm(
                    rows,
                    outputs,
                    inputs,
                    y.as_mut_ptr(),
                    1,
                    outputs as isize,
                    false,
                    x.as_ptr(),
                    1,
                    inputs as isize,
                    w.as_ptr(),
                    inputs as isize,
                    1,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        });
        black_box((&y, &d_x, &d_w));
    }
}

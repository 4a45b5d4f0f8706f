use bert4rs_kernels::activation::{self, Activation};
use bert4rs_kernels::attention::{self, Attention, Mask};
use bert4rs_kernels::gemm::{Epilogue, linear};
use bert4rs_kernels::{norm, optimizer};
use std::time::Instant;
fn t(name: &str, mut f: impl FnMut()) {
    if std::env::args().nth(2).is_some_and(|o| !name.contains(&o)) {
        return;
    }
    f();
    let mut best = f64::MAX;
    for _ in 0..40 {
        let s = Instant::now();
        f();
        best = best.min(s.elapsed().as_secs_f64());
    }
    println!("{name:30} {:8.3} ms", best * 1e3);
}
fn main() {
    let threads = std::env::args().nth(1).and_then(|x| x.parse().ok()).unwrap_or(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let (rows, k, n) = (2048, 384, 1536);
    let x: Vec<f32> = (0..rows * k).map(|i| (i as f32 * 0.37).sin()).collect();
    let w: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.11).sin() * 0.1).collect();
    let b = vec![0.1f32; n];
    let (mut y, mut pre) = (vec![0f32; rows * n], vec![0f32; rows * n]);
    t("linear", || linear(rows, k, n, &x, &w, Epilogue::default(), &mut y));
    t("linear bias", || {
        linear(rows, k, n, &x, &w, Epilogue { bias: Some(&b), ..Default::default() }, &mut y)
    });
    t("linear bias gelu", || {
        linear(
            rows,
            k,
            n,
            &x,
            &w,
            Epilogue { bias: Some(&b), activation: Some(Activation::Gelu), ..Default::default() },
            &mut y,
        )
    });
    t("linear bias gelu pre", || {
        linear(
            rows,
            k,
            n,
            &x,
            &w,
            Epilogue {
                bias: Some(&b),
                activation: Some(Activation::Gelu),
                pre_activation: Some(&mut pre),
                ..Default::default()
            },
            &mut y,
        )
    });
    let mut d = vec![0f32; rows * n];
    t("gelu backward", || activation::backward(Activation::Gelu, &pre, &y, &mut d));
    let mut db = vec![0f32; n];
    t("sum_rows 1536", || activation::sum_rows(&d, n, &mut db));
    let (g, s) = (vec![1f32; k], vec![0f32; k]);
    let (mut ly, mut m, mut iv) = (vec![0f32; rows * k], vec![0f32; rows], vec![0f32; rows]);
    t("layer norm", || norm::layer_norm_forward(&x, k, Some(&g), Some(&s), 1e-12, &mut ly, &mut m, &mut iv));
    let (mut dx, mut dg, mut ds) = (vec![0f32; rows * k], vec![0f32; k], vec![0f32; k]);
    t("layer norm backward", || {
        norm::layer_norm_backward(&x, k, Some(&g), &m, &iv, &ly, &mut dx, Some(&mut dg), Some(&mut ds))
    });
    for (len, heads, size) in [(64, 12, 32), (64, 12, 64), (16, 12, 32), (512, 12, 64)] {
        let offsets: Vec<usize> = (0..=rows / len).map(|i| i * len).collect();
        let wd = heads * size;
        let q: Vec<f32> = (0..rows * wd).map(|i| (i as f32 * 0.37).sin()).collect();
        let a = Attention {
            heads,
            key_size: size,
            scale: 0.2,
            offsets: &offsets,
            mask: Mask::Full,
            dropout: None,
        };
        let (mut out, mut lse) = (vec![0f32; rows * wd], vec![0f32; rows * heads]);
        t(&format!("attention {len}x{heads}x{size}"), || {
            attention::forward(&a, &q, &q, &q, &mut out, &mut lse)
        });
        let (mut dq, mut dk, mut dv) = (out.clone(), out.clone(), out.clone());
        t("attention backward", || {
            attention::backward(&a, &q, &q, &q, &out, &lse, &q, &mut dq, &mut dk, &mut dv)
        });
        let flops = (rows * len * heads * size * 4) as f64;
        println!("   forward at 150 GFLOP/s: {:.3} ms", flops / 150e9 * 1e3);
    }
    let p = 11_720_448;
    let (mut th, gr, mut m, mut v) = (vec![1f32; p], vec![0.1f32; p], vec![0f32; p], vec![0f32; p]);
    let st = optimizer::AdamW {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 1,
        gradient_scale: 1.0,
    };
    t("adamw 11.7M", || optimizer::adamw(&st, &mut th, &gr, &mut m, &mut v));
    t("squared_norm 11.7M", || {
        std::hint::black_box(optimizer::squared_norm(&gr));
    });
}

//! How fast, and in how much memory, the loss over a large vocabulary has its gradients:
//! `RAYON_NUM_THREADS=2 cargo run --release -p bert4rs-nn --example vocabulary_rate -- [width] [rounds] [tokens] [vocabulary]`
//! benches/peers/vocabulary.py does the same work in PyTorch on the same numbers.

use std::time::Instant;

use bert4rs_nn::loss::linear_cross_entropy;
use bert4rs_tensor::{DType, Tensor, backward};

/// Numbers of variance `deviation^2`, the same in the peer: a permutation of a grid.
fn grid(
    factor: usize,
    modulus: usize,
    deviation: f64,
    shape: &[usize],
) -> Result<Tensor, bert4rs_tensor::Error> {
    let place = |i: usize| (i * factor % modulus) as f64 / modulus as f64 - 0.5;
    let values = (0..shape.iter().product()).map(|i| deviation * 12f64.sqrt() * place(i)).collect();
    Tensor::new(values, shape)?.cast(DType::F32)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |i: usize, default: usize| std::env::args().nth(i).map_or(Ok(default), |a| a.parse());
    let (width, rounds, tokens, vocabulary) =
        (number(1, 384)?, number(2, 3)?, number(3, 1024)?, number(4, 30_522)?);
    let x = grid(7919, 10_007, 1.0, &[tokens, width])?;
    let weight = grid(104_729, 10_009, (width as f64).powf(-0.5), &[vocabulary, width])?;
    let bias = Tensor::zeros(&[vocabulary], DType::F32);
    let targets: Vec<i64> = (0..tokens).map(|i| (i * 7919 % vocabulary) as i64).collect();
    let step = || -> Result<(f64, Tensor), Box<dyn std::error::Error>> {
        let (x, weight, bias) = (x.tracked(), weight.tracked(), bias.tracked());
        let loss = linear_cross_entropy(&x, &weight, Some(&bias), &targets, 0.0)?;
        let value = loss.item()?;
        let mut gradients = backward(loss)?;
        let found = gradients.take(&weight).is_some() && gradients.take(&bias).is_some();
        let d_x = gradients.take(&x).filter(|_| found).ok_or("a gradient is missing")?;
        Ok((value, d_x))
    };
    let reset = std::fs::write("/proc/self/clear_refs", "5");
    let before = reset.ok().and_then(|()| memory("VmRSS"));
    let (loss, d_x) = step()?;
    let peak = memory("VmHWM").zip(before).map_or(f64::NAN, |(peak, before)| peak - before);
    let norm = d_x.to_f64_vec().iter().map(|d| d * d).sum::<f64>().sqrt();
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        step()?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!(
        "vocabulary bert4rs width={width} ms={:.1} peak_mb={peak:.1} loss={loss:.4} gradient={norm:.5e}",
        times[times.len() / 2]
    );
    Ok(())
}

/// Memory of this process in MB, where the system says: `VmRSS` now, `VmHWM` at most since the last reset.
fn memory(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1024.0)
}

//! How fast a span head trains: hidden states to loss to their gradient and that of the weights, for
//! `RAYON_NUM_THREADS=2 cargo run --release -p bert4rs-nn --example span_head_rate -- [length] [rounds] [width] [efficient]`
//! (`width` 0 = no limit). benches/peers/span_head.py does the same work in PyTorch on the same numbers.

use std::time::Instant;

use bert4rs_nn::head::{
    EfficientGlobalPointer, EfficientGlobalPointerConfig, GlobalPointer, GlobalPointerConfig, Span, SpanHead,
};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor, backward};

const SEQUENCES: usize = 8;
const TYPES: usize = 10;
const HIDDEN: usize = 768;

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (length, rounds, width) = (number(0, 256), number(1, 5), number(2, 0));
    let efficient = arguments.get(3).is_some_and(|a| a == "efficient");
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
    let max_span_width = (width > 0).then_some(width);
    let head = if efficient {
        let config = EfficientGlobalPointerConfig { types: TYPES, max_span_width, ..Default::default() };
        SpanHead::EfficientGlobalPointer(EfficientGlobalPointer::new(&mut builder, HIDDEN, &config)?)
    } else {
        let config = GlobalPointerConfig { types: TYPES, max_span_width, ..Default::default() };
        let head = GlobalPointer::new(&mut builder, HIDDEN, &config)?;
        let weight = params.get("dense.weight").ok_or("no weight")?;
        weight.set(&grid(104_729, 10_009, (HIDDEN as f64).powf(-0.5), weight.value().shape())?)?;
        SpanHead::GlobalPointer(head)
    };
    let batch = Packed::from_lengths(&[length; SEQUENCES]);
    let hidden = grid(7919, 10_007, 1.0, &[batch.tokens(), HIDDEN])?;
    let gold = |b: usize| {
        let span = |i: usize| {
            let start = (37 * i + 11 * b) % (length - 4);
            Span { kind: i % TYPES, start, end: start + i % 4 }
        };
        (0..5).map(span).collect()
    };
    let gold: Vec<Vec<Span>> = (0..SEQUENCES).map(gold).collect();
    let step = || -> Result<(f64, Tensor), Box<dyn std::error::Error>> {
        let hidden = hidden.tracked();
        let loss = head.loss(&mut Ctx::training(Rng::new(0)), &hidden, &batch, &gold)?;
        let value = loss.item()?;
        let mut gradients = backward(loss)?;
        Ok((value, gradients.take(&hidden).ok_or("no gradient of the hidden states")?))
    };
    let reset = std::fs::write("/proc/self/clear_refs", "5");
    let before = reset.ok().and_then(|()| memory("VmRSS"));
    let (loss, d_hidden) = step()?;
    let peak = memory("VmHWM");
    let norm = d_hidden.to_f64_vec().iter().map(|d| d * d).sum::<f64>().sqrt();
    drop(d_hidden);
    step()?;
    let cpu = cpu_ms();
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        step()?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    let cpu = (cpu_ms() - cpu) / rounds as f64;
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let extra = peak.zip(before).map_or(f64::NAN, |(after, before)| after - before);
    println!(
        "span_head bert4rs length={length} ms={median:.2} cpu_ms={cpu:.2} peak_mb={extra:.1} loss={loss:.4} \
         gradient={norm:.5e}"
    );
    Ok(())
}

/// Memory of this process in MB, where the system says: `VmRSS` now, `VmHWM` at most since the last reset.
fn memory(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1024.0)
}

/// Processor time of all threads so far, in steps of the kernel's clock (10 ms).
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).map(|ticks| 10.0 * ticks).sum()
}

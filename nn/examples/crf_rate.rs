//! How fast the CRF trains and decodes, for
//! `RAYON_NUM_THREADS=2 cargo run --release -p bert4rs-nn --example crf_rate -- [tags] [rounds]`:
//! the loss with the gradients of emissions and transitions, and Viterbi decoding, of 32 sequences.
//! benches/peers/crf.py does the same work with pytorch-crf on the same numbers.

use std::time::Instant;

use bert4rs_tensor::op::crf::{Transitions, crf_best_path, crf_loss};
use bert4rs_tensor::{DType, Packed, Tensor, backward};

/// Lengths of 32 texts of CLUENER's training part, drawn at random.
const LENGTHS: [usize; 32] = [
    49, 40, 49, 47, 22, 36, 27, 41, 22, 40, 29, 41, 19, 34, 37, 20, 50, 11, 43, 34, 44, 34, 24, 49, 47, 39,
    17, 39, 33, 49, 47, 50,
];

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

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Median of the wall clock and mean of the processor time.
fn times_ms<T>(rounds: usize, work: impl Fn() -> Outcome<T>) -> Outcome<(f64, f64)> {
    work()?;
    let (cpu, mut times) = (cpu_ms(), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        let start = Instant::now();
        work()?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    let cpu = (cpu_ms() - cpu) / rounds as f64;
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], cpu))
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (tags, rounds) = (number(0, 20), number(1, 1000));
    let batch = Packed::from_lengths(&LENGTHS);
    let emissions = grid(7919, 10_007, 2.0, &[batch.tokens(), tags])?;
    let between = grid(104_729, 10_009, 1.0, &[tags, tags])?;
    let (start, end) = (Tensor::zeros(&[tags], DType::F32), Tensor::zeros(&[tags], DType::F32));
    let labels: Vec<usize> = (0..batch.tokens()).map(|t| t * 7 % tags).collect();
    let step = || -> Outcome<(f64, Tensor)> {
        let leaves = [&emissions, &between, &start, &end].map(Tensor::tracked);
        let [emissions, between, start, end] = &leaves;
        let transitions = Transitions { between, ends: Some((start, end)) };
        let loss = crf_loss(emissions, transitions, &labels, &batch)?.sum_all()?;
        let loss = loss.mul_scalar(1.0 / batch.sequences() as f64)?;
        let value = loss.item()?;
        let mut gradients = backward(loss)?;
        Ok((value, gradients.take(emissions).ok_or("no gradient of the emissions")?))
    };
    let decode = || -> Outcome<Vec<(Vec<usize>, f64)>> {
        let transitions = Transitions { between: &between, ends: Some((&start, &end)) };
        Ok(crf_best_path(&emissions, transitions, &batch)?)
    };
    let (loss, gradient) = step()?;
    let norm = gradient.to_f64_vec().iter().map(|d| d * d).sum::<f64>().sqrt();
    let path: usize = decode()?.iter().flat_map(|(path, _)| path).sum();
    let (train, decode) = (times_ms(rounds, step)?, times_ms(rounds, decode)?);
    println!(
        "crf bert4rs ms={:.3} cpu_ms={:.3} decode_ms={:.3} decode_cpu_ms={:.3} loss={loss:.4} \
         gradient={norm:.5e} path={path}",
        train.0, train.1, decode.0, decode.1
    );
    Ok(())
}

/// Processor time of all threads so far, in steps of the kernel's clock (10 ms).
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).map(|ticks| 10.0 * ticks).sum()
}

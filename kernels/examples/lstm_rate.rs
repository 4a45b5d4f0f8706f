//! How fast an LSTM direction runs on this machine, beside its products alone:
//! `cargo run --release -p bert4rs-kernels --example lstm_rate -- [threads] [hidden] [sequences] [length]`

use std::time::Instant;

use bert4rs_kernels::gemm::{View, matmul};
use bert4rs_kernels::lstm::{lstm_backward, lstm_forward};

fn main() {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<usize>().unwrap_or(1));
    let mut next = |default| numbers.next().unwrap_or(default);
    let (threads, h, count, length) = (next(1), next(256), next(24), next(40));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let Ok(pool) = pool else { return eprintln!("no pool of {threads} threads") };
    let offsets: Vec<usize> = (0..=count).map(|b| b * length).collect();
    let tokens = count * length;
    let value = |i: usize| (i * 7919 % 1000) as f32 / 5000.0 - 0.1;
    let x: Vec<f32> = (0..tokens * 4 * h).map(value).collect();
    let u: Vec<f32> = (0..4 * h * h).map(value).collect();
    let (mut hidden, mut gates, mut cells) =
        (vec![0.0; tokens * h], vec![0.0; tokens * 4 * h], vec![0.0; tokens * h]);
    let (mut dx, mut du) = (vec![0.0; tokens * 4 * h], vec![0.0; 4 * h * h]);
    let median = |run: &mut (dyn FnMut() + Send)| {
        let mut times: Vec<f64> = (0..9)
            .map(|_| {
                let start = Instant::now();
                pool.install(&mut *run);
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[4]
    };
    let forward =
        median(&mut || lstm_forward(&offsets, h, &x, &u, false, &mut hidden, &mut gates, &mut cells));
    let d = hidden.clone();
    let backward =
        median(&mut || lstm_backward(&offsets, h, &u, false, &hidden, &gates, &cells, &d, &mut dx, &mut du));
    let product = median(&mut || {
        matmul(tokens, 4 * h, h, View::row_major(&hidden, h), View::transposed(&u, h), &mut gates, false);
    });
    println!(
        "{threads} threads, H = {h}, {count} sequences of {length}: forward {forward:.2} ms, backward {backward:.2} ms"
    );
    println!("one product of the same size {product:.2} ms");
}

//! How fast one training step runs: the peer driver's workload (32 sequences of 64 tokens, AdamW, no
//! dropout, cross entropy on the first token), for
//! `cargo run --release -p bert4rs-train --example step_rate -- mini|base [threads] [steps]`
//!
//! More words: `recompute` (layers run again in the backward pass), `lengths=FILE` (ragged sequences:
//! one length a line, 32 lines a step). With the environment variable PROFILE set, a table by operation.

use std::path::Path;
use std::time::Instant;

use bert4rs_nn::block::Linear;
use bert4rs_nn::encoder::{AttentionConfig, Encoder, EncoderConfig, EncoderInput, FeedForward, Mixer, bert};
use bert4rs_nn::loss::cross_entropy;
use bert4rs_nn::{Builder, Ctx, Init};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor, profile};
use bert4rs_train::{Objective, Progress, Score, TrainConfig, Watch};

const SEQUENCES: usize = 32;
const LENGTH: usize = 64;

struct Step {
    params: Params,
    encoder: Encoder,
    classes: Linear,
}

impl Objective for Step {
    type Example = Vec<usize>;
    type Error = bert4rs_nn::Error;

    fn params(&self) -> &Params {
        &self.params
    }

    fn tokens(&self, example: &Vec<usize>) -> usize {
        example.len()
    }

    fn loss(&self, ctx: &mut Ctx, batch: &[&Vec<usize>]) -> Result<Tensor, Self::Error> {
        let packed = Packed::from_lengths(&batch.iter().map(|ids| ids.len()).collect::<Vec<_>>());
        let ids: Vec<usize> = batch.iter().flat_map(|x| x.iter().copied()).collect();
        let input = EncoderInput { ids: &ids, segments: None, batch: &packed };
        let hidden = self.encoder.forward(ctx, input, &Mask::Full)?;
        let first = hidden.rows(&packed.offsets()[..batch.len()])?;
        let labels: Vec<i64> = (0..batch.len() as i64).map(|i| i % 2).collect();
        cross_entropy(&self.classes.forward(ctx, &first)?, &labels, 0.0)
    }

    fn evaluate(&self) -> Result<Score, Self::Error> {
        Ok(Score { main: 0.0, name: "none".into(), details: serde_json::Value::Null })
    }

    fn save(&self, _: &Path) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Notes when each step ended.
struct Clock(Instant, Vec<f64>);

impl Watch for Clock {
    fn step(&mut self, progress: &Progress) {
        self.1.push(self.0.elapsed().as_secs_f64());
        if self.1.len() == 2 && std::env::var_os("PROFILE").is_some() {
            profile::start();
        }
        eprintln!("step {} loss {:.4}", progress.step, progress.loss);
        self.0 = Instant::now();
    }
}

fn config(name: &str) -> EncoderConfig {
    let mut config = bert();
    config.dropout = 0.0;
    config.embedding.dropout = 0.0;
    config.mixer = Mixer::Attention(AttentionConfig::plain(12, 0.0));
    if name != "base" {
        config.hidden_size = 384;
        config.layers = 6;
        config.feed_forward = FeedForward::Dense { size: 1536, activation: Default::default() };
    }
    config
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("mini", String::as_str);
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (threads, steps) = (number(1, 2), number(2, 12));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
    let config = config(name);
    let encoder = Encoder::new(&mut builder, &config)?;
    let init = Init::Normal { deviation: 0.02 };
    let classes = Linear::new(&mut builder.at("head"), config.hidden_size, 2, true, init)?;
    let lengths = lengths(&arguments, SEQUENCES * steps)?;
    let examples: Vec<Vec<usize>> =
        lengths.iter().map(|&n| (0..n).map(|_| 1000 + rng.below(29_000)).collect()).collect();
    let recompute = arguments.iter().any(|a| a == "recompute");
    let settings = TrainConfig {
        epochs: 1,
        batch_tokens: usize::MAX,
        batch_size: Some(SEQUENCES),
        max_grad_norm: 0.0, // as the peer's driver
        recompute,
        ..TrainConfig::default()
    };
    let folder = tempfile::tempdir()?;
    let mut clock = Clock(Instant::now(), Vec::new());
    let step = Step { params, encoder, classes };
    bert4rs_train::train(&step, &examples, &settings, folder.path(), false, &mut clock)?;
    for row in profile::stop() {
        let steps = (clock.1.len() - 2) as f64;
        let rate = row.flops / row.seconds / 1e9;
        let (name, pass, ms) = (row.name, row.pass, 1e3 * row.seconds / steps);
        println!(
            "{name:20} {pass:?} {ms:8.2} ms a step {:6.1} calls {rate:7.1} GFLOP/s",
            row.calls as f64 / steps
        );
    }
    let mut times = clock.1.split_off(1); // the first step warms up
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let mean_tokens = lengths.iter().sum::<usize>() as f64 / steps as f64;
    println!("R train_{name} {:.1}", mean_tokens / median);
    if let Some(peak) = peak_memory() {
        println!("R rss_{name} {peak:.0}");
    }
    Ok(())
}

/// The lengths of `count` sequences, from `lengths=FILE` if it is given.
fn lengths(arguments: &[String], count: usize) -> Result<Vec<usize>, Box<dyn std::error::Error>> {
    let Some(path) = arguments.iter().find_map(|a| a.strip_prefix("lengths=")) else {
        return Ok(vec![LENGTH; count]);
    };
    let all = std::fs::read_to_string(path)?;
    let all = all.split_whitespace().map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    if all.len() < count {
        return Err(format!("{path}: {} lengths, expected {count}", all.len()).into());
    }
    Ok(all[..count].to_vec())
}

/// Peak resident memory in MB, where the system says.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1024.0)
}

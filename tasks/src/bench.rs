//! How fast an encoder is on this machine: workloads of token ids, measured and taken apart.
//!
//! Workloads:   `b1s16`, `b1s128`, `b32s128`: so many texts of so many tokens; `mix256`: 256 texts of
//!              lognormal length, 22 tokens on average, 4 to 128
//! Measured:    from ids to mean-pooled vectors of length 1; every run is the whole workload
//! Numerics:    rates are of the median run; operations are those of the matrix products

use std::path::Path;
use std::time::Instant;

use bert4rs_nn::block::pooling::{Pooling, normalize, pool};
use bert4rs_nn::encoder::{
    AttentionConfig, Encoder, EncoderConfig, EncoderInput, FeedForward, Mixer, Precision, bert, huggingface,
};
use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::profile::{self, Row};
use bert4rs_tensor::{DType, Packed, Params, Rng};

use crate::{Error, Result, scheduler};

/// Names of shapes that need no files.
pub const SHAPES: [&str; 2] = ["mini", "base"];
/// Names of workloads.
pub const WORKLOADS: [&str; 4] = ["b1s16", "b1s128", "b32s128", "mix256"];

/// An encoder to be measured.
pub struct Bench {
    encoder: Encoder,
    batch_tokens: usize,
}

/// What was measured on one workload.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Name of the workload.
    pub workload: String,
    /// Texts of a run.
    pub texts: usize,
    /// Tokens of a run.
    pub tokens: usize,
    /// Runs.
    pub runs: usize,
    /// Seconds of the median run.
    pub median: f64,
    /// Seconds that 99 % of the runs stay below.
    pub p99: f64,
    /// Operations of the matrix products of a run.
    pub operations: f64,
    /// Where the time of one run went, summed over threads.
    pub profile: Vec<Row>,
}

impl Bench {
    /// The shape of MiniLM (`mini`, 6 layers of width 384) or of BERT (`base`, 12 of 768), with
    /// random weights.
    pub fn shape(name: &str, precision: Precision, batch_tokens: usize) -> Result<Self> {
        let config = match name {
            "mini" => EncoderConfig {
                hidden_size: 384,
                layers: 6,
                mixer: Mixer::Attention(AttentionConfig::plain(12, 0.0)),
                feed_forward: FeedForward::Dense { size: 1536, activation: Default::default() },
                ..bert()
            },
            "base" => bert(),
            other => {
                let known = SHAPES.join(" and ");
                return Err(Error::Config(format!(
                    "bench {other}: no such folder, and no such shape; shapes are {known}"
                )));
            }
        };
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config)?;
        Self::new(encoder, precision, batch_tokens)
    }

    /// The encoder of a folder; heads are left out.
    pub fn open(dir: &Path, precision: Precision, batch_tokens: usize) -> Result<Self> {
        let config = huggingface::read_config(dir)?;
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let encoder = Encoder::to_be_filled(&mut Builder::new(&mut params, &mut rng, DType::F32), &config)?;
        let mut allow = Allow::default();
        allow.unexpected.push("head".into()); // of a model of ours
        Checkpoint::open(dir)?.fill(&params, &allow)?;
        drop(params);
        Self::new(encoder, precision, batch_tokens)
    }

    fn new(mut encoder: Encoder, precision: Precision, batch_tokens: usize) -> Result<Self> {
        encoder.prepare(precision)?;
        Ok(Self { encoder, batch_tokens })
    }

    /// The texts of a named workload, as ids of this encoder.
    pub fn workload(&self, name: &str) -> Result<Vec<Vec<usize>>> {
        let mut rng = Rng::new(0).fork(name);
        let lengths: Vec<usize> = match name {
            "b1s16" => vec![16],
            "b1s128" => vec![128],
            "b32s128" => vec![128; 32],
            "mix256" => {
                let deviation = 0.6;
                let centre = 22f64.ln() - deviation * deviation / 2.0;
                (0..256)
                    .map(|_| (centre + deviation * rng.normal()).exp().clamp(4.0, 128.0) as usize)
                    .collect()
            }
            other => {
                let known = WORKLOADS.join(", ");
                return Err(Error::Config(format!("workload {other}: expected some of {known}")));
            }
        };
        let vocabulary = self.encoder.config().vocab_size as f64;
        let mut text = |n: usize| (0..n).map(|_| (rng.uniform() * vocabulary) as usize).collect();
        Ok(lengths.into_iter().map(&mut text).collect())
    }

    /// Mean-pooled vectors of length 1, `[texts, D]` row by row.
    pub fn encode(&self, texts: &[Vec<usize>]) -> Result<Vec<f32>> {
        let width = self.encoder.output_size();
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let batches = scheduler::batches(&lengths, self.batch_tokens);
        let results = scheduler::run(&batches, |batch| {
            let lengths: Vec<usize> = batch.iter().map(|&i| texts[i].len()).collect();
            let ids: Vec<usize> = batch.iter().flat_map(|&i| texts[i].iter().copied()).collect();
            let packed = Packed::from_lengths(&lengths);
            let input = EncoderInput { ids: &ids, segments: None, batch: &packed };
            let hidden = self.encoder.forward(&mut Ctx::inference(), input, &self.encoder.mask())?; // [T, D]
            Ok(normalize(&pool(&hidden, &packed, Pooling::Mean)?)?) // [B, D]
        })?;
        let mut vectors = vec![0.0; texts.len() * width];
        for (batch, result) in batches.iter().zip(&results) {
            for (&i, row) in batch.iter().zip(result.values::<f32>()?.chunks_exact(width)) {
                vectors[i * width..][..width].copy_from_slice(row);
            }
        }
        Ok(vectors)
    }

    /// Runs a workload again and again for so many seconds, five times at least.
    pub fn measure(&self, workload: &str, texts: &[Vec<usize>], seconds: f64) -> Result<Measured> {
        self.encode(texts)?; // buffers and caches warm up
        profile::start();
        let profiled = self.encode(texts);
        let profile = profile::stop();
        profiled?;
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
            let run = Instant::now();
            self.encode(texts)?;
            times.push(run.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let runs = times.len();
        Ok(Measured {
            workload: workload.to_string(),
            texts: texts.len(),
            tokens: texts.iter().map(Vec::len).sum(),
            runs,
            median: times[runs / 2],
            p99: times[(runs * 99).div_ceil(100) - 1],
            operations: profile.iter().map(|row| row.flops).sum(),
            profile,
        })
    }
}

/// The most memory this process has held, in bytes; known on Linux only.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| 1024 * kilobytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Bench {
        let config = EncoderConfig {
            vocab_size: 50,
            hidden_size: 8,
            layers: 2,
            mixer: Mixer::Attention(AttentionConfig::plain(2, 0.0)),
            feed_forward: FeedForward::Dense { size: 12, activation: Default::default() },
            ..bert()
        };
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config).unwrap();
        Bench::new(encoder, Precision::Int8, 512).unwrap()
    }

    #[test]
    fn workloads_are_those_of_the_names() {
        let bench = tiny();
        let tokens = |name| bench.workload(name).unwrap().iter().map(Vec::len).sum::<usize>();
        assert_eq!((tokens("b1s16"), tokens("b1s128"), tokens("b32s128")), (16, 128, 32 * 128));
        let mix = bench.workload("mix256").unwrap();
        let mean = tokens("mix256") as f64 / mix.len() as f64;
        assert!(mix.len() == 256 && (20.0..24.0).contains(&mean), "{mean}");
        assert!(bench.workload("b2").unwrap_err().to_string().contains("mix256"));
        assert!(Bench::shape("huge", Precision::F32, 1).err().unwrap().to_string().contains("mini and base"));
    }

    #[test]
    fn products_are_counted_and_vectors_have_length_one() {
        let bench = tiny();
        let measured = bench.measure("b1s16", &bench.workload("b1s16").unwrap(), 0.0).unwrap();
        assert_eq!((measured.texts, measured.tokens), (1, 16));
        assert!(measured.operations >= 16.0 * 2.0 * 2.0 * (4.0 * 64.0 + 2.0 * 96.0), "{measured:?}");
        assert!(measured.p99 >= measured.median && measured.runs >= 5);
        let square = bench.encode(&[vec![5, 6, 7]]).unwrap().iter().map(|x| x * x).sum::<f32>();
        assert!((square - 1.0).abs() < 1e-5);
    }
}

//! The command line's words.

mod search;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use search::{Dtype, Index, Search, Whiten};

/// Train, evaluate and apply text-understanding models.
#[derive(Parser)]
#[command(name = "bert4rs", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Threads to use; all cores when not given
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Machine-readable output: JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// Tell on standard error where the time went, operation by operation
    #[arg(long, global = true)]
    pub profile: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a model as a configuration file says
    Train(Train),
    /// Score a model on annotated data with the task's official metric
    Eval(Eval),
    /// Find entities in texts, or give the vectors of sentences
    Predict(Predict),
    /// Write the vectors of sentences: NumPy arrays or JSON Lines
    Embed(Embed),
    /// Order candidates by how well they answer a query
    Rerank(Rerank),
    /// Tell what a model is: labels, decoder, size
    Info(Info),
    /// Measure how fast an encoder is on this machine
    Bench(Bench),
    /// Write a model folder of TensorFlow, PyTorch or safetensors as one of Hugging Face
    Convert(Convert),
    /// Write an encoder as an ONNX file
    Export(Export),
    /// Tell how far two model folders are apart, tensor by tensor and layer by layer
    Verify(Verify),
    /// Tell what is the matter with a model: scales, gradients and attention in depth, and warnings in words
    Doctor(Doctor),
    /// Measure what 8 bits cost a model; where that is within the bound, --precision auto uses them
    Calibrate(Calibrate),
    /// Make vectors comparable without labels: a copy of a model folder that whitens
    Whiten(Whiten),
    /// Make an index of texts, add to it, delete from it
    Index(Index),
    /// Find the texts of an index that are most like a query
    Search(Search),
    /// Small experiments: claims of articles, each with numbers, a plot and a verdict
    #[command(subcommand)]
    Lab(Lab),
}

#[derive(Subcommand)]
pub enum Lab {
    /// Name the experiments and what they claim
    List,
    /// Run one: some minutes on two cores
    Run(LabRun),
}

#[derive(Args)]
pub struct LabRun {
    /// An experiment, as `lab list` names it
    pub name: String,
    /// The folder for report.md, report.json and the plots [default: lab-NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Repetitions from other random numbers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub seeds: u16,
    /// A run of a second that shows that everything works; its verdict means nothing
    #[arg(long)]
    pub smoke: bool,
}

#[derive(Args)]
pub struct Train {
    /// The run's configuration (TOML)
    pub config: PathBuf,
    /// Change a setting, as in --set train.epochs=3; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on from the last checkpoint in the output folder
    #[arg(long)]
    pub resume: bool,
}

#[derive(Args)]
pub struct Eval {
    /// A model folder, such as RUN/best
    pub model: PathBuf,
    /// For entities annotated texts: JSON Lines, CoNLL or CLUENER; for sentence vectors pairs with labels:
    /// JSON Lines, CSV or TSV; .gz and .zst too
    pub data: PathBuf,
    /// Another model of sentence vectors: tells whether it is better on these pairs, by a paired bootstrap
    #[arg(long, value_name = "OTHER")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub reading: Reading,
}

#[derive(Args)]
pub struct Predict {
    /// A model folder, such as RUN/best
    pub model: PathBuf,
    /// Texts; or one file of texts (one per line, or JSON Lines with "text"); or - for standard input
    pub input: Vec<String>,
    #[command(flatten)]
    pub reading: Reading,
}

#[derive(Args)]
pub struct Embed {
    /// A folder of a sentence encoder
    pub model: PathBuf,
    /// Texts; or one file of texts (one per line, or JSON Lines with "text"); or - for standard input
    pub input: Vec<String>,
    /// The new file, .npy or .jsonl [default: JSON Lines on standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The type of numbers in an array
    #[arg(long, value_enum, default_value_t = Number::F32)]
    pub dtype: Number,
    /// Keep the first numbers of each vector, scaled to length 1 (models trained with loss.matryoshka)
    #[arg(long, value_name = "N")]
    pub dimensions: Option<usize>,
    /// Leave out texts without a character that is no space, instead of refusing them
    #[arg(long)]
    pub skip_empty: bool,
    /// In which precision the model answers
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Tokens that run together
    #[arg(long, value_name = "N", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
}

#[derive(Args)]
pub struct Rerank {
    /// A folder of a cross-encoder (task.type = "matching")
    pub model: PathBuf,
    /// The query
    #[arg(long, value_name = "TEXT")]
    pub query: String,
    /// Candidates; or one file of them (one per line, or JSON Lines with "text"); or - for standard input
    pub input: Vec<String>,
    /// How many of the best to show
    #[arg(long, value_name = "K")]
    pub top: Option<usize>,
    /// In which precision the model answers
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Tokens that run together
    #[arg(long, value_name = "N", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Number {
    F32,
    F16,
}

#[derive(Args)]
pub struct Info {
    /// A model folder, such as RUN/best
    pub model: PathBuf,
}

#[derive(Args)]
pub struct Reading {
    /// What to do with a text that is longer than the model reads at once
    #[arg(long, value_enum)]
    pub overflow: Option<Overflow>,
    /// In which precision the model answers
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Tokens that run together
    #[arg(long, value_name = "N", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
}

#[derive(Args)]
pub struct Bench {
    /// A folder with an encoder, or a shape with random weights: mini (6 layers of width 384) or base
    /// (12 of 768)
    pub model: String,
    /// In which precision it runs
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Workloads: one text of 16 or 128 tokens, 32 of 128, or 256 of mixed length
    #[arg(long, value_delimiter = ',', value_name = "NAME,..",
        default_values_t = ["b1s16", "b1s128", "b32s128", "mix256"].map(String::from))]
    pub workload: Vec<String>,
    /// Seconds for each workload
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    pub seconds: f64,
    /// Tokens that run together
    #[arg(long, value_name = "N", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
}

#[derive(Args)]
pub struct Calibrate {
    /// A model folder; calibration.json is written into it
    pub model: PathBuf,
    /// An entity model's kind of annotated texts, as for eval; a sentence encoder's kind of sentences, one a
    /// line, those that are compared one after the other. The first 20,000 count
    pub data: PathBuf,
    /// The most that 8 bits may cost: points of F1 (default 0.2), or hundredths of the cosine of
    /// neighbouring sentences (default 1)
    #[arg(long, value_name = "POINTS")]
    pub bound: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Precision {
    /// As it was trained
    F32,
    /// Weights in 16 bits: half the memory
    Bf16,
    /// Weights and activations in 8 bits: the fastest on CPUs with VNNI, not as exact
    Int8,
    /// 8 bits where the CPU multiplies them and the model folder's calibration permits them; else f32
    Auto,
}

impl From<Precision> for bert4rs_tasks::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::Int8 => Self::Int8,
            Precision::Auto => Self::Auto,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Overflow {
    /// Refuse it
    Error,
    /// Read its beginning, and say so
    Truncate,
    /// Read it in overlapping windows
    Window,
}

#[derive(Args)]
pub struct Convert {
    /// A folder with a config and weights: safetensors, pytorch_model.bin, or a TensorFlow checkpoint
    #[arg(value_name = "IN")]
    pub from: PathBuf,
    /// The new folder
    #[arg(value_name = "OUT")]
    pub to: PathBuf,
    /// Keep only the tokens whose ids stand in this file, in its order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["vocabulary", "simplify"])]
    pub keep_tokens: Option<PathBuf>,
    /// Take the tokens of this file, one per line; new ones become the mean of their pieces
    #[arg(long, value_name = "FILE", conflicts_with = "simplify")]
    pub vocabulary: Option<PathBuf>,
    /// Drop the tokens that a Chinese model of characters never meets (bert4keras' simplified vocabulary)
    #[arg(long)]
    pub simplify: bool,
}

#[derive(Args)]
pub struct Verify {
    /// A model folder
    #[arg(value_name = "A")]
    pub first: PathBuf,
    /// Another one
    #[arg(value_name = "B")]
    pub second: PathBuf,
    /// The difference of hidden states that is still the same model, for numbers of size 1
    #[arg(long, value_name = "X", default_value_t = 1e-5)]
    pub tolerance: f64,
}

#[derive(Args)]
pub struct Doctor {
    /// A model folder, a run's configuration (TOML: the model it would start with), or a preset such as bert
    #[arg(value_name = "MODEL|CONFIG|PRESET")]
    pub model: String,
    /// Texts to look at it with: lines or JSON Lines; for an entity model annotated ones, whose loss then counts.
    /// Random ids of the model's vocabulary without it
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Draw scales, gradients and entropy in depth into this file
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

#[derive(Args)]
pub struct Export {
    /// A model folder
    pub model: PathBuf,
    /// The new file
    #[arg(value_name = "OUT.onnx")]
    pub out: PathBuf,
}

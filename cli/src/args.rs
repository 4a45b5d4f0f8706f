//! The command line's words.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a model as a configuration file says
    Train(Train),
    /// Score a model on annotated data with the task's official metric
    Eval(Eval),
    /// Find entities in texts
    Predict(Predict),
    /// Tell what a model is: labels, decoder, size
    Info(Info),
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
    /// Annotated texts: JSON Lines, CoNLL or CLUENER; .gz and .zst too
    pub data: PathBuf,
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
pub struct Info {
    /// A model folder, such as RUN/best
    pub model: PathBuf,
}

#[derive(Args)]
pub struct Reading {
    /// What to do with a text that is longer than the model reads at once
    #[arg(long, value_enum)]
    pub overflow: Option<Overflow>,
    /// Tokens that run together
    #[arg(long, value_name = "N", default_value_t = 2048,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
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

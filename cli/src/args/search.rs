//! The words of `whiten`, `index` and `search`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Precision;

#[derive(Args)]
pub struct Whiten {
    /// A folder of a sentence encoder, or of an encoder alone
    pub model: PathBuf,
    /// Texts without labels (one per line, or JSON Lines with "text"), some thousands; or - for standard input
    pub texts: String,
    /// The new model folder
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Keep so many numbers of a vector, those of the largest deviation [default: all]
    #[arg(long, value_name = "K")]
    pub dimensions: Option<usize>,
    /// How much of the mean is taken away: 1 all, 0 nothing
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub beta: f64,
    /// How far deviations become equal: 1 whitens, 0 is PCA
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub gamma: f64,
    /// In which precision the model answers
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Tokens that run together
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
}

#[derive(Args)]
pub struct Index {
    /// Texts; or one file of texts (one per line, or JSON Lines with "text" and, if given, "id"); or - for standard input
    pub input: Vec<String>,
    /// The index: a new folder, or one to add to
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// A folder of a sentence encoder [default: the one that made the index]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// How a new index keeps numbers [default: f32]
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,
    /// Keep f32 beside int8 or binary, for search --rescore
    #[arg(long)]
    pub keep_f32: bool,
    /// Leave out texts without a character that is no space, instead of refusing them
    #[arg(long)]
    pub skip_empty: bool,
    /// Delete the texts of these ids; may be given many times
    #[arg(long, value_name = "ID")]
    pub delete: Vec<String>,
    /// Free the room of deleted and replaced texts
    #[arg(long)]
    pub compact: bool,
    /// Read every byte of the index and compare it with its checksums
    #[arg(long)]
    pub check: bool,
    /// In which precision the model answers
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Tokens that run together
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 4 bytes a number, exact
    F32,
    /// 1 byte a number
    Int8,
    /// 1 bit a number
    Binary,
}

#[derive(Args)]
pub struct Search {
    /// An index, as `bert4rs index` makes it
    pub index: PathBuf,
    /// Queries; or one file of queries (one per line, or JSON Lines with "text"); or - for standard input
    pub queries: Vec<String>,
    /// How many texts for each query
    #[arg(short, long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: u32,
    /// Only texts with this field of their record, as in lang=zh; may be given many times, all must hold
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Find N times K candidates by int8 or bits, and order them in f32 (an index made with --keep-f32)
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub rescore: Option<u32>,
    /// The model that made the index, where it is not in its place any more
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// In which precision the model answers
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
    /// Tokens that run together
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
}

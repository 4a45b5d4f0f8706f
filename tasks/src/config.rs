//! One strict TOML file per run.

use std::path::{Path, PathBuf};

use bert4rs_train::TrainConfig;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::ner::{HeadConfig, NerConfig};
use crate::{Error, Result, settings};

/// A whole run: what to do, with which data, model and schedule.
#[derive(Clone, Debug, Serialize)]
pub struct RunConfig {
    /// What is learned.
    pub task: NerConfig,
    /// Where the examples are.
    pub data: DataConfig,
    /// How text becomes tokens when the encoder starts from scratch; an encoder with a `path` brings
    /// its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerConfig>,
    /// The encoder: `preset` or `path`, and fields that override it.
    pub encoder: Table,
    /// Scores and decoding.
    pub head: HeadConfig,
    /// The training loop.
    pub train: TrainConfig,
    /// Where results go.
    pub output: OutputConfig,
}

/// Files with examples, by extension or content: JSON Lines, CoNLL, CLUENER; .gz and .zst too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Examples to learn from.
    pub train: PathBuf,
    /// Examples to choose the best model by.
    pub dev: PathBuf,
}

/// A vocabulary learned from the training texts; not used with `encoder.path`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// What a token is.
    pub kind: TokenizerKind,
    /// Fold upper case.
    pub lowercase: bool,
    /// Tokens seen less often become `[UNK]`.
    pub min_count: u64,
    /// At most this many tokens.
    pub vocab_size: usize,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerKind {
    /// Every character but spaces.
    Characters,
    /// BERT's words cut into learned pieces.
    Wordpiece,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self { kind: TokenizerKind::Characters, lowercase: true, min_count: 2, vocab_size: 20_000 }
    }
}

/// Where results go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// The run folder: resolved config, log, checkpoints, best model.
    pub dir: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    task: Table,
    data: Table,
    tokenizer: Option<Table>,
    encoder: Table,
    #[serde(default)]
    head: Table,
    #[serde(default)]
    train: Table,
    output: Table,
}

impl RunConfig {
    /// Reads a file, lays `--set` assignments over it and checks everything that can be checked
    /// before data is read. Relative paths are relative to the working directory.
    pub fn load(path: &Path, assignments: &[String]) -> Result<Self> {
        let mut table = settings::read_table(path)?;
        for assignment in assignments {
            settings::set(&mut table, assignment)?;
        }
        Self::from_table(table).map_err(|e| match e {
            Error::Config(message) => Error::Config(format!("{}: {message}", path.display())),
            other => other,
        })
    }

    /// As [`RunConfig::load`], from a table.
    pub fn from_table(table: Table) -> Result<Self> {
        for section in ["task", "data", "encoder", "output"] {
            if !table.contains_key(section) {
                return Err(Error::Config(format!("there is no section [{section}]; every run needs one")));
            }
        }
        let sections: Sections = settings::parse(table, "top level")?;
        let tokenizer = match (sections.encoder.contains_key("path"), sections.tokenizer) {
            (false, table) => Some(settings::parse(table.unwrap_or_default(), "[tokenizer]")?),
            (true, None) => None,
            (true, Some(_)) => {
                return Err(Error::Config(
                    "[tokenizer]: an encoder with a path brings its own tokenizer; remove the section".into(),
                ));
            }
        };
        let config = Self {
            task: settings::parse(sections.task, "[task]")?,
            data: settings::parse(sections.data, "[data]")?,
            tokenizer,
            encoder: sections.encoder,
            head: settings::parse(sections.head, "[head]")?,
            train: settings::parse(sections.train, "[train]")?,
            output: settings::parse(sections.output, "[output]")?,
        };
        config.train.validate()?;
        config.head.validate()?;
        config.task.validate()?;
        Ok(config)
    }

    /// The configuration as a table.
    pub fn to_table(&self) -> Result<Table> {
        Table::try_from(self).map_err(|e| Error::Config(e.to_string()))
    }

    /// The resolved configuration as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.to_table()?).map_err(|e| Error::Config(e.to_string()))
    }
}

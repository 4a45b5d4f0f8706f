//! One strict TOML file per run.

use std::path::{Path, PathBuf};

use bert4rs_train::TrainConfig;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::matching::MatchingConfig;
use crate::ner::{HeadConfig, NerConfig};
use crate::similarity::{LossConfig, SimilarityConfig};
use crate::{Error, Result, settings};

/// A whole run: what to do, with which data, model and schedule.
#[derive(Clone, Debug, Serialize)]
pub struct RunConfig {
    /// What is learned: `[task]` and the sections that only this task has.
    #[serde(flatten)]
    pub goal: Goal,
    /// Where the examples are.
    pub data: DataConfig,
    /// How text becomes tokens when the encoder starts from scratch; an encoder with a `path` brings
    /// its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerConfig>,
    /// The encoder: `preset` or `path`, and fields that override it.
    pub encoder: Table,
    /// The training loop.
    pub train: TrainConfig,
    /// Where results go.
    pub output: OutputConfig,
}

/// What is learned.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Goal {
    /// Entity recognition.
    Ner {
        /// What it does with its input.
        task: NerConfig,
        /// Scores and decoding.
        head: HeadConfig,
    },
    /// Sentence vectors.
    Similarity {
        /// What it does with its input.
        task: SimilarityConfig,
        /// What the vectors learn from.
        loss: LossConfig,
    },
    /// Pairs of texts that are read together.
    Matching {
        /// What it does with its input.
        task: MatchingConfig,
    },
}

/// The tasks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Entity recognition, flat and nested.
    Ner,
    /// Sentence vectors whose cosines say how alike texts are.
    Similarity,
    /// Two texts read together: their class, or how alike they are.
    Matching,
}

impl TaskKind {
    /// The task of a model folder of ours; none for other folders.
    pub fn of(dir: &Path) -> Option<Self> {
        let table = settings::read_table(&dir.join("bert4rs.toml")).ok()?;
        table.get("task")?.get("type")?.clone().try_into().ok()
    }
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: TaskKind,
}

impl Goal {
    /// Reads the sections of a task; one that it does not have is an error.
    fn read(task: Table, head: Option<Table>, loss: Option<Table>) -> Result<Self> {
        let only_type = task.iter().filter(|(key, _)| *key == "type").map(|(k, v)| (k.clone(), v.clone()));
        let Kind { kind } = settings::parse(only_type.collect(), "[task]")?;
        let unused = |name: &str, section: &Option<Table>| match section {
            None => Ok(()),
            Some(_) => Err(Error::Config(format!("[{name}]: this task has no such section; remove it"))),
        };
        let goal = match kind {
            TaskKind::Ner => {
                unused("loss", &loss)?;
                let (task, head): (NerConfig, HeadConfig) =
                    (settings::parse(task, "[task]")?, settings::parse(head.unwrap_or_default(), "[head]")?);
                head.validate()?;
                task.validate()?;
                Goal::Ner { task, head }
            }
            TaskKind::Similarity => {
                unused("head", &head)?;
                let (task, loss): (SimilarityConfig, LossConfig) =
                    (settings::parse(task, "[task]")?, settings::parse(loss.unwrap_or_default(), "[loss]")?);
                task.validate()?;
                loss.validate()?;
                Goal::Similarity { task, loss }
            }
            TaskKind::Matching => {
                unused("head", &head)?;
                unused("loss", &loss)?;
                let task: MatchingConfig = settings::parse(task, "[task]")?;
                task.validate()?;
                Goal::Matching { task }
            }
        };
        Ok(goal)
    }
}

/// Files with examples, told by their content; .gz and .zst too.
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
    head: Option<Table>,
    loss: Option<Table>,
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
            goal: Goal::read(sections.task, sections.head, sections.loss)?,
            data: settings::parse(sections.data, "[data]")?,
            tokenizer,
            encoder: sections.encoder,
            train: settings::parse(sections.train, "[train]")?,
            output: settings::parse(sections.output, "[output]")?,
        };
        config.train.validate()?;
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

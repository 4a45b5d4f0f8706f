//! What can go wrong in training.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a task, of whatever type.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// An error of this crate; the text says what, where and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that no run can use.
    #[error("train.{key}: {message}")]
    Config {
        /// The setting.
        key: String,
        /// What it is, what is expected, what to try.
        message: String,
    },
    /// Nothing to train on or nothing to train.
    #[error("{0}")]
    Input(String),
    /// An operation on tensors failed.
    #[error(transparent)]
    Tensor(#[from] bert4rs_tensor::Error),
    /// The task failed.
    #[error("{doing}: {source}")]
    Task {
        /// What the trainer had asked for.
        doing: String,
        /// The task's own error.
        source: BoxedError,
    },
    /// A file of the run folder cannot be read or written.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to try.
        message: String,
    },
    /// A run that cannot be resumed as asked.
    #[error("{0}")]
    Resume(String),
    /// Training diverged.
    #[error("{0}")]
    Diverged(String),
    /// Stopped on request; everything is kept.
    #[error("stopped after step {step}; {kept}")]
    Stopped {
        /// Steps done.
        step: u64,
        /// What was kept where, and how to go on.
        kept: String,
    },
}

impl Error {
    pub(crate) fn config<T>(key: &str, message: impl Into<String>) -> Result<T> {
        Err(Error::Config { key: key.to_string(), message: message.into() })
    }

    pub(crate) fn file<T>(path: &Path, message: impl Into<String>) -> Result<T> {
        Err(Error::File { path: path.to_path_buf(), message: message.into() })
    }

    pub(crate) fn task(doing: impl Into<String>, source: impl Into<BoxedError>) -> Self {
        Error::Task { doing: doing.into(), source: source.into() }
    }
}

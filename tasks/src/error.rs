//! What can go wrong in a task.

use std::path::Path;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate; the text says what, where, expected and what to try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration that cannot be run.
    #[error("{0}")]
    Config(String),
    /// A `--set` that assigns nothing.
    #[error("{0}")]
    Assignment(String),
    /// A run folder that cannot take this run.
    #[error("{path}: {message}")]
    RunFolder {
        /// The folder.
        path: String,
        /// Why, and what to try.
        message: String,
    },
    /// Input that cannot be used.
    #[error("{0}")]
    Input(String),
    /// One of many texts cannot be used.
    #[error("text {}: {message}", index + 1)]
    Text {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it and what to try.
        message: String,
    },
    /// A model folder that cannot be used.
    #[error("{path}: {message}")]
    Model {
        /// The file or folder.
        path: String,
        /// What is wrong with it and what to try.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        message: String,
    },
    /// An output that cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Strings, formats, tokenizers.
    #[error(transparent)]
    Strings(#[from] bert4rs_text::Error),
    /// Tensors and weight files.
    #[error(transparent)]
    Tensor(#[from] bert4rs_tensor::Error),
    /// Models.
    #[error(transparent)]
    Nn(#[from] bert4rs_nn::Error),
    /// Vectors and indexes.
    #[error(transparent)]
    Search(#[from] bert4rs_search::Error),
    /// Training.
    #[error(transparent)]
    Train(#[from] bert4rs_train::Error),
}

impl Error {
    pub(crate) fn file(path: &Path, error: impl std::fmt::Display) -> Self {
        Error::File { path: path.display().to_string(), message: error.to_string() }
    }

    pub(crate) fn model(path: &Path, message: impl Into<String>) -> Self {
        Error::Model { path: path.display().to_string(), message: message.into() }
    }
}

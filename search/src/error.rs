//! What can go wrong in a search.

use std::path::Path;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate; the text says what, where, expected and what to try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Vectors that cannot be used: lengths, numbers, counts.
    #[error("{0}")]
    Input(String),
    /// An index that cannot be opened or changed.
    #[error("{path}: {message}")]
    Index {
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
}

impl Error {
    pub(crate) fn index(path: &Path, message: impl Into<String>) -> Self {
        Error::Index { path: path.display().to_string(), message: message.into() }
    }

    pub(crate) fn file(path: &Path, error: impl std::fmt::Display) -> Self {
        Error::File { path: path.display().to_string(), message: error.to_string() }
    }
}

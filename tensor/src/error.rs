//! What can go wrong with tensors and weight files.

use crate::DType;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate; the text says what, where and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Shapes do not fit the operation.
    #[error("{op}: {message}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What it got and what it expects.
        message: String,
    },
    /// The number type does not fit the operation.
    #[error("{op}: expected {expected}, got {got:?}")]
    DType {
        /// The operation.
        op: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it got.
        got: DType,
    },
    /// A gradient was asked for that does not exist.
    #[error("{op}: {message}")]
    Gradient {
        /// The operation.
        op: &'static str,
        /// What is missing and what to do instead.
        message: String,
    },
    /// A value outside the domain of an operation.
    #[error("{op}: {message}")]
    Value {
        /// The operation.
        op: &'static str,
        /// What it got and what it expects.
        message: String,
    },
    /// A weight file cannot be read or written.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it and what to try.
        message: String,
    },
}

impl Error {
    pub(crate) fn shape<T>(op: &'static str, message: impl Into<String>) -> Result<T> {
        Err(Error::Shape { op, message: message.into() })
    }

    pub(crate) fn value<T>(op: &'static str, message: impl Into<String>) -> Result<T> {
        Err(Error::Value { op, message: message.into() })
    }

    pub(crate) fn file<T>(path: &std::path::Path, message: impl Into<String>) -> Result<T> {
        Err(Error::File { path: path.display().to_string(), message: message.into() })
    }
}

//! What can go wrong with strings and files, told to the person who fixes the input.

use std::path::Path;

/// `Result` with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate: what, where, expected, what to try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("{file}: {source}")]
    Io {
        /// The file as it was named.
        file: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line of a file is not as its format says.
    #[error("{file}:{line}: {message}")]
    Line {
        /// The file as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, what was expected, what to try.
        message: String,
    },
    /// A file as a whole is not as its format says.
    #[error("{file}: {message}")]
    File {
        /// The file as it was named.
        file: String,
        /// What is wrong, what was expected, what to try.
        message: String,
    },
    /// A vocabulary that no tokenizer can use.
    #[error("vocabulary: {0}")]
    Vocab(String),
    /// The input has more tokens than the limit, and the overflow rule is `error`.
    #[error(
        "the input has {tokens} tokens, at most {limit} are allowed; shorten it, or choose overflow \"truncate\" or \"window\""
    )]
    TooLong {
        /// Tokens of the input, special tokens included.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// A limit or option that cannot be met.
    #[error("{0}")]
    Option(String),
    /// The tokenizer itself failed on an input.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// An example that the chosen format cannot express.
    #[error("cannot write this example: {0}")]
    Unwritable(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { file: path.display().to_string(), source }
    }

    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::File { file: path.display().to_string(), message: message.into() }
    }

    pub(crate) fn line(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self::Line { file: file.to_string(), line, message: message.into() }
    }
}

//! What can go wrong with models.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate; the text says what, where and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on tensors failed.
    #[error(transparent)]
    Tensor(#[from] bert4rs_tensor::Error),
    /// A configuration that no model can be built from.
    #[error("{0}")]
    Config(String),
    /// A checkpoint that does not fit.
    #[error("{path}: {message}")]
    Checkpoint {
        /// The file or folder.
        path: String,
        /// What is wrong with it and what to try.
        message: String,
    },
    /// Input a model cannot take.
    #[error("{0}")]
    Input(String),
}

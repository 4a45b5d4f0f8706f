//! Reading and writing the weights of models.

mod checkpoint;
mod config_file;
mod family;
mod layout;
mod names;
mod piece;
mod source;
mod tensorflow;

pub use checkpoint::{Allow, Checkpoint, LoadReport, save};
pub use config_file::config_file;
pub use layout::Layout;
pub use names::is_buffer;
pub(crate) use names::nearest;
pub use source::{Source, sources};
pub use tensorflow::Variable;

//! Weight files.

mod checksum;
pub mod safetensors;
mod stored;
pub mod tf_checkpoint;
pub mod torch_zip;

pub use stored::{ElementType, Stored};

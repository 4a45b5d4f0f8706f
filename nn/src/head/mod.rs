//! Heads: what turns hidden states into scores, names its loss and decodes its answers.
//!
//! A [`SpanHead`] scores spans, nested ones too; a [`TagHead`] gives each token one tag.

mod crf;
mod efficient_global_pointer;
mod global_pointer;
mod memm;
mod rotation;
mod softmax;
mod span;
mod tag;
pub mod tags;

pub use bert4rs_tensor::op::span_score::{ScoredSpan, Span};
pub use crf::Crf;
pub use efficient_global_pointer::{BiasInput, EfficientGlobalPointer, EfficientGlobalPointerConfig, Layout};
pub use global_pointer::{GlobalPointer, GlobalPointerConfig};
pub use memm::Memm;
pub use softmax::Softmax;
pub use span::{Reduction, SpanHead, SpanHeadConfig, flat};
pub use tag::{MemmDecoding, TagHead, TagHeadConfig, TagHeadKind};

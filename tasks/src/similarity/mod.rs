//! Sentence similarity: pairs, triples, groups or plain texts in, vectors whose cosines rank out.
//!
//! What is trained becomes a folder of sentence-transformers; [`SentenceEncoder`](crate::sentence)
//! opens it, as do the libraries of the ecosystem.

mod build;
mod check;
mod config;
mod data;
mod examples;
mod folder;
mod objective;
mod run;
mod score;

pub use config::{Distill, LabelScale, LossConfig, LossKind, SimilarityConfig};
pub(crate) use data::{NLI, records};
pub use data::{Pair, read_pairs};
pub use run::{TrainReport, train};
pub use score::{Binary, Evaluation, Versus, compare, cosines, evaluate, of_scores};

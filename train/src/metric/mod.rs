//! Metrics: plain functions from gold and predicted answers to numbers.

pub mod accuracy;
pub mod entity;

pub use accuracy::accuracy;
pub use entity::{Counts, EntityScore, Labelled, entity_score};

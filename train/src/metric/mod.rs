//! Metrics: plain functions from gold and predicted answers to numbers.

pub mod accuracy;
pub mod bootstrap;
pub mod correlation;
pub mod entity;
pub mod threshold;

pub use accuracy::accuracy;
pub use bootstrap::{Comparison, paired_bootstrap};
pub use correlation::{pearson, spearman};
pub use entity::{Counts, EntityScore, Labelled, entity_score};
pub use threshold::{Goal, Threshold, average_precision, best_threshold};

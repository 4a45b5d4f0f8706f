//! Losses: functions on tensors.

mod cosent;
mod cosine;
mod cross_entropy;
mod distillation;
mod expected_overlap;
mod in_batch;
mod matryoshka;
mod pair_classification;
mod seq2seq;
mod zlpr;

pub use cosent::{cosent, cosent_of_scores};
pub use cosine::{Distance, cosine_regression, cosines, triplet};
pub use cross_entropy::{cross_entropy, linear_cross_entropy};
pub use distillation::{similarity_distillation, vector_distillation};
pub use expected_overlap::expected_overlap;
pub use in_batch::{Choice, Views, alignment, multiple_negatives, simcse, uniformity};
pub use matryoshka::matryoshka;
pub use pair_classification::{mixed_task_cross_entropy, pair_features};
pub use seq2seq::{seq2seq, seq2seq_targets, unilm_mask};
pub use zlpr::{zlpr, zlpr_probability, zlpr_sparse, zlpr_with_threshold};

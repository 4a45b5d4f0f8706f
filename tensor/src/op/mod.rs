//! The operations, one file per family. All are methods of [`Tensor`](crate::Tensor) or functions
//! here; every one returns an error on shapes or types it cannot take.
//!
//! Elementary (gradients of any order): arithmetic, reduction, layout, index, matmul, activation,
//! softmax, rounding. Fused (first-order gradients, written by hand): linear, feed forward, normalization, attention,
//! rotary, cross entropy (of logits, of a product), CoSENT, span loss, CRF, recurrence, dropout, unfold, Fourier,
//! per text, recomputation. Without gradients: prepared.

pub mod activation;
pub mod arithmetic;
pub mod attention;
pub mod cosent;
pub mod crf;
pub mod cross_entropy;
pub mod dropout;
pub mod feed_forward;
pub mod fourier;
pub mod gru;
pub mod index;
pub mod joint_linear;
pub mod layout;
pub mod linear;
pub mod linear_cross_entropy;
pub mod lstm;
pub mod matmul;
pub mod normalization;
pub mod optimizer;
pub mod per_text;
pub mod prepared;
pub mod recompute;
pub mod reduce;
pub mod rotary;
pub mod rounding;
pub mod softmax;
pub mod span_score;
pub mod unary;
pub mod unfold;

pub use activation::Activation;

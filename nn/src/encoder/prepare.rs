//! An encoder made ready for inference: every product's weights are arranged once, in the precision
//! that is asked for, and the trained matrices are let go.
//!
//! Numerics:    f32 gives the bits of the trained encoder; bf16 rounds the weights to 8 bits; int8
//!              rounds weights per output and rows of activations. Embeddings, norms, attention and
//!              recurrent products stay in f32. In every precision a text's result depends neither
//!              on the other texts nor on threads, bit for bit
//! Cost:        one pass over the weights; memory 1, 1/2 and 1/4 of the f32 matrices

use std::fmt;
use std::str::FromStr;

use bert4rs_tensor::op::prepared::WeightPrecision;

use super::model::Encoder;
use crate::{Error, Result};

/// In which precision a model answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As it was trained.
    F32,
    /// Weights in bf16: half the memory, faster where memory is the limit (one text, large model).
    Bf16,
    /// Weights and activations of products in 8 bits: the fastest on CPUs with VNNI, not as exact.
    Int8,
    /// The fastest that costs no accuracy worth mentioning. Here that is f32: whether 8 bits cost little
    /// enough is known of a model, not of an encoder (`calibration` of the crate `bert4rs-tasks`).
    #[default]
    Auto,
}

impl Precision {
    /// What it means on this machine.
    pub fn weights(self) -> WeightPrecision {
        match self {
            Precision::F32 | Precision::Auto => WeightPrecision::F32,
            Precision::Bf16 => WeightPrecision::Bf16,
            Precision::Int8 => WeightPrecision::Int8,
        }
    }

    /// Its name in commands.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
            Precision::Auto => "auto",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [Precision::F32, Precision::Bf16, Precision::Int8, Precision::Auto];
        all.into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| Error::Config(format!("precision {name}: expected f32, bf16, int8 or auto")))
    }
}

impl Encoder {
    /// Makes the encoder ready for inference. Matrices are freed where nobody else holds them: drop
    /// the `Params` they were made with. It cannot be trained any more; [`Encoder::forward`] and the
    /// rest are as before.
    pub fn prepare(&mut self, precision: Precision) -> Result<()> {
        let weights = precision.weights();
        self.embedding.prepare(weights)?;
        self.stack.prepare(weights)
    }
}

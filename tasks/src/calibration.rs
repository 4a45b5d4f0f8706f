//! Calibration: the permission to answer in 8 bits, measured on a model's own kind of texts.
//! Definition:  8 bits are permitted when they cost at most `bound` points (hundredths): of entity F1,
//!              or of the cosine of neighbouring texts (mean change)
//! File:        calibration.json in the model folder, with a fingerprint of the weights it is of
//! Numerics:    nothing is stored for the products: weights are rounded per output, activations per
//!              token while they are computed, so no range has to be estimated beforehand
//!
//! `Precision::Auto` is f32 without this file, with one that permits nothing, and on CPUs without
//! 8-bit products; a file of other weights is an error.

pub(crate) mod fingerprint;
mod measure;

use std::path::Path;

use bert4rs_nn::encoder::Precision;
use bert4rs_tensor::has_int8_products;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use measure::{MOST_TEXTS, of_entities, of_vectors};

const FILE: &str = "calibration.json";
/// Raised when the arithmetic of 8-bit products changes, so that old measurements do not hold.
const VERSION: u32 = 2;

/// What was measured on a model, in f32 and in 8 bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    version: u32,
    /// Of the weights that were measured.
    weights: String,
    /// Texts that were answered in both precisions.
    pub texts: usize,
    /// How alike the answers were.
    pub agreement: Agreement,
    /// The most points that 8 bits may cost.
    pub bound: f64,
    /// Seconds of f32 divided by seconds of 8 bits, on the machine that measured.
    pub speedup: f64,
}

/// How alike the answers of two precisions are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Agreement {
    /// Of sentence vectors.
    Vectors {
        /// Of the two vectors of a text, the mean.
        mean_cosine: f64,
        /// The smallest.
        worst_cosine: f64,
        /// Mean change of the cosine between a text and the next one.
        score_change: f64,
    },
    /// Of entities.
    Entities {
        /// F1 in f32.
        f1_f32: f64,
        /// F1 in 8 bits.
        f1_int8: f64,
        /// Share of texts with the very same entities.
        same_answers: f64,
    },
}

impl Agreement {
    /// Points that 8 bits cost; negative when they gain.
    pub fn cost(&self) -> f64 {
        100.0
            * match self {
                Agreement::Vectors { score_change, .. } => *score_change,
                Agreement::Entities { f1_f32, f1_int8, .. } => f1_f32 - f1_int8,
            }
    }
}

impl Calibration {
    fn new(dir: &Path, texts: usize, agreement: Agreement, bound: f64, speedup: f64) -> Result<Self> {
        if !bound.is_finite() || bound < 0.0 {
            return Err(Error::Config(format!("bound {bound}: expected points, 0 or more")));
        }
        let weights = fingerprint::of(dir)?;
        Ok(Self { version: VERSION, weights, texts, agreement, bound, speedup })
    }

    /// Whether 8 bits stay within the bound.
    pub fn permits_int8(&self) -> bool {
        self.agreement.cost() <= self.bound
    }

    /// Writes it into the model folder, in place of an older one.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::model(&path, e.to_string()))?;
        std::fs::write(&path, text + "\n").map_err(|e| Error::file(&path, format!("cannot be written: {e}")))
    }

    /// The one of a folder, if it has one; it must be of the folder's weights.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::file(&path, e)),
        };
        let hint = "measure again with `bert4rs calibrate MODEL DATA`, or remove the file";
        let found: Self =
            serde_json::from_slice(&text).map_err(|e| Error::model(&path, format!("{e}; {hint}")))?;
        if found.version != VERSION {
            let message = format!("is of version {}, this program's is {VERSION}; {hint}", found.version);
            return Err(Error::model(&path, message));
        }
        let weights = fingerprint::of(dir)?;
        if found.weights != weights {
            let message = format!(
                "was measured on other weights ({}) than the folder's ({weights}); {hint}, or ask for \
                 --precision f32 or int8",
                found.weights
            );
            return Err(Error::model(&path, message));
        }
        Ok(Some(found))
    }
}

/// What a precision means for the model in a folder: `Auto` becomes 8 bits where the CPU multiplies
/// them and the folder's calibration permits them, else f32; others stay.
pub fn resolve(dir: &Path, precision: Precision) -> Result<Precision> {
    if precision != Precision::Auto {
        return Ok(precision);
    }
    let permitted = Calibration::read(dir)?.is_some_and(|found| found.permits_int8());
    Ok(if permitted && has_int8_products() { Precision::Int8 } else { Precision::F32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("model.safetensors"), "weights").unwrap();
        dir
    }

    fn entities(f1_int8: f64) -> Agreement {
        Agreement::Entities { f1_f32: 0.8, f1_int8, same_answers: 0.99 }
    }

    #[test]
    fn auto_is_f32_until_a_calibration_permits_8_bits() {
        let dir = folder();
        let auto = || resolve(dir.path(), Precision::Auto).unwrap();
        assert_eq!(auto(), Precision::F32);
        Calibration::new(dir.path(), 100, entities(0.79), 0.2, 2.0).unwrap().save(dir.path()).unwrap();
        assert_eq!(auto(), Precision::F32);
        Calibration::new(dir.path(), 100, entities(0.799), 0.2, 2.0).unwrap().save(dir.path()).unwrap();
        assert_eq!(auto(), if has_int8_products() { Precision::Int8 } else { Precision::F32 });
        for asked in [Precision::F32, Precision::Bf16, Precision::Int8] {
            assert_eq!(resolve(dir.path(), asked).unwrap(), asked);
        }
    }

    #[test]
    fn a_calibration_of_other_weights_is_an_error() {
        let dir = folder();
        let made = Calibration::new(dir.path(), 100, entities(0.8), 0.2, 2.0).unwrap();
        made.save(dir.path()).unwrap();
        assert_eq!(Calibration::read(dir.path()).unwrap(), Some(made));
        std::fs::write(dir.path().join("model.safetensors"), "Weights").unwrap();
        let error = resolve(dir.path(), Precision::Auto).unwrap_err().to_string();
        assert!(error.contains("calibration.json: was measured on other weights"), "{error}");
        assert!(error.contains("bert4rs calibrate MODEL DATA"), "{error}");
        assert_eq!(resolve(dir.path(), Precision::Int8).unwrap(), Precision::Int8);
        std::fs::write(dir.path().join(FILE), "{\"version\": 1}").unwrap();
        assert!(resolve(dir.path(), Precision::Auto).unwrap_err().to_string().contains("missing field"));
    }

    #[test]
    fn costs_are_points() {
        let vectors = Agreement::Vectors { mean_cosine: 0.999, worst_cosine: 0.99, score_change: 0.004 };
        assert!((vectors.cost() - 0.4).abs() < 1e-12);
        assert!((entities(0.81).cost() + 1.0).abs() < 1e-12);
        let error = Calibration::new(folder().path(), 1, vectors, f64::NAN, 1.0).unwrap_err().to_string();
        assert!(error.contains("expected points"), "{error}");
    }
}

//! Settings of matching.

use serde::{Deserialize, Serialize};

use crate::config::TaskKind;
use crate::{Error, Result};

/// What matching does with its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchingConfig {
    /// Always `matching`.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// What is learned of a pair.
    #[serde(default)]
    pub objective: Objective,
    /// Classes; taken from the training data when not given: numbers by size, NLI's by likeness, other
    /// names by alphabet.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Tokens of a pair that are read, special tokens included.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Dropout before the classifier.
    #[serde(default = "default_dropout")]
    pub dropout: f64,
}

/// What is learned of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// A class.
    #[default]
    Classification,
    /// A number, scaled to 0..1.
    Regression,
}

fn default_max_tokens() -> usize {
    128
}

fn default_dropout() -> f64 {
    0.1
}

impl MatchingConfig {
    /// Checks what does not depend on data.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Config(format!("[task]: {message}")));
        if self.max_tokens < 8 {
            return fail(format!("max_tokens = {}: expected at least 8, usually 128", self.max_tokens));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail(format!("dropout = {}: expected 0 or more and less than 1", self.dropout));
        }
        if self.objective == Objective::Regression && !self.labels.is_empty() {
            return fail("labels are for classes; objective = \"regression\" has none".into());
        }
        for (i, label) in self.labels.iter().enumerate() {
            if label.is_empty() || self.labels[..i].contains(label) {
                return fail(format!("labels has {label:?} twice or empty; expected every name once"));
            }
        }
        Ok(())
    }
}

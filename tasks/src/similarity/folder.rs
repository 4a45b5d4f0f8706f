//! The model folder: that of sentence-transformers, and `bert4rs.toml` with what it cannot say.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::build::Built;
use super::config::{LossConfig, SimilarityConfig};
use super::score::Evaluation;
use crate::{Error, Result, settings};

const SETTINGS: &str = "bert4rs.toml";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Folder {
    version: String,
    task: SimilarityConfig,
    loss: LossConfig,
    /// Cosines above them say "alike": the best on the development pairs, when these have two labels.
    #[serde(default)]
    thresholds: Option<Thresholds>,
}

/// Thresholds of the cosine that were best on the development pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// For the share of right decisions.
    pub accuracy: f64,
    /// For F1.
    pub f1: f64,
}

pub(super) fn save(
    dir: &Path,
    built: &Built,
    task: &SimilarityConfig,
    loss: &LossConfig,
    evaluation: Option<&Evaluation>,
) -> Result<()> {
    built.model.save(dir, &built.encoder, &built.params)?;
    let thresholds = evaluation.and_then(|e| e.binary.as_ref());
    let thresholds = thresholds.map(|b| Thresholds { accuracy: b.accuracy.value, f1: b.f1.value });
    let folder = Folder {
        version: env!("CARGO_PKG_VERSION").into(),
        task: task.clone(),
        loss: loss.clone(),
        thresholds,
    };
    let text = toml::to_string(&folder).map_err(|e| Error::model(dir, e.to_string()))?;
    let card = format!(
        "# Sentence encoder\n\nTrained with bert4rs {}; vectors of {} numbers, texts of up to {} tokens. \
         Opens in sentence-transformers.\n\n    bert4rs embed FOLDER texts.txt -o vectors.npy\n    \
         bert4rs eval FOLDER pairs.jsonl\n",
        env!("CARGO_PKG_VERSION"),
        built.model.width(),
        built.model.max_tokens().map_or("any number of".into(), |n| n.to_string()),
    );
    for (name, content) in [(SETTINGS, text), ("README.md", card)] {
        fs::write(dir.join(name), content).map_err(|e| Error::file(&dir.join(name), e))?;
    }
    Ok(())
}

/// The thresholds that a folder keeps, if it is one of ours and has any.
pub(super) fn thresholds(dir: &Path) -> Result<Option<Thresholds>> {
    let file = dir.join(SETTINGS);
    if !file.is_file() {
        return Ok(None);
    }
    let folder: Folder = settings::parse(settings::read_table(&file)?, &file.display().to_string())?;
    Ok(folder.thresholds)
}

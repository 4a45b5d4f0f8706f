//! The model folder of a cross-encoder: the ecosystem's own layout, and `bert4rs.toml` beside it.

use std::fs;
use std::path::Path;

use bert4rs_nn::encoder::{EncoderConfig, huggingface};
use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_text::Tokenizer;
use serde::{Deserialize, Serialize};

use super::config::MatchingConfig;
use super::model::MatchingModel;
use crate::{Error, Result, settings};

const SETTINGS: &str = "bert4rs.toml";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Folder {
    version: String,
    task: MatchingConfig,
    encoder: EncoderConfig,
}

impl MatchingModel {
    /// Writes the model's files into an existing folder.
    pub fn save(&self, dir: &Path) -> Result<()> {
        if self.params.is_empty() {
            let message = "a prepared model has no weights to save; save the model as it was opened";
            return Err(Error::model(dir, message));
        }
        self.tokenizer.save(dir)?;
        huggingface::save(dir, &self.encoder_config, &self.params)?;
        let folder = Folder {
            version: env!("CARGO_PKG_VERSION").into(),
            task: self.task.clone(),
            encoder: self.encoder_config.clone(),
        };
        let text = toml::to_string(&folder).map_err(|e| Error::model(dir, e.to_string()))?;
        let card = format!(
            "# Cross-encoder\n\nTrained with bert4rs {}. Reads two texts of up to {} tokens together. \
             Labels: {}.\n\n    bert4rs eval FOLDER pairs.jsonl\n    \
             bert4rs rerank FOLDER --query \"a question\" candidates.txt\n",
            env!("CARGO_PKG_VERSION"),
            self.task.max_tokens,
            if self.task.labels.is_empty() { "a score".into() } else { self.task.labels.join(", ") },
        );
        for (name, content) in [(SETTINGS, text), ("README.md", card)] {
            fs::write(dir.join(name), content).map_err(|e| Error::file(&dir.join(name), e))?;
        }
        Ok(())
    }

    /// Opens a folder.
    pub fn open(dir: &Path) -> Result<Self> {
        let file = dir.join(SETTINGS);
        if !file.is_file() {
            let message =
                format!("has no {SETTINGS}: not a model folder; `bert4rs train` writes one as RUN/best");
            return Err(Error::model(dir, message));
        }
        let folder: Folder = settings::parse(settings::read_table(&file)?, &file.display().to_string())?;
        let Folder { task, encoder, .. } = folder;
        let model = MatchingModel::new(task, encoder, Tokenizer::from_dir(dir)?, 0)?;
        // Nothing may be missing and nothing left over: the folder was written by `save`.
        let exactly = Allow { missing: Vec::new(), unexpected: Vec::new() };
        Checkpoint::open(dir)?.fill(&model.params, &exactly)?;
        Ok(model)
    }
}

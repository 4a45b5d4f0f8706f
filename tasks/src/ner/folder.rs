//! The model folder of an entity recogniser: what was trained is exactly what is served.
//!
//! `model.safetensors`, `config.json` and the tokenizer's files are in the ecosystem's own layout;
//! `bert4rs.toml` holds what they cannot say: task, labels, head, encoder settings.

use std::fs;
use std::path::Path;

use bert4rs_nn::encoder::{Encoder, EncoderConfig, huggingface};
use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_text::Tokenizer;
use serde::{Deserialize, Serialize};

use super::config::{HeadConfig, NerConfig};
use super::model::NerModel;
use crate::{Error, Result, settings};

const SETTINGS: &str = "bert4rs.toml";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Folder {
    version: String,
    special_tokens: bool,
    task: NerConfig,
    head: HeadConfig,
    encoder: EncoderConfig,
}

impl NerModel {
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
            special_tokens: self.special_tokens,
            task: self.task.clone(),
            head: self.head_config.clone(),
            encoder: self.encoder_config.clone(),
        };
        let text = toml::to_string(&folder).map_err(|e| Error::model(dir, e.to_string()))?;
        for (name, content) in [(SETTINGS, text), ("README.md", self.card())] {
            fs::write(dir.join(name), content).map_err(|e| Error::file(&dir.join(name), e))?;
        }
        Ok(())
    }

    /// Opens a folder.
    pub fn open(dir: &Path) -> Result<Self> {
        let file = dir.join(SETTINGS);
        if !dir.is_dir() {
            return Err(Error::model(
                dir,
                "there is no such folder; expected a model folder such as RUN/best",
            ));
        }
        if !file.is_file() {
            let message =
                format!("has no {SETTINGS}: not a model folder; `bert4rs train` writes one as RUN/best");
            return Err(Error::model(dir, message));
        }
        let folder: Folder = settings::parse(settings::read_table(&file)?, &file.display().to_string())?;
        let tokenizer = Tokenizer::from_dir(dir)?;
        let Folder { task, head, encoder, special_tokens, .. } = folder;
        let make = Encoder::to_be_filled; // random weights take time, and are replaced below
        let model = NerModel::assemble(task, head, encoder, tokenizer, special_tokens, 0, make)?;
        // Nothing may be missing and nothing left over: the folder was written by `save`.
        let exactly = Allow { missing: Vec::new(), unexpected: Vec::new() };
        Checkpoint::open(dir)?.fill(&model.params, &exactly)?;
        Ok(model)
    }

    fn card(&self) -> String {
        format!(
            "# Entity recogniser\n\nTrained with bert4rs {}. Labels: {}. Decoder: {:?}. {} parameters.\n\n    \
             bert4rs predict FOLDER \"text\"\n    bert4rs eval FOLDER dev.jsonl\n",
            env!("CARGO_PKG_VERSION"),
            self.labels().join(", "),
            self.head_config.decoder,
            self.params.elements()
        )
    }
}

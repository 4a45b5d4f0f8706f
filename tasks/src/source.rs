//! Where an encoder comes from: a preset with a learned vocabulary, or a published folder with its own.

use std::path::PathBuf;

use bert4rs_nn::encoder::{EncoderConfig, huggingface, preset, preset_names};
use bert4rs_text::learn::{self, Limits};
use bert4rs_text::{Rules, Tokenizer};
use toml::{Table, Value};

use crate::config::{RunConfig, TokenizerConfig, TokenizerKind};
use crate::{Error, Result, settings};

/// Fields that follow from the tokenizer: not to be set, not in the resolved configuration.
const LEARNED: [&str; 2] = ["vocab_size", "unk_id"];

/// An encoder that is to be made.
pub(crate) struct Source {
    pub(crate) encoder: EncoderConfig,
    pub(crate) tokenizer: Tokenizer,
    /// The folder its weights are read from; none for weights that start anew.
    pub(crate) folder: Option<PathBuf>,
}

impl Source {
    /// What `[encoder]` and `[tokenizer]` describe; `texts` teach a vocabulary. Leaves in
    /// `config.encoder` every field of the encoder, so that the configuration says all of it.
    /// `inside` finds the encoder's own folder in that of `encoder.path`.
    pub(crate) fn resolve<'a>(
        config: &mut RunConfig,
        texts: impl Iterator<Item = &'a str>,
        inside: impl Fn(PathBuf) -> Result<PathBuf>,
    ) -> Result<Self> {
        let mut fields = config.encoder.clone();
        let (name, path) = (take_text(&mut fields, "preset")?, take_text(&mut fields, "path")?);
        unshare(&mut fields)?;
        let (source, origin) = match (name, path) {
            (None, Some(path)) => {
                let folder = PathBuf::from(&path);
                if !folder.is_dir() {
                    let message =
                        "there is no such folder; expected config.json, model.safetensors and a tokenizer";
                    return Err(Error::model(&folder, format!("(encoder.path) {message}")));
                }
                let folder = inside(folder)?;
                let tokenizer = Tokenizer::from_dir(&folder)?;
                let encoder = override_fields(&huggingface::read_config(&folder)?, &fields)?;
                (Source { encoder, tokenizer, folder: Some(folder) }, ("path", path))
            }
            (Some(name), None) => {
                let mut encoder = preset(&name)?;
                if let Some(key) = LEARNED.iter().find(|key| fields.contains_key(**key)) {
                    return Err(Error::Config(format!(
                        "[encoder]: {key} follows from the learned vocabulary; remove it, and limit the \
                         vocabulary by vocab_size in [tokenizer]"
                    )));
                }
                let tokenizer = learn_tokenizer(config.tokenizer.as_ref(), texts)?;
                encoder.vocab_size = tokenizer.vocab_size();
                encoder.embedding.unk_id = tokenizer.unk_id().unwrap_or_default() as usize;
                let encoder = override_fields(&encoder, &fields)?;
                (Source { encoder, tokenizer, folder: None }, ("preset", name))
            }
            (Some(_), Some(_)) => {
                return Err(Error::Config("[encoder]: preset and path are both given; keep one".into()));
            }
            (None, None) => {
                let presets = preset_names().collect::<Vec<_>>().join(", ");
                return Err(Error::Config(format!(
                    "[encoder]: expected preset = \"..\" (from scratch: {presets}) or path = \"..\" (a folder \
                     with a published encoder)"
                )));
            }
        };
        let (tokens, rows) = (source.tokenizer.vocab_size(), source.encoder.vocab_size);
        if tokens > rows {
            return Err(Error::Config(format!(
                "the tokenizer has {tokens} tokens, but the encoder embeds only {rows} (vocab_size); do \
                 tokenizer and encoder belong together?"
            )));
        }
        config.encoder = resolved(&source.encoder, origin)?;
        Ok(source)
    }
}

/// All fields of the encoder and where it comes from.
fn resolved(encoder: &EncoderConfig, (key, value): (&str, String)) -> Result<Table> {
    let mut table = as_table(encoder)?;
    table.insert(key.into(), Value::String(value));
    table.remove("vocab_size");
    if let Some(Value::Table(embedding)) = table.get_mut("embedding") {
        embedding.remove("unk_id");
    }
    Ok(table)
}

fn learn_tokenizer<'a>(
    config: Option<&TokenizerConfig>,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Tokenizer> {
    let config = config.cloned().unwrap_or_default();
    let limits = Limits {
        min_count: config.min_count,
        max_size: config.vocab_size,
        lower_case: config.lowercase,
        ..Limits::default()
    };
    let (vocab, rules) = match config.kind {
        TokenizerKind::Characters => (learn::characters(texts, &limits)?, Rules::characters()),
        TokenizerKind::Wordpiece => (learn::word_pieces(texts, &limits)?, Rules::bert(config.lowercase)),
    };
    Ok(Tokenizer::from_vocab(vocab, Rules { lower_case: config.lowercase, ..rules })?)
}

/// `unshare = true` is another word for `sharing = "none"`.
fn unshare(fields: &mut Table) -> Result<()> {
    match fields.remove("unshare") {
        None | Some(Value::Boolean(false)) => Ok(()),
        Some(Value::Boolean(true)) if fields.contains_key("sharing") => {
            Err(Error::Config("[encoder]: unshare and sharing are both given; keep one".into()))
        }
        Some(Value::Boolean(true)) => {
            fields.insert("sharing".into(), Value::String("none".into()));
            Ok(())
        }
        Some(other) => Err(Error::Config(format!("[encoder]: unshare = {other}: expected true or false"))),
    }
}

fn take_text(fields: &mut Table, key: &str) -> Result<Option<String>> {
    match fields.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::Config(format!("[encoder]: {key} = {other}: expected a text"))),
    }
}

fn override_fields(config: &EncoderConfig, fields: &Table) -> Result<EncoderConfig> {
    let mut table = as_table(config)?;
    settings::merge(&mut table, fields);
    settings::parse(table, "[encoder]")
}

fn as_table(config: &EncoderConfig) -> Result<Table> {
    Table::try_from(config).map_err(|e| Error::Config(format!("[encoder]: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unshare_is_another_word_for_sharing_none() {
        let mut fields: Table = toml::from_str("unshare = true\nlayers = 3").unwrap_or_default();
        unshare(&mut fields).unwrap_or_default();
        assert_eq!(fields.get("sharing"), Some(&Value::String("none".into())));
        assert!(!fields.contains_key("unshare"));
        fields.insert("unshare".into(), Value::Boolean(true));
        assert!(unshare(&mut fields).is_err_and(|e| e.to_string().contains("keep one")));
    }
}

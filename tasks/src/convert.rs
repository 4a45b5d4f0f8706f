//! A model folder of any format that is read, written as a folder of Hugging Face: `config.json`,
//! `model.safetensors`, and the files of its tokenizer.
//!
//! Numbers keep their type and bytes; of TensorFlow's kernels the axes change places. One tensor at a
//! time is in memory. The new folder appears whole or not at all.

mod config;
mod files;
mod vocabulary;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_nn::Builder;
use bert4rs_nn::encoder::{Encoder, huggingface};
use bert4rs_nn::weights::{Allow, Checkpoint, Source, config_file, is_buffer, sources};
use bert4rs_tensor::io::safetensors::{ToSave, save_each, write_atomic};
use bert4rs_tensor::{DType, Params, Rng};
use serde::Serialize;
use serde_json::Value;

use self::vocabulary::Rows;
pub use self::vocabulary::Selection;
use crate::{Error, Result};

/// What a conversion did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Converted {
    /// Tensors written.
    pub tensors: usize,
    /// Tensors that were left out: computed ones, and copies of what is shared.
    pub left_out: Vec<String>,
    /// Files copied.
    pub copied: Vec<String>,
    /// Files that were not, because nothing reads them there.
    pub not_copied: Vec<String>,
    /// Tokens of the new vocabulary, where it was changed, and how many of them are means of others.
    pub tokens: Option<(usize, usize)>,
    /// Why bert4rs itself does not open the result, where it does not know the architecture.
    pub unknown: Option<String>,
}

/// Converts folder `from` to the new folder `to`, with some of its tokens only if asked to.
pub fn convert(from: &Path, to: &Path, selection: Option<&Selection>) -> Result<Converted> {
    let taken = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some());
    if taken || to.is_file() {
        return Err(Error::model(to, "is there already; name a new folder"));
    }
    let beside = with_suffix(to, ".partial");
    if beside.exists() {
        return Err(Error::model(&beside, "is left from a conversion that was killed; remove it"));
    }
    fs::create_dir_all(&beside).map_err(|e| Error::file(&beside, e))?;
    let done = write(from, &beside, selection)
        .and_then(|done| fs::rename(&beside, to).map(|()| done).map_err(|e| Error::file(to, e)));
    if done.is_err() {
        let _ = fs::remove_dir_all(&beside); // best effort: the error is the one that matters
    }
    done
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.components().as_path().as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write(from: &Path, to: &Path, selection: Option<&Selection>) -> Result<Converted> {
    let (path, mut config) = config_file(from)?;
    let sources = sources(from)?;
    let (named, left_out) = names(&sources, &config)?;
    let rows = selection.map(|selection| Rows::read(from, selection)).transpose()?;
    let mut done = Converted { tensors: named.len(), left_out, ..Converted::default() };
    config::complete(&mut config, named.keys().map(String::as_str));
    if let Some(rows) = &rows {
        let old = config::change_vocabulary(&mut config, rows).map_err(|m| Error::model(&path, m))?;
        rows.check(&named, old).map_err(|m| Error::model(from, m))?;
        done.tokens = Some((rows.len(), rows.means()));
    }
    let text = serde_json::to_string_pretty(&config).map_err(|e| Error::file(&path, e))?;
    write_atomic(&to.join("config.json"), format!("{text}\n").as_bytes())?;
    save_each(
        &to.join("model.safetensors"),
        named.iter().map(|(name, tensor)| tensor.to_save(name, rows.as_ref())),
    )?;
    files::copy(from, to, &path, rows.as_ref(), &mut done)?;
    done.unknown = check(to)?;
    Ok(done)
}

/// A tensor in its file.
struct Place<'a> {
    source: &'a Source,
    name: String,
}

impl<'a> Place<'a> {
    fn shape(&self) -> Vec<usize> {
        self.source.shape(&self.name).unwrap_or_default()
    }

    fn to_save(&self, name: &str, rows: Option<&'a Rows>) -> ToSave<'a> {
        let (source, theirs) = (self.source, self.name.clone());
        let rows = rows.filter(|_| vocabulary::has_a_row_per_token(name));
        let mut shape = self.shape();
        if let (Some(rows), Some(first)) = (rows, shape.first_mut()) {
            *first = rows.len();
        }
        let kind = source.kind(&self.name).unwrap_or(bert4rs_tensor::io::ElementType::F32); // `names` has checked it
        let read = Box::new(move || {
            let stored = source.stored(&theirs).map_err(|e| match e {
                bert4rs_nn::Error::Tensor(e) => e,
                other => bert4rs_tensor::Error::Value { op: "convert", message: other.to_string() },
            })?;
            match rows {
                None => Ok(stored),
                Some(rows) => rows.of(&stored),
            }
        });
        ToSave { name: name.to_string(), kind, shape, read }
    }
}

type Named<'a> = BTreeMap<String, Place<'a>>;

/// Every tensor by its name at Hugging Face, and the names of those that are not needed there.
fn names<'a>(sources: &'a [Source], config: &Value) -> Result<(Named<'a>, Vec<String>)> {
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let mut named: Named = BTreeMap::new();
    let mut left_out = Vec::new();
    for source in sources {
        for name in source.names() {
            if is_buffer(&name) {
                left_out.push(name);
                continue;
            }
            if source.kind(&name).is_none() {
                let message =
                    format!("{name} is of a type that holds no plain numbers, and cannot be written");
                return Err(Error::model(source.path(), message));
            }
            let theirs = modern(&name, kind, matches!(source, Source::TensorFlow(..)));
            let place = Place { source, name: name.clone() };
            if let Some(first) = named.insert(theirs.clone(), place) {
                let message = format!("{} and {name} are both {theirs}; remove one", first.name);
                return Err(Error::model(source.path(), message));
            }
        }
    }
    for copy in copies(&named)? {
        named.remove(&copy);
        left_out.push(copy);
    }
    Ok((named, left_out))
}

/// The name that today's files give a tensor.
fn modern(name: &str, kind: &str, tensorflow: bool) -> String {
    let name = match (name.strip_suffix("LayerNorm.gamma"), name.strip_suffix("LayerNorm.beta")) {
        (Some(start), _) => format!("{start}LayerNorm.weight"),
        (_, Some(start)) => format!("{start}LayerNorm.bias"),
        (None, None) => name.to_string(),
    };
    match (kind, name.strip_prefix("bert.")) {
        // Files of TensorFlow call every encoder of the family `bert`.
        ("roformer" | "nezha", Some(rest)) if tensorflow => format!("{kind}.{rest}"),
        _ => name,
    }
}

/// Decoders that are the table of tokens, and the second name of its bias.
fn copies(named: &Named) -> Result<Vec<String>> {
    let table = named.keys().find(|name| name.ends_with("embeddings.word_embeddings.weight"));
    let mut copies = Vec::new();
    for (name, place) in named {
        let original = match name.strip_suffix("decoder.weight") {
            Some(_) => table.cloned(),
            None => name.strip_suffix("decoder.bias").map(|start| format!("{start}bias")),
        };
        let Some(original) = original.and_then(|original| named.get(&original)) else { continue };
        if place.source.stored(&place.name)? == original.source.stored(&original.name)? {
            copies.push(name.clone());
        }
    }
    Ok(copies)
}

/// Whether the new folder holds every tensor of its encoder; why that is not known, where it is not.
fn check(folder: &Path) -> Result<Option<String>> {
    let config = match huggingface::read_config(folder) {
        Ok(config) => config,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    Encoder::to_be_filled(&mut Builder::new(&mut params, &mut rng, DType::F32), &config)?;
    let mut allow = Allow::default();
    // Heads that a folder may have, of Hugging Face and of ours.
    allow.unexpected.extend(
        [
            "head",
            "classifier",
            "qa_outputs",
            "lm_head",
            "predictions",
            "sop_classifier",
            "discriminator_predictions",
        ]
        .map(String::from),
    );
    Checkpoint::open(folder)?.compare(&params, &allow)?;
    Ok(None)
}

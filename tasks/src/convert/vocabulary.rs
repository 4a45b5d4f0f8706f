//! A model with another vocabulary: rows of its tables are picked, and rows of new tokens are means.
//! Definition:  row of a token = its old row; of a token that the old vocabulary lacks, the mean of
//!              the rows of the pieces that the old tokenizer cuts it into
//! Reference:   bert4keras, `keep_tokens` and `compound_tokens`; WoBERT, 2020.

use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_tensor::DType;
use bert4rs_tensor::io::{ElementType, Stored};
use bert4rs_text::{Tokenizer, Vocab};

use super::{Named, files};
use crate::{Error, Result};

/// Which tokens a converted model has.
#[derive(Clone, Debug)]
pub enum Selection {
    /// Those whose ids stand in this file: separated by blanks, commas or lines, or a JSON list.
    Ids(PathBuf),
    /// Those of this file, one per line; new ones become the means of their pieces.
    Tokens(PathBuf),
    /// Without those that a Chinese model of characters never meets: bert4keras' `simplified`.
    Simplified,
}

enum Row {
    Kept(usize),
    Mean(Vec<usize>),
}

/// What becomes of the rows of a table of tokens.
pub(super) struct Rows {
    rows: Vec<Row>,
    vocab: Vocab,
    old: usize,
}

/// Ends of the names of tensors whose first axis is the vocabulary.
const TABLES: [&str; 4] = [
    "embeddings.word_embeddings.weight",
    "predictions.decoder.weight",
    "predictions.decoder.bias",
    "predictions.bias",
];

pub(super) fn has_a_row_per_token(name: &str) -> bool {
    TABLES.iter().any(|end| name.ends_with(end)) && !name.starts_with("discriminator_predictions.")
}

impl Rows {
    pub(super) fn read(from: &Path, selection: &Selection) -> Result<Self> {
        let old = vocab(from)?;
        let kept = |ids: Vec<usize>, path: &Path| -> Result<(Vec<Row>, Vocab)> {
            let token = |id: &usize| {
                let token = old.token(*id as u32).map(str::to_string);
                token.ok_or_else(|| Error::file(path, format!("id {id} is none of the {} tokens", old.len())))
            };
            let vocab = Vocab::new(ids.iter().map(token).collect::<Result<Vec<_>>>()?)?;
            Ok((ids.into_iter().map(Row::Kept).collect(), vocab))
        };
        let (rows, vocab) = match selection {
            Selection::Ids(path) => kept(ids(path)?, path)?,
            Selection::Tokens(path) => {
                let new = Vocab::read(path)?;
                (of_tokens(from, path, &old, &new)?, new)
            }
            Selection::Simplified => {
                let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
                let first: Vec<&str> = special.into_iter().filter(|token| old.id(token).is_some()).collect();
                let (vocab, ids) = old.simplify(&first)?;
                (ids.into_iter().map(|id| Row::Kept(id as usize)).collect(), vocab)
            }
        };
        Ok(Self { rows, vocab, old: old.len() })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many rows are means.
    pub(super) fn means(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row, Row::Mean(_))).count()
    }

    /// The new id of an old one.
    pub(super) fn position(&self, id: usize) -> Option<usize> {
        self.rows.iter().position(|row| matches!(row, Row::Kept(old) if *old == id))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        Ok(self.vocab.write(path)?)
    }

    /// There is a table of tokens, and every one has the rows that the config says.
    pub(super) fn check(&self, named: &Named, size: usize) -> std::result::Result<(), String> {
        let mut tables = named.iter().filter(|(name, _)| has_a_row_per_token(name)).peekable();
        if tables.peek().is_none() {
            return Err("has no table of tokens (embeddings.word_embeddings) to pick rows of".into());
        }
        if self.old > size {
            return Err(format!("has {} tokens in its vocabulary and {size} in its config", self.old));
        }
        match tables.find(|(_, place)| place.shape().first() != Some(&size)) {
            Some((name, place)) => {
                Err(format!("{name} has shape {:?} where the config has {size} tokens", place.shape()))
            }
            None => Ok(()),
        }
    }

    /// The rows of one table or bias.
    pub(super) fn of(&self, table: &Stored) -> bert4rs_tensor::Result<Stored<'static>> {
        let width: usize = table.shape()[1..].iter().product();
        let mut bytes = Vec::with_capacity(self.rows.len() * width * table.kind().size());
        for row in &self.rows {
            match row {
                Row::Kept(id) => bytes.extend_from_slice(table.rows(&[*id])?.bytes()),
                Row::Mean(ids) => bytes.extend_from_slice(mean(table, ids, width)?.bytes()),
            }
        }
        Stored::new(table.kind(), [&[self.rows.len()], &table.shape()[1..]].concat(), bytes)
    }
}

fn mean(table: &Stored, ids: &[usize], width: usize) -> bert4rs_tensor::Result<Stored<'static>> {
    let numbers = table.rows(ids)?.to_tensor(DType::F64)?.to_f64_vec(); // [N, width]
    let mut mean = vec![0.0; width];
    for (i, number) in numbers.iter().enumerate() {
        mean[i % width] += number / ids.len() as f64;
    }
    let kind: ElementType = table.kind();
    Stored::from_f64(kind, vec![width], &mean)
}

fn vocab(from: &Path) -> Result<Vocab> {
    let entries = fs::read_dir(from).map_err(|e| Error::file(from, e))?;
    let names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    match files::vocabulary(&names) {
        Some(name) => Ok(Vocab::read(&from.join(name))?),
        None => {
            Err(Error::model(from, "has no vocab.txt; only models of word pieces can change their tokens"))
        }
    }
}

fn ids(path: &Path) -> Result<Vec<usize>> {
    let text = fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    let separator = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
    let words = text.split(separator).filter(|word| !word.is_empty());
    let one = |word: &str| {
        word.parse().map_err(|_| Error::file(path, format!("{word:?} is no id; expected numbers from 0")))
    };
    let ids: Vec<usize> = words.map(one).collect::<Result<_>>()?;
    match ids.is_empty() {
        true => Err(Error::file(path, "has no ids; expected numbers from 0")),
        false => Ok(ids),
    }
}

fn of_tokens(from: &Path, path: &Path, old: &Vocab, new: &Vocab) -> Result<Vec<Row>> {
    let mut tokenizer = None;
    let mut rows = Vec::with_capacity(new.len());
    for token in new.tokens() {
        if let Some(id) = old.id(token) {
            rows.push(Row::Kept(id as usize));
            continue;
        }
        let tokenizer = match &tokenizer {
            Some(tokenizer) => tokenizer,
            None => tokenizer.insert(Tokenizer::from_dir(from)?),
        };
        let pieces = tokenizer.encode_plain(token)?.ids;
        if pieces.is_empty() || pieces.iter().any(|id| Some(*id) == tokenizer.unk_id()) {
            let message = format!("token {token:?} is new, and the old vocabulary has no pieces for it");
            return Err(Error::file(path, message));
        }
        rows.push(Row::Mean(pieces.into_iter().map(|id| id as usize).collect()));
    }
    Ok(rows)
}

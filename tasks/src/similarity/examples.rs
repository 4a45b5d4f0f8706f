//! Records of a file become what a loss takes: texts, each once, and examples that point at them.

use std::collections::HashMap;
use std::path::Path;

use bert4rs_text::format::sentences::{Label, Record, Sentences};

use super::config::{LossConfig, LossKind, SimilarityConfig};
use super::data::{self, is_binary};
use crate::{Error, Result};

/// One example: positions of texts (first and second; query, positive and negatives; or one alone).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) texts: Vec<usize>,
    /// The label, scaled as the loss takes it; a class for Sentence-BERT.
    pub(super) label: f64,
}

/// Examples and what they are made of.
#[derive(Debug, Default)]
pub(super) struct Examples {
    pub(super) texts: Vec<String>,
    pub(super) items: Vec<Item>,
    /// Classes of pairs (Sentence-BERT).
    pub(super) classes: usize,
    /// What the user should know.
    pub(super) notes: Vec<String>,
}

/// The examples of a loss.
pub(super) fn examples(
    records: &[Record],
    path: &Path,
    task: &SimilarityConfig,
    loss: &LossConfig,
) -> Result<Examples> {
    let mut all = Interned::default();
    match loss.kind {
        LossKind::Cosent | LossKind::Softmax | LossKind::Cosine => {
            labelled(&mut all, records, path, task, loss)?
        }
        LossKind::MultipleNegatives => positives(&mut all, records, path, loss)?,
        LossKind::Triplet => triplets(&mut all, records, path)?,
        LossKind::Simcse | LossKind::Distillation => {
            records.iter().for_each(|record| {
                record.sentences.each(&mut |text| {
                    all.position(text);
                })
            });
            all.examples.items =
                (0..all.examples.texts.len()).map(|i| Item { texts: vec![i], label: 0.0 }).collect();
        }
    }
    let Interned { examples, .. } = all;
    if examples.items.is_empty() {
        return Err(Error::file(path, "has no example for this loss; is [loss] the right one?"));
    }
    Ok(examples)
}

#[derive(Default)]
struct Interned {
    positions: HashMap<String, usize>,
    examples: Examples,
}

impl Interned {
    fn position(&mut self, text: &str) -> usize {
        if let Some(&at) = self.positions.get(text) {
            return at;
        }
        let at = self.examples.texts.len();
        self.positions.insert(text.to_string(), at);
        self.examples.texts.push(text.to_string());
        at
    }

    fn add<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>, label: f64) {
        let texts = texts.into_iter().map(|text| self.position(text)).collect();
        self.examples.items.push(Item { texts, label });
    }

    fn note(&mut self, note: String) {
        self.examples.notes.push(note);
    }
}

/// Calls `see` with every text.
trait Each {
    fn each(&self, see: &mut dyn FnMut(&str));
}

impl Each for Sentences {
    fn each(&self, see: &mut dyn FnMut(&str)) {
        match self {
            Sentences::Single(text) => see(text),
            Sentences::Pair { first, second, .. } => [first, second].into_iter().for_each(|text| see(text)),
            Sentences::Query { query, positives, negatives } => {
                std::iter::once(query).chain(positives).chain(negatives).for_each(|text| see(text));
            }
            Sentences::Group(texts) => texts.iter().for_each(|text| see(text)),
        }
    }
}

fn labelled(
    all: &mut Interned,
    records: &[Record],
    path: &Path,
    task: &SimilarityConfig,
    loss: &LossConfig,
) -> Result<()> {
    let pairs = data::pairs(records, path, task.labels)?;
    let range = pairs
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(p.label), high.max(p.label)));
    if range.0 == range.1 {
        return Err(Error::file(
            path,
            format!("all {} labels are {}; a loss needs pairs that differ", pairs.len(), range.0),
        ));
    }
    let above = |label: f64| loss.positive_above.map(|limit| f64::from(u8::from(label > limit)));
    let whole = pairs.iter().all(|p| p.label.fract() == 0.0 && (0.0..100.0).contains(&(p.label - range.0)));
    let target: Box<dyn Fn(f64) -> f64> = match loss.kind {
        LossKind::Softmax if loss.positive_above.is_none() && !whole => {
            let middle = (range.0 + range.1) / 2.0;
            return Err(Error::file(
                path,
                format!(
                    "labels are graded, but type = \"softmax\" needs classes; set positive_above = {middle} in \
                     [loss] for two"
                ),
            ));
        }
        LossKind::Softmax => {
            let classes = if loss.positive_above.is_some() { 2 } else { (range.1 - range.0) as usize + 1 };
            all.examples.classes = classes;
            Box::new(move |label| above(label).unwrap_or(label - range.0))
        }
        LossKind::Cosine if loss.positive_above.is_none() && !is_binary(&pairs) => {
            all.note(format!("cosines are to become labels: {} is 0, {} is 1", range.0, range.1));
            Box::new(move |label| (label - range.0) / (range.1 - range.0))
        }
        LossKind::Cosent
        | LossKind::Cosine
        | LossKind::MultipleNegatives
        | LossKind::Simcse
        | LossKind::Triplet
        | LossKind::Distillation => Box::new(move |label| above(label).unwrap_or(label)),
    };
    for pair in &pairs {
        all.add([pair.first.as_str(), &pair.second], target(pair.label));
    }
    Ok(())
}

/// Queries with their positives; of labelled pairs those that are alike; neighbours in groups.
fn positives(all: &mut Interned, records: &[Record], path: &Path, loss: &LossConfig) -> Result<()> {
    let is_pair = |r: &Record| matches!(&r.sentences, Sentences::Pair { label: Some(_), .. });
    let labelled: Vec<Record> = records.iter().filter(|r| is_pair(r)).cloned().collect();
    let pairs = data::pairs(&labelled, path, super::LabelScale::Graded)?;
    let most = pairs.iter().map(|p| p.label).fold(f64::NEG_INFINITY, f64::max);
    let least = pairs.iter().map(|p| p.label).fold(f64::INFINITY, f64::min);
    let limit = loss.positive_above.unwrap_or((most + least) / 2.0);
    let mut unlike = 0;
    for Record { sentences, .. } in records {
        match sentences {
            Sentences::Single(_) => {
                return Err(Error::file(
                    path,
                    "has texts alone; type = \"multiple_negatives\" needs positives (for texts alone: \"simcse\")",
                ));
            }
            Sentences::Pair { first, second, label } => {
                let alike = match label {
                    None => true,
                    Some(Label::Number(label)) => *label > limit || most == least,
                    Some(Label::Name(name)) => name.to_lowercase() == data::NLI[2],
                };
                if alike {
                    all.add([first.as_str(), second], 1.0);
                } else {
                    unlike += 1;
                }
            }
            Sentences::Query { query, positives, negatives } => {
                for positive in positives {
                    let hard = negatives.iter().take(loss.hard_negatives);
                    all.add([query, positive].into_iter().chain(hard).map(String::as_str), 1.0);
                }
            }
            Sentences::Group(texts) => {
                let pairs = if texts.len() == 2 { 1 } else { texts.len() };
                for i in 0..pairs {
                    all.add([texts[i].as_str(), &texts[(i + 1) % texts.len()]], 1.0);
                }
            }
        }
    }
    if unlike > 0 {
        all.note(format!(
            "{unlike} pairs with labels of {limit} or less are not used: this loss learns from positives, the \
             others of a batch are its negatives"
        ));
    }
    Ok(())
}

fn triplets(all: &mut Interned, records: &[Record], path: &Path) -> Result<()> {
    for Record { line, sentences } in records {
        match sentences {
            Sentences::Query { query, positives, negatives } if !negatives.is_empty() => {
                for positive in positives {
                    for negative in negatives {
                        all.add([query.as_str(), positive, negative], 1.0);
                    }
                }
            }
            Sentences::Query { .. } | Sentences::Single(_) | Sentences::Pair { .. } | Sentences::Group(_) => {
                return Err(Error::Input(format!(
                    "{}:{line}: there are no negatives; type = \"triplet\" needs anchor, positive and negative \
                     (without negatives: \"multiple_negatives\")",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

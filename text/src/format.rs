//! File formats: labelled texts from and to files, one example at a time.
//!
//! Readers stream, open plain, gzip and zstd files alike (told apart by their first bytes), and name
//! file and line in every error. Spans are half-open, in characters of the example's text, also
//! where the file counts otherwise.

pub mod jsonl;
mod source;

use crate::{CharIndex, Error, Result};
use std::ops::Range;

/// A text with the entities marked in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// The text.
    pub text: String,
    /// Its entities, in the order of the file; they may overlap or nest.
    pub entities: Vec<Entity>,
}

/// A labelled span of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity {
    /// First character.
    pub start: usize,
    /// The character after the last.
    pub end: usize,
    /// What it is.
    pub label: String,
}

impl Entity {
    /// Its characters.
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// A stream of examples.
pub type Examples = Box<dyn Iterator<Item = Result<Example>> + Send>;

/// Checks that an entity lies in its text, and that its text, when the file gives it, is the same.
fn check(text: &str, index: &CharIndex, entity: &Entity, stated: Option<&str>) -> Result<(), String> {
    let Entity { start, end, label } = entity;
    const RULE: &str = "spans are start..end in characters, the end is not included";
    if label.is_empty() {
        return Err(format!("span {start}..{end} has an empty label; give it a name"));
    }
    if start >= end {
        return Err(format!("span {start}..{end} ({label}) is empty; {RULE}"));
    }
    let Some(found) = index.slice(text, *start..*end) else {
        return Err(format!(
            "span {start}..{end} ({label}) ends after the text ({} characters); {RULE}",
            index.len()
        ));
    };
    match stated {
        Some(stated) if stated != found => Err(format!(
            "span {start}..{end} ({label}) holds {found:?}, but its text is given as {stated:?}{}; {RULE}",
            hint(text, index, entity, stated)
        )),
        Some(_) | None => Ok(()),
    }
}

/// Guesses the other unit in which a wrong span was counted.
fn hint(text: &str, index: &CharIndex, entity: &Entity, stated: &str) -> String {
    let (start, end) = (entity.start, entity.end);
    let utf16 = |at: usize| {
        let mut units = 0;
        text.chars().position(|c| {
            let here = units == at;
            units += c.len_utf16();
            here
        })
    };
    if index.slice(text, start..end + 1) == Some(stated) {
        " (are the ends inclusive?)".into()
    } else if text.get(start..end) == Some(stated) {
        " (are these bytes?)".into()
    } else if utf16(start).is_some_and(|s| index.slice(text, s..s + stated.chars().count()) == Some(stated)) {
        " (are these UTF-16 units?)".into()
    } else {
        text.find(stated).map_or(String::new(), |b| format!(" (found at {})", index.char(b)))
    }
}

/// Refuses an example whose spans are not in its text, before it is written.
fn check_all(example: &Example) -> Result<()> {
    let index = CharIndex::new(&example.text);
    example.entities.iter().try_for_each(|e| check(&example.text, &index, e, None)).map_err(Error::Unwritable)
}

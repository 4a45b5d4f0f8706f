//! File formats: labelled texts from and to files, one example at a time.
//!
//! Readers stream, open plain, gzip and zstd files alike (told apart by their first bytes), and name
//! file and line in every error. Spans are half-open, in characters of the example's text, also
//! where the file counts otherwise.

mod bio;
pub mod cluener;
pub mod conll;
pub mod jsonl;
pub mod sentences;
mod source;

pub use bio::Scheme;

use crate::{CharIndex, Error, Result};
use std::ops::Range;
use std::path::Path;

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

/// The formats of labelled texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON Lines with `entities`.
    Jsonl,
    /// A token and its tag per line.
    Conll,
    /// JSON Lines with CLUENER's `label`.
    Cluener,
}

impl Format {
    /// Tells the format by the first line that is not blank.
    pub fn detect(path: &Path) -> Result<Self> {
        let mut lines = source::open(path)?;
        while let Some(line) = lines.next() {
            let line = line?;
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            if !line.starts_with('{') {
                // A broken or foreign file of columns is told by its reader.
                return Ok(Self::Conll);
            }
            let value: serde_json::Value =
                serde_json::from_str(line).map_err(|e| lines.error(jsonl::reason(&e)))?;
            return match (value.get("entities"), value.get("label")) {
                (Some(_), _) => Ok(Self::Jsonl),
                (None, Some(serde_json::Value::Object(_))) => Ok(Self::Cluener),
                (None, Some(_) | None) => Err(lines.error(
                    "neither `entities` (JSON Lines) nor a `label` object (CLUENER) is here; expected labelled texts",
                )),
            };
        }
        Err(lines.file_error("the file is empty; expected JSON Lines, CLUENER or CoNLL"))
    }

    /// Reads a file of this format; CoNLL with its default options.
    pub fn read(self, path: &Path) -> Result<Examples> {
        match self {
            Self::Jsonl => jsonl::read(path),
            Self::Conll => conll::read(path, &conll::Options::default()),
            Self::Cluener => cluener::read(path),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(content: &[u8]) -> Result<(Format, usize)> {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), content).expect("writable");
        let format = Format::detect(file.path())?;
        let examples: Vec<Example> = format.read(file.path())?.collect::<Result<_>>()?;
        Ok((format, examples.len()))
    }

    #[test]
    fn formats_are_told_by_their_first_line() {
        let jsonl = br#"{"text":"a","entities":[]}"#;
        assert_eq!(detect(jsonl).expect("valid"), (Format::Jsonl, 1));
        let packed = zstd::encode_all(&jsonl[..], 1).expect("in memory");
        assert_eq!(detect(&packed).expect("valid"), (Format::Jsonl, 1));
        assert_eq!(detect(br#"{"text":"a","label":{}}"#).expect("valid"), (Format::Cluener, 1));
        assert_eq!(detect(b"\na\tO\n\nb\tO\n").expect("valid"), (Format::Conll, 2));
    }

    #[test]
    fn unknown_formats_are_named() {
        let message = |content: &[u8]| detect(content).expect_err("unknown").to_string();
        assert!(message(br#"{"text":"a","label":1}"#).contains(":1: neither `entities`"));
        assert!(message(b"{\n").contains(":1: EOF"));
        assert!(message(b" \n").contains("the file is empty"));
        assert!(message(b"just some text\n").contains("expected O, or B-LABEL"));
        let missing = Format::detect(Path::new("no/such/file.jsonl")).expect_err("missing").to_string();
        assert!(missing.starts_with("no/such/file.jsonl: "), "{missing}");
    }

    #[test]
    fn the_unit_of_a_wrong_span_is_guessed() {
        let text = "👍中b北京";
        let guess = |start, end, stated: &str| {
            let entity = Entity { start, end, label: "x".into() };
            check(text, &CharIndex::new(text), &entity, Some(stated)).expect_err("wrong")
        };
        assert!(guess(2, 3, "中").contains("(are these UTF-16 units?)"));
        assert!(guess(1, 2, "中b").contains("(are the ends inclusive?)"));
        assert!(guess(0, 4, "👍").contains("(are these bytes?)"));
    }
}

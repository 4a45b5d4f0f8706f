//! Vocabulary: the list of tokens, one per line of `vocab.txt`, the line number (from 0) is the id.

use crate::{Error, Result, chars};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

/// Tokens and their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocab {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Vocab {
    /// From tokens in the order of their ids; a repeated token is an error.
    pub fn new(tokens: impl IntoIterator<Item = String>) -> Result<Self> {
        Self::from_tokens(tokens).map_err(|(first, second, token)| {
            Error::Vocab(format!(
                "token {token:?} has two ids, {first} and {second}; every token may be listed once"
            ))
        })
    }

    /// Reads `vocab.txt`: one token per line; only the line end is cut off, blanks are kept.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let file = path.display().to_string();
        let mut tokens = Vec::new();
        for (number, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let token = std::str::from_utf8(line).map_err(|_| {
                Error::line(&file, number + 1, "this line is not UTF-8; expected one UTF-8 token per line")
            })?;
            tokens.push(token.to_string());
        }
        if tokens.is_empty() {
            return Err(Error::file(path, "the file is empty; expected one token per line"));
        }
        Self::from_tokens(tokens).map_err(|(first, second, token)| {
            Error::line(
                &file,
                second + 1,
                format!(
                    "token {token:?} is already on line {}; remove one of the two and check which id the model was trained with",
                    first + 1
                ),
            )
        })
    }

    /// Writes `vocab.txt`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut out = String::new();
        for token in &self.tokens {
            if token.contains(['\n', '\r']) {
                return Err(Error::Vocab(format!(
                    "token {token:?} contains a line end, vocab.txt cannot hold it"
                )));
            }
            out.push_str(token);
            out.push('\n');
        }
        std::fs::write(path, out).map_err(|e| Error::io(path, e))
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// True without tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The token with an id.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// All tokens in the order of their ids.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The vocabulary without tokens a character-level Chinese model never meets, and the old ids
    /// of the tokens kept (rows to slice from the embedding table and the output bias).
    ///
    /// `first` come first (pass every special token, they would be dropped otherwise); then, in
    /// order, every token that is one character long, or that contains neither a CJK nor a
    /// punctuation character; a `##` prefix is not counted. Reference: bert4keras,
    /// `load_vocab(simplified=True)`.
    pub fn simplify(&self, first: &[&str]) -> Result<(Self, Vec<u32>)> {
        let mut kept = Vec::new();
        for token in first {
            kept.push(self.id(token).ok_or_else(|| {
                Error::Vocab(format!("token {token:?} is asked to come first, but the vocabulary has none"))
            })?);
        }
        for (id, token) in self.tokens.iter().enumerate() {
            let mut length = token.chars();
            let single = length.next().is_some() && length.next().is_none();
            let stem = token.strip_prefix("##").unwrap_or(token);
            let plain = !stem.chars().any(|c| chars::is_cjk(c) || chars::is_punctuation(c));
            if (single || plain) && !first.contains(&token.as_str()) {
                kept.push(id as u32);
            }
        }
        let tokens = kept.iter().map(|&id| self.tokens[id as usize].clone());
        Ok((Self::new(tokens)?, kept))
    }

    /// Or the first token that appears twice, with both ids.
    fn from_tokens(tokens: impl IntoIterator<Item = String>) -> Result<Self, (usize, usize, String)> {
        let tokens: Vec<String> = tokens.into_iter().collect();
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            match ids.entry(token.clone()) {
                Entry::Vacant(slot) => slot.insert(id as u32),
                Entry::Occupied(slot) => return Err((*slot.get() as usize, id, token.clone())),
            };
        }
        Ok(Self { tokens, ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocab(tokens: &[&str]) -> Vocab {
        Vocab::new(tokens.iter().map(|t| t.to_string())).expect("tokens are distinct")
    }

    fn read(content: &[u8]) -> Result<Vocab> {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), content).expect("written");
        Vocab::read(file.path())
    }

    #[test]
    fn ids_are_line_numbers_and_only_the_line_end_is_cut() {
        let read = read("[UNK]\r\n \u{3000}\n中".as_bytes()).expect("valid");
        assert_eq!(read.tokens(), ["[UNK]", " \u{3000}", "中"]);
        assert_eq!((read.id("中"), read.token(1), read.id("国")), (Some(2), Some(" \u{3000}"), None));
    }

    #[test]
    fn a_written_vocabulary_reads_back() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let path = directory.path().join("vocab.txt");
        let written = vocab(&["[UNK]", " ", "中", "##x"]);
        written.write(&path).expect("writable");
        assert_eq!(Vocab::read(&path).expect("valid"), written);
        assert!(vocab(&["a\nb"]).write(&path).is_err(), "a line end inside a token cannot be written");
    }

    #[test]
    fn repeated_lines_are_named() {
        let message = read(b"[UNK]\na\nb\na\n").expect_err("a is repeated").to_string();
        assert!(message.contains(":4: token \"a\" is already on line 2"), "{message}");
    }

    #[test]
    fn empty_files_and_broken_utf8_are_refused() {
        assert!(read(b"").expect_err("empty").to_string().contains("is empty"));
        assert!(
            read(b"a\n\xff\n").expect_err("not UTF-8").to_string().contains(":2: this line is not UTF-8")
        );
    }

    #[test]
    fn simplifying_keeps_the_ids_of_kept_tokens() {
        let full = vocab(&["[PAD]", "[unused1]", "[UNK]", "a", "##中", "中国", "，", "ab", "##ing"]);
        let (small, kept) = full.simplify(&["[PAD]", "[UNK]"]).expect("all present");
        assert_eq!(small.tokens(), ["[PAD]", "[UNK]", "a", "，", "ab", "##ing"]);
        assert_eq!(kept, [0, 2, 3, 6, 7, 8]);
        assert!(full.simplify(&["[CLS]"]).is_err());
    }
}

//! Pipeline: whatever a `tokenizer.json` says, run by the `tokenizers` crate.
//!
//! We ask it for tokens and offsets only; templates, truncation and windows are ours, the same for
//! every tokenizer. Offsets come in bytes of the original text and become characters here; white
//! space at the edges of a token (`Ġplay`, `▁play`) is not part of its span.

use super::template::{Piece, Template};
use super::{Plain, word_piece::WordPiece};
use crate::{CharIndex, Error, Result, TokenSpans, Vocab};
use serde_json::Value;
use std::ops::Range;
use tokenizers::{Encoding, Token, Tokenizer};

/// A `tokenizer.json` and the tokenizer it describes.
pub(super) struct Pipeline {
    inner: Tokenizer,
    /// What it was made from, to be written again.
    pub(super) json: Value,
}

/// Stand-ins for the two texts while the template is read off.
const FIRST: u32 = u32::MAX - 1;
const SECOND: u32 = u32::MAX - 2;

impl Pipeline {
    pub(super) fn new(json: Value) -> Result<Self, String> {
        let text = json.to_string();
        let mut inner = Tokenizer::from_bytes(text.as_bytes()).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        Ok(Self { inner, json })
    }

    pub(super) fn encode(&self, text: &str) -> Result<Plain> {
        let encoding = self.inner.encode(text, false).map_err(|e| Error::Tokenizer(e.to_string()))?;
        let index = CharIndex::new(text);
        let spans = encoding.get_offsets().iter().map(|&(start, end)| {
            let inside = trim(text, start..end.min(text.len()));
            (inside.start < inside.end).then(|| index.chars(inside))
        });
        Ok(Plain { spans: TokenSpans::new(spans), ids: encoding.get_ids().to_vec() })
    }

    /// The same in code of our own, if it is of BERT's kind.
    pub(super) fn word_piece(&self) -> Option<WordPiece> {
        WordPiece::like(&self.inner)
    }

    /// Where this tokenizer puts its special tokens.
    pub(super) fn template(&self) -> Result<Template, String> {
        let part = |id| Encoding::from_tokens(vec![Token::new(id, "a".into(), (0, 1))], 0);
        let pieces = |second: Option<Encoding>| -> Result<Vec<Piece>, String> {
            let filled = self.inner.post_process(part(FIRST), second, true).map_err(|e| e.to_string())?;
            let places = filled.get_ids().iter().zip(filled.get_type_ids());
            Ok(places
                .map(|(&id, &type_id)| match id {
                    FIRST => Piece::First { type_id },
                    SECOND => Piece::Second { type_id },
                    id => Piece::Special { id, type_id },
                })
                .collect())
        };
        Ok(Template::new(pieces(None)?, pieces(Some(part(SECOND)))?))
    }

    /// Its tokens by id; ids that no token has are named `[no token N]`.
    pub(super) fn vocab(&self) -> Result<Vocab> {
        let mut listed: Vec<(u32, String)> =
            self.inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
        listed.sort_unstable();
        let mut tokens: Vec<String> = Vec::with_capacity(listed.len());
        for (id, token) in listed {
            while tokens.len() < id as usize {
                tokens.push(format!("[no token {}]", tokens.len()));
            }
            if tokens.len() == id as usize {
                tokens.push(token);
            }
        }
        Vocab::new(tokens)
    }

    /// Tokens that the file marks as special.
    pub(super) fn special(&self) -> impl Iterator<Item = String> {
        let added = self.inner.get_added_tokens_decoder();
        added.into_iter().filter(|(_, token)| token.special).map(|(_, token)| token.content)
    }
}

/// `bytes` without the white space at its edges.
fn trim(text: &str, bytes: Range<usize>) -> Range<usize> {
    let Some(part) = text.get(bytes.clone()) else {
        return bytes; // inside a character, which then is no white space we know
    };
    let start = bytes.end - part.trim_start().len();
    start..start + part.trim().len()
}

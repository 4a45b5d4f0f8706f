//! Pipeline: whatever a `tokenizer.json` says, run by the `tokenizers` crate.
//!
//! Files of BERT's kind only pass through here: the crate reads them, our own code runs them.
//!
//! We ask it for tokens and offsets only; templates, truncation and windows are ours, the same for
//! every tokenizer. Offsets come in bytes of the original text and become characters here; white
//! space at the edges of a token (`Ġplay`, `▁play`) is not part of its span. Where the normalizer
//! composes (`e` and an accent, jamo), the crate gives the first character alone; we add the others.

use super::Plain;
use super::template::{Piece, Template};
use super::word_piece::{WordPiece, tokens};
use crate::{CharIndex, Error, Result, TokenSpans, Vocab};
use serde_json::{Map, Value};
use std::ops::Range;
use tokenizers::{Encoding, NormalizedString, Token, Tokenizer};

/// A `tokenizer.json` and the tokenizer it describes.
pub(super) struct Pipeline {
    inner: Tokenizer,
    /// The normalizer makes one character of several.
    composes: bool,
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
        let normalizer = json["normalizer"].to_string();
        let composes =
            ["\"NFC\"", "\"NFKC\"", "\"Precompiled\""].iter().any(|kind| normalizer.contains(kind));
        Ok(Self { inner, composes, json })
    }

    pub(super) fn encode(&self, text: &str) -> Result<Plain> {
        let encoding = self.inner.encode(text, false).map_err(|e| Error::Tokenizer(e.to_string()))?;
        let index = CharIndex::new(text);
        let offsets = encoding.get_offsets();
        let spans = offsets.iter().enumerate().map(|(token, &(start, end))| {
            let end = end.min(text.len());
            let next = offsets.get(token + 1).map_or(text.len(), |&(next, _)| next);
            let end = if self.composes && start < end { composed(text, end, next) } else { end };
            trimmed(text, &index, start..end)
        });
        Ok(Plain { spans: TokenSpans::new(spans), ids: encoding.get_ids().to_vec() })
    }

    /// The same in code of our own, if it is of BERT's kind.
    pub(super) fn word_piece(&self) -> Option<WordPiece> {
        let ids = self.inner.get_vocab(false);
        WordPiece::like(&self.inner, ids.iter().map(|(token, &id)| (token.as_str(), id)).collect())
    }

    /// A `tokenizer.json` of BERT's kind with a plain vocabulary, read in half the time; its
    /// pipeline describes the tokenizer and must not encode. `None` for all others.
    ///
    /// The crate reads everything but the vocabulary, which takes it longer than all the rest: of
    /// that it gets only the tokens that the rest of the file may name.
    pub(super) fn quick_word_piece(json: &Value) -> Option<(Self, WordPiece, Vocab)> {
        let model = json.get("model")?.as_object()?;
        let vocab = in_order(model.get("vocab")?.as_object()?)?;
        let added = json.get("added_tokens")?.as_array()?.iter().map(|token| token.get("content"));
        let mut few = Map::new();
        for name in added.chain([model.get("unk_token")]) {
            let name = name?.as_str()?;
            few.insert(name.to_string(), vocab.id(name)?.into());
        }
        let without = |object: &Map<String, Value>, key: &str| -> Map<String, Value> {
            object.iter().filter(|(k, _)| *k != key).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        let mut model = without(model, "vocab");
        model.insert("vocab".into(), few.into());
        let mut rest = without(json.as_object()?, "model");
        rest.insert("model".into(), model.into());
        let rest = Self::new(rest.into()).ok()?;
        let word_piece = WordPiece::like(&rest.inner, tokens(&vocab))?;
        Some((rest, word_piece, vocab))
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

/// A vocabulary whose ids are 0, 1, 2 and so on; `None` for others.
pub(super) fn in_order(ids: &Map<String, Value>) -> Option<Vocab> {
    let mut tokens: Vec<Option<&String>> = vec![None; ids.len()];
    for (token, id) in ids {
        *tokens.get_mut(usize::try_from(id.as_u64()?).ok()?)? = Some(token);
    }
    // As many places as tokens: one that is empty means that two share another.
    let tokens: Vec<String> = tokens.into_iter().map(Option::<&String>::cloned).collect::<Option<_>>()?;
    Vocab::new(tokens).ok()
}

/// Where that ends which is composed into the character before byte `end`; at most at `next`.
fn composed(text: &str, end: usize, next: usize) -> usize {
    let (Some(before), Some(gap)) = (text.get(..end), text.get(end..next)) else { return end };
    let start = end - before.chars().next_back().map_or(0, char::len_utf8);
    let mut reach = end;
    for (at, c) in gap.char_indices() {
        let mut part = NormalizedString::from(&text[start..end + at + c.len_utf8()]);
        part.nfkc();
        if part.get().chars().count() > 1 {
            break;
        }
        reach = end + at + c.len_utf8();
    }
    reach
}

/// The characters of some bytes of a text without the white space at their edges.
pub(super) fn trimmed(text: &str, index: &CharIndex, bytes: Range<usize>) -> Option<Range<usize>> {
    let inside = trim(text, bytes);
    (inside.start < inside.end).then(|| index.chars(inside))
}

/// `bytes` without the white space at its edges.
fn trim(text: &str, bytes: Range<usize>) -> Range<usize> {
    let Some(part) = text.get(bytes.clone()) else {
        return bytes; // inside a character, which then is no white space we know
    };
    let start = bytes.end - part.trim_start().len();
    start..start + part.trim().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bert() -> Value {
        let flags = json!({"single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
        let added = ["[UNK]", "[CLS]", "[SEP]"].into_iter().zip(0..).map(|(name, id)| {
            let mut token = flags.clone();
            token["id"] = id.into();
            token["content"] = name.into();
            token["special"] = (id > 0).into();
            token
        });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
            "decoder": null,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##b": 4}},
        })
    }

    #[test]
    fn what_is_composed_is_covered() {
        let tokens = json!({"[UNK]": 0, "é": 1, "한": 2, "a": 3});
        let model = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "",
            "max_input_chars_per_word": 100, "vocab": tokens});
        for normalizer in ["NFC", "NFKC"] {
            let json = json!({"version": "1.0", "added_tokens": [], "normalizer": {"type": normalizer},
                "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model});
            let plain = Pipeline::new(json)
                .expect("valid")
                .encode("ae\u{301}\u{1112}\u{1161}\u{11ab}a")
                .expect("encodable");
            assert_eq!(plain.ids, [3, 1, 2, 3]);
            assert_eq!(plain.spans.iter().flatten().collect::<Vec<_>>(), [0..1, 1..3, 3..6, 6..7]);
        }
    }

    #[test]
    fn a_file_read_without_its_vocabulary_says_the_same() {
        let mut old = bert();
        old["model"].as_object_mut().expect("object").remove("type");
        for json in [bert(), old] {
            let (rest, model, vocab) = Pipeline::quick_word_piece(&json).expect("of BERT's kind");
            let whole = Pipeline::new(json).expect("valid");
            assert_eq!(rest.template(), whole.template());
            assert_eq!(vocab, whole.vocab().expect("valid"));
            let special = |pipeline: &Pipeline| pipeline.special().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(special(&rest), special(&whole));
            let slow = whole.word_piece().expect("of BERT's kind");
            assert_eq!(slow.encode("ab").expect("encodable").ids, [3, 4]);
            let (ours, theirs) = (model.encode("ab[SEP]c"), whole.encode("ab[SEP]c").expect("encodable"));
            assert_eq!(ours.expect("encodable").ids, theirs.ids);
        }
    }

    #[test]
    fn files_that_need_the_whole_vocabulary_are_given_to_the_crate() {
        let changes: [(&str, Value, bool); 6] = [
            ("/model/vocab/a", 4.into(), true),
            ("/model/vocab/a", 7.into(), true),
            ("/added_tokens/0/content", "[NEW]".into(), true),
            ("/model/unk_token", "[NO]".into(), false),
            ("/model/type", "WordLevel".into(), false),
            ("/normalizer/type", "NFC".into(), false),
        ];
        for (place, value, ours) in changes {
            let mut json = bert();
            *json.pointer_mut(place).expect("there") = value;
            assert!(Pipeline::quick_word_piece(&json).is_none(), "{place}");
            let whole = Pipeline::new(json).expect("valid");
            let Some(model) = whole.word_piece() else {
                assert!(!ours, "{place}");
                continue;
            };
            let text = "ab [NEW]A[new]ab";
            let (found, expected) = (model.encode(text), whole.encode(text).expect("encodable"));
            assert!(ours && found.expect("encodable").ids == expected.ids, "{place}");
        }
    }
}

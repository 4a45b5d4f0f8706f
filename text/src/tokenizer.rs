//! Tokenizer: text to ids, and for every token its characters in the original text.
//!
//! Rules:       BERT's word pieces and characters (models trained from scratch) are code of our own;
//!              whatever else a `tokenizer.json` can say runs in the `tokenizers` crate
//! Template:    the special tokens around a text or a pair, read off the tokenizer itself
//! Truncation:  one token at a time from the longer text, ties from the first ("longest first")
//! Vectors:     bert-wordpiece-tokenizer-and-checkpoints.json

mod byte_piece;
mod characters;
mod dictionary;
mod encoding;
mod files;
mod json;
mod pipeline;
mod rules;
mod template;
mod word_piece;

pub(crate) use characters::lower;
pub use dictionary::Dictionary;
pub use encoding::Encoding;
pub use rules::{Dialect, Rules, Units};

use crate::{Error, Result, SpecialTokens, TokenSpans, Vocab};
use byte_piece::BytePiece;
use characters::Characters;
use pipeline::Pipeline;
use rayon::prelude::*;
use serde_json::Value;
use std::ops::Range;
use template::{Part, Template};
use word_piece::WordPiece;

/// Turns texts into token ids; `Send + Sync`, one serves any number of threads.
pub struct Tokenizer {
    engine: Engine,
    /// `None` when a `tokenizer.json` says everything.
    rules: Option<Rules>,
    special: SpecialTokens,
    vocab: Vocab,
    template: Template,
    max_length: Option<usize>,
    /// `tokenizer_config.json` as it was read, to be written again.
    config: Value,
}

/// How a text becomes tokens, without template.
enum Engine {
    /// The table, and the same as a `tokenizer.json` for others.
    Characters(Characters, Value),
    /// BERT's rules, and the same as a `tokenizer.json`.
    WordPiece(Box<WordPiece>, Value),
    Pipeline(Box<Pipeline>),
    /// BytePiece, and its model file.
    BytePiece(Box<BytePiece>, Value),
}

/// Tokens of a text without template: ids and spans.
#[derive(Default)]
struct Plain {
    ids: Vec<u32>,
    spans: TokenSpans,
}

impl Tokenizer {
    /// A tokenizer over a vocabulary; `Units::Words` with the dictionary of jieba.
    pub fn from_vocab(vocab: Vocab, rules: Rules) -> Result<Self> {
        let dictionary = match rules.units {
            Units::Words => Some(Dictionary::jieba()?),
            Units::WordPieces | Units::Characters => None,
        };
        Self::assembled(vocab, rules, dictionary)
    }

    /// A tokenizer over a vocabulary of words (`Units::Words`) that cuts with a dictionary of its own.
    pub fn with_dictionary(vocab: Vocab, rules: Rules, dictionary: Dictionary) -> Result<Self> {
        Self::assembled(vocab, Rules { units: Units::Words, ..rules }, Some(dictionary))
    }

    fn assembled(vocab: Vocab, rules: Rules, dictionary: Option<Dictionary>) -> Result<Self> {
        let named = |name: &Option<String>, what: &str| -> Result<(String, u32)> {
            let name = name.clone().ok_or_else(|| {
                Error::Option(format!("these rules need a {what} token; name one in the special tokens"))
            })?;
            let id = vocab.id(&name).ok_or_else(|| {
                Error::Vocab(format!(
                    "there is no {name} among the {} tokens; add it, or name the {what} token as the vocabulary does (`{what}_token` in tokenizer_config.json)",
                    vocab.len()
                ))
            })?;
            Ok((name, id))
        };
        let (unk, unk_id) = named(&rules.special.unk, "unk")?;
        let (cls, cls_id) = named(&rules.special.cls, "cls")?;
        let (sep, sep_id) = named(&rules.special.sep, "sep")?;
        let json = json::tokenizer_json(&vocab, &rules, &unk, &cls, &sep);
        let engine =
            match rules.units {
                Units::Characters => Engine::Characters(Characters::new(&vocab, &rules, unk_id), json),
                Units::WordPieces | Units::Words => {
                    match (WordPiece::from_rules(&vocab, &rules, unk_id), dictionary) {
                        (Some(engine), None) => Engine::WordPiece(Box::new(engine), json),
                        (Some(engine), Some(dictionary)) => {
                            Engine::WordPiece(Box::new(engine.with_dictionary(dictionary)), json)
                        }
                        (None, Some(_)) => return Err(Error::Option(
                            "a tokenizer of words needs special tokens without white space at their edges"
                                .into(),
                        )),
                        (None, None) => {
                            Engine::Pipeline(Box::new(Pipeline::new(json).map_err(Error::Tokenizer)?))
                        }
                    }
                }
            };
        let (special, template) = (rules.special.clone(), Template::bert(cls_id, sep_id));
        Ok(Self::assemble(engine, Some(rules), special, vocab, template))
    }

    fn assemble(
        engine: Engine,
        rules: Option<Rules>,
        special: SpecialTokens,
        vocab: Vocab,
        template: Template,
    ) -> Self {
        Self { engine, rules, special, vocab, template, max_length: None, config: Value::Null }
    }

    /// Encodes a text with its special tokens; cut to `max_tokens` (special tokens included), and
    /// then flagged as `truncated`.
    pub fn encode(&self, text: &str, max_tokens: Option<usize>) -> Result<Encoding> {
        let plain = self.plain(text)?;
        let all = plain.ids.len();
        let kept = match max_tokens {
            Some(limit) => all.min(self.room_for_text(limit)?),
            None => all,
        };
        let mut encoding = self.template.single(&plain, 0..kept);
        encoding.truncated = kept < all;
        Ok(encoding)
    }

    /// Encodes many texts as [`encode`](Self::encode) does each of them, on the threads of the
    /// current rayon pool; the first error in the order of the texts, if there is one.
    pub fn encode_batch<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        max_tokens: Option<usize>,
    ) -> Result<Vec<Encoding>> {
        // Collected before the errors are looked at, so that it is always the same one that is told.
        let encodings: Vec<Result<Encoding>> =
            texts.par_iter().map(|text| self.encode(text.as_ref(), max_tokens)).collect();
        encodings.into_iter().collect()
    }

    /// Encodes two texts as one sequence; over `max_tokens`, the longer loses its last token until
    /// both fit.
    pub fn encode_pair(&self, first: &str, second: &str, max_tokens: Option<usize>) -> Result<Encoding> {
        let (first, second) = (self.plain(first)?, self.plain(second)?);
        let (mut a, mut b) = (first.ids.len(), second.ids.len());
        if let Some(limit) = max_tokens {
            let room = self.room(limit, self.template.pair_specials())?;
            while a + b > room {
                if a >= b { a -= 1 } else { b -= 1 }
            }
        }
        let mut encoding = self.template.pair(&first, 0..a, &second, 0..b);
        encoding.truncated = a < first.ids.len() || b < second.ids.len();
        Ok(encoding)
    }

    /// Encodes a text without special tokens.
    pub fn encode_plain(&self, text: &str) -> Result<Encoding> {
        let plain = self.plain(text)?;
        Ok(Template::bare(&plain))
    }

    /// Puts the special tokens around tokens `range` of an encoding without special tokens; spans
    /// stay in characters of the whole text.
    ///
    /// # Panics
    /// When `range` is not within the encoding.
    pub fn wrap(&self, plain: &Encoding, range: Range<usize>) -> Encoding {
        self.template.single(&Part { ids: &plain.ids, spans: &plain.spans }, range)
    }

    /// Special tokens that [`encode`](Self::encode) adds before and after a text.
    pub fn special_counts(&self) -> (usize, usize) {
        self.template.single_edges()
    }

    /// Number of ids.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// The vocabulary.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// The token with an id.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.vocab.token(id)
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.vocab.id(token)
    }

    /// The rules it was made with; `None` for a tokenizer read from a `tokenizer.json`.
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// The longest sequence the model takes, when its files say so.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// Names of the special tokens.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// Id of the token that begins a sequence.
    pub fn cls_id(&self) -> Option<u32> {
        self.special_id(&self.special.cls)
    }

    /// Id of the token that ends a sequence.
    pub fn sep_id(&self) -> Option<u32> {
        self.special_id(&self.special.sep)
    }

    /// Id of the padding token.
    pub fn pad_id(&self) -> Option<u32> {
        self.special_id(&self.special.pad)
    }

    /// Id of the unknown token.
    pub fn unk_id(&self) -> Option<u32> {
        self.special_id(&self.special.unk)
    }

    /// Id of the mask token.
    pub fn mask_id(&self) -> Option<u32> {
        self.special_id(&self.special.mask)
    }

    fn special_id(&self, name: &Option<String>) -> Option<u32> {
        name.as_deref().and_then(|name| self.vocab.id(name))
    }

    /// Tokens of a single text that fit into `limit` beside the special tokens.
    pub(crate) fn room_for_text(&self, limit: usize) -> Result<usize> {
        self.room(limit, self.template.single_specials())
    }

    /// Tokens of text that fit beside `specials` special tokens.
    fn room(&self, limit: usize, specials: usize) -> Result<usize> {
        limit.checked_sub(specials).filter(|&room| room > 0).ok_or_else(|| {
            Error::Option(format!(
                "max_tokens {limit} leaves no room for text beside {specials} special tokens; expected at least {}",
                specials + 1
            ))
        })
    }

    fn plain(&self, text: &str) -> Result<Plain> {
        match &self.engine {
            Engine::Characters(engine, _) => Ok(engine.encode(text)),
            Engine::WordPiece(engine, _) => engine.encode(text),
            Engine::Pipeline(pipeline) => pipeline.encode(text),
            Engine::BytePiece(engine, _) => Ok(engine.encode(text)),
        }
    }
}

//! Rules: how a vocabulary is applied to a text.

use crate::SpecialTokens;

/// How a tokenizer over a vocabulary cuts and normalises text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a token is.
    pub units: Units,
    /// Lower-case every character.
    pub lower_case: bool,
    /// Drop accents (word pieces only); `None` does so when lower-casing, as BERT does.
    pub strip_accents: Option<bool>,
    /// Every CJK ideograph is a word of its own (word pieces only; characters always are).
    pub split_chinese: bool,
    /// Names of the special tokens.
    pub special: SpecialTokens,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// BERT's rules: words and punctuation, cut into the longest pieces of the vocabulary.
    WordPieces,
    /// Every character except white space; for models trained from scratch.
    Characters,
}

impl Rules {
    /// BERT's word pieces; `lower_case` as the model was trained ("uncased").
    pub fn bert(lower_case: bool) -> Self {
        Self {
            units: Units::WordPieces,
            lower_case,
            strip_accents: None,
            split_chinese: true,
            special: SpecialTokens::default(),
        }
    }

    /// One token per character, lower-cased.
    pub fn characters() -> Self {
        Self { units: Units::Characters, ..Self::bert(true) }
    }
}

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
    /// Every CJK ideograph is a word of its own (word pieces only; characters always are, and words
    /// of a dictionary never).
    pub split_chinese: bool,
    /// Whose word pieces they are.
    pub dialect: Dialect,
    /// Names of the special tokens.
    pub special: SpecialTokens,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// BERT's rules: words and punctuation, cut into the longest pieces of the vocabulary.
    WordPieces,
    /// Words of a dictionary first (RoFormer, WoBERT): those that the vocabulary has are tokens, the
    /// others are cut by BERT's rules. Needs a [`Dictionary`](super::Dictionary).
    Words,
    /// Every character except white space; for models trained from scratch.
    Characters,
}

/// Two programs that models were trained with read BERT's rules differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// transformers: special tokens written in a text are cut out first, private use characters are
    /// dropped, words of more than 100 characters are unknown.
    #[default]
    Transformers,
    /// bert4keras: `[MASK]` written in a text is three words, lower case before everything else (a
    /// final Σ becomes ς), private use characters stay, words may have 200 characters;
    /// `strip_accents` follows `lower_case`, and Chinese characters are always words.
    Bert4keras,
}

impl Rules {
    /// BERT's word pieces; `lower_case` as the model was trained ("uncased").
    pub fn bert(lower_case: bool) -> Self {
        Self {
            units: Units::WordPieces,
            lower_case,
            strip_accents: None,
            split_chinese: true,
            dialect: Dialect::Transformers,
            special: SpecialTokens::default(),
        }
    }

    /// BERT's word pieces as bert4keras cuts them.
    pub fn bert4keras(lower_case: bool) -> Self {
        Self { dialect: Dialect::Bert4keras, ..Self::bert(lower_case) }
    }

    /// Words of a dictionary first, as RoFormer and WoBERT were trained.
    pub fn words(lower_case: bool) -> Self {
        Self { units: Units::Words, ..Self::bert(lower_case) }
    }

    /// One token per character, lower-cased.
    pub fn characters() -> Self {
        Self { units: Units::Characters, ..Self::bert(true) }
    }
}

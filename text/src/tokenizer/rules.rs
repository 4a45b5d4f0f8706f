//! Rules: how a vocabulary is applied to a text.

use crate::SpecialTokens;

/// How a tokenizer over a vocabulary cuts and normalises text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a token is.
    pub units: Units,
    /// Lower-case every character.
    pub lower_case: bool,
    /// Names of the special tokens.
    pub special: SpecialTokens,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Every character except white space; for models trained from scratch.
    Characters,
}

impl Rules {
    /// One token per character, lower-cased.
    pub fn characters() -> Self {
        Self { units: Units::Characters, lower_case: true, special: SpecialTokens::default() }
    }
}

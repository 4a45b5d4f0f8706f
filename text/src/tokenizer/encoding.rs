//! The tokens of a text or a pair of texts.

use crate::TokenSpans;

/// Token ids with everything needed to come back to the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segment of each token: 0 for the first text, 1 for the second in BERT's template.
    pub type_ids: Vec<u32>,
    /// Characters of each token in the (first) text; none for tokens that are not from it.
    pub spans: TokenSpans,
    /// The same for the second text of a pair.
    pub second_spans: Option<TokenSpans>,
    /// True for tokens that the template added; a `[MASK]` written in the text is not one of them.
    pub special: Vec<bool>,
    /// True when tokens were cut off to meet a limit.
    pub truncated: bool,
}

impl Encoding {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without tokens.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

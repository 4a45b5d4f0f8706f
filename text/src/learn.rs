//! Learning a vocabulary from texts. The same texts give the same vocabulary, in any order.
//!
//! Definition:  characters: every character except white space seen at least `min_count` times, most
//!              frequent first, ties by code point, at most `max_size` tokens, special tokens first

use crate::tokenizer::lower;
use crate::{Error, Result, SpecialTokens, Vocab};
use std::collections::HashMap;

/// Limits of a vocabulary to learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A unit seen less often is left out.
    pub min_count: u64,
    /// Most tokens in the vocabulary, special tokens included.
    pub max_size: usize,
    /// Count lower-case forms.
    pub lower_case: bool,
    /// Special tokens, which get the first ids.
    pub special: SpecialTokens,
}

impl Default for Limits {
    /// Twice or more (a unit seen once cannot be learnt), at most 21,128 tokens (bert-base-chinese).
    fn default() -> Self {
        Self { min_count: 2, max_size: 21_128, lower_case: true, special: SpecialTokens::default() }
    }
}

/// Learns a character vocabulary, for [`Rules::characters`](crate::Rules::characters).
pub fn characters<S: AsRef<str>>(texts: impl IntoIterator<Item = S>, limits: &Limits) -> Result<Vocab> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for text in texts {
        for c in text.as_ref().chars().filter(|c| !c.is_whitespace()) {
            *counts.entry(if limits.lower_case { lower(c) } else { c }).or_default() += 1;
        }
    }
    let mut tokens = special(limits)?;
    let mut counts: Vec<_> = counts.into_iter().filter(|&(_, n)| n >= limits.min_count).collect();
    counts.sort_unstable_by_key(|&(c, n)| (std::cmp::Reverse(n), c));
    let names: Vec<String> = counts.into_iter().map(|(c, _)| c.to_string()).collect();
    let fresh: Vec<String> = names.into_iter().filter(|c| !tokens.contains(c)).collect();
    let room = limits.max_size - tokens.len();
    tokens.extend(fresh.into_iter().take(room));
    learnt(tokens, limits)
}

/// The special tokens, or an error when they alone fill the vocabulary.
fn special(limits: &Limits) -> Result<Vec<String>> {
    let special: Vec<String> = limits.special.iter().map(String::from).collect();
    if limits.max_size <= special.len() {
        return Err(Error::Option(format!(
            "max_size {} leaves no room beside {} special tokens",
            limits.max_size,
            special.len()
        )));
    }
    Ok(special)
}

/// The vocabulary, or an error when nothing was learnt.
fn learnt(tokens: Vec<String>, limits: &Limits) -> Result<Vocab> {
    if tokens.len() == limits.special.iter().count() {
        return Err(Error::Vocab(format!(
            "nothing to learn: no unit of the texts is seen min_count = {} times or more; check that the texts are not empty, or lower min_count",
            limits.min_count
        )));
    }
    Vocab::new(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(min_count: u64, max_size: usize) -> Limits {
        Limits { min_count, max_size, ..Limits::default() }
    }

    #[test]
    fn characters_come_by_frequency_then_code_point() {
        let vocab = characters(["b A a 中", "ba c\u{3000}"], &limits(1, 100)).expect("learnable");
        assert_eq!(vocab.tokens()[..5], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
        assert_eq!(vocab.tokens()[5..], ["a", "b", "c", "中"]);
    }

    #[test]
    fn limits_hold() {
        let vocab = characters(["aabbc"], &limits(2, 100)).expect("learnable");
        assert_eq!(vocab.tokens()[5..], ["a", "b"]);
        assert_eq!(characters(["aabbc"], &limits(1, 6)).expect("learnable").len(), 6);
        assert!(characters(["aabbc"], &limits(1, 5)).is_err(), "no room");
        assert!(characters(["abc"], &limits(2, 100)).is_err(), "nothing seen twice");
    }
}

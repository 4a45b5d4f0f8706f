//! Characters: every character that is not white space is one token.
//!
//! Definition:  id(c) = vocabulary[lower(c)] or [UNK]; white space gives no token; special tokens
//!              written in the text are cut out first, as BERT tokenizers do
//! Cost:        O(n), one table look-up per character

use super::{Plain, Rules};
use crate::{TokenSpans, Vocab};
use std::collections::HashMap;

/// A table from characters to ids.
pub(super) struct Characters {
    ids: HashMap<char, u32>,
    lower_case: bool,
    unk: u32,
    /// Special tokens, longest first, with their ids and lengths in characters.
    special: Vec<(String, u32, usize)>,
}

impl Characters {
    pub(super) fn new(vocab: &Vocab, rules: &Rules, unk: u32) -> Self {
        let mut ids = HashMap::new();
        for (id, token) in vocab.tokens().iter().enumerate() {
            let mut chars = token.chars();
            if let (Some(c), None) = (chars.next(), chars.next()) {
                ids.insert(c, id as u32);
            }
        }
        let mut special: Vec<_> = rules
            .special
            .iter()
            .filter(|name| !name.is_empty())
            .filter_map(|name| Some((name.to_string(), vocab.id(name)?, name.chars().count())))
            .collect();
        special.sort_by_key(|(name, ..)| std::cmp::Reverse(name.len()));
        Self { ids, lower_case: rules.lower_case, unk, special }
    }

    pub(super) fn encode(&self, text: &str) -> Plain {
        let mut plain = Plain { ids: Vec::with_capacity(text.len() / 2), spans: TokenSpans::default() };
        let mut chars = text.char_indices().enumerate();
        while let Some((at, (byte, c))) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            let rest = &text[byte..];
            let (id, length) = match self.special.iter().find(|(name, ..)| rest.starts_with(name.as_str())) {
                Some(&(_, id, length)) => (id, length),
                None => (self.id(c), 1),
            };
            plain.ids.push(id);
            plain.spans.push(Some(at..at + length));
            if length > 1 {
                chars.nth(length - 2);
            }
        }
        plain
    }

    fn id(&self, c: char) -> u32 {
        let c = if self.lower_case { lower(c) } else { c };
        self.ids.get(&c).copied().unwrap_or(self.unk)
    }
}

/// The first character of the lower-case form; only İ has a second one (a combining dot).
pub(crate) fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str, lower_case: bool) -> (Vec<u32>, Vec<std::ops::Range<usize>>) {
        let vocab = Vocab::new("[PAD] [UNK] [CLS] [SEP] [MASK] a 中 7 i".split(' ').map(String::from))
            .expect("tokens are distinct");
        let rules = Rules { lower_case, ..Rules::characters() };
        let plain = Characters::new(&vocab, &rules, 1).encode(text);
        (plain.ids, plain.spans.iter().flatten().collect())
    }

    #[test]
    fn every_character_but_white_space_is_a_token() {
        assert_eq!(encode("a 中\u{3000}7\n国", true), (vec![5, 6, 7, 1], vec![0..1, 2..3, 4..5, 6..7]));
        assert_eq!(encode(" \t", true), (vec![], vec![]));
    }

    #[test]
    fn lower_case_is_optional_and_keeps_the_length() {
        assert_eq!(encode("Aİ", true), (vec![5, 8], vec![0..1, 1..2]));
        assert_eq!(encode("Aİ", false).0, [1, 1]);
    }

    #[test]
    fn special_tokens_in_the_text_are_cut_out() {
        assert_eq!(encode("中[MASK]a[mask]", true).0, [6, 4, 5, 1, 1, 5, 1, 1, 1]);
        assert_eq!(encode("[SEP]中", true).1, [0..5, 5..6]);
    }
}

//! Words first: what RoFormer and WoBERT do before word pieces.
//!
//! Definition:  the normal form of the text is cut into words of a dictionary; a word that the
//!              vocabulary has is one token, the ordinary rules apply inside every other word
//! Exactness:   as transformers' (current) and bert4keras' RoFormer tokenizers: the normal form is cut,
//!              not the text. A word outside the vocabulary is cut at its punctuation as bert4keras
//!              does; transformers leaves `c++` to the word pieces
//! Reference:   WoBERT, 2020; RoFormer, 2021.       Vectors: bert-wordpiece-tokenizer-and-checkpoints.json

use super::effect::Effect;
use super::normal::{self, Normal};
use super::{Dialect, WordPiece, Words};
use crate::Result;
use crate::tokenizer::Dictionary;
use tokenizers::normalizers::BertNormalizer;

impl WordPiece {
    /// Tokens of a part of a text whose first character is `first`; gives its length in characters.
    pub(super) fn by_words(
        &self,
        dictionary: &Dictionary,
        words: &mut Words,
        text: &str,
        first: usize,
    ) -> Result<usize> {
        let normal = match self.quick_normal(text) {
            Some(normal) => normal,
            None => self.normal(text)?,
        };
        let string: String = normal.iter().map(|&(c, _)| c).collect();
        let mut bytes = 0;
        for word in dictionary.cut(&string) {
            let letters = &normal[word];
            let start = bytes;
            bytes += letters.iter().map(|(c, _)| c.len_utf8()).sum::<usize>();
            let (Some(&(_, from)), Some(&(_, last))) = (letters.first(), letters.last()) else { continue };
            if let Some(id) = self.token(&string[start..bytes]) {
                words.token(id, first + from, (last + 1).saturating_sub(from).max(1));
                continue;
            }
            for &(c, place) in letters {
                self.normal_character(words, c, first + place);
            }
            words.end();
        }
        Ok(text.chars().count())
    }

    /// The normal form that is cut into words.
    fn normal(&self, text: &str) -> Result<Normal> {
        let normalizer = self.effects.normalizer();
        match self.dialect {
            Dialect::Transformers => {
                let &BertNormalizer { clean_text, strip_accents, lowercase, .. } = normalizer;
                normal::transformers(&BertNormalizer::new(clean_text, false, strip_accents, lowercase), text)
            }
            Dialect::Bert4keras => normal::bert4keras(text, normalizer.lowercase),
        }
    }

    /// The same character by character, where that is certain to be the same.
    fn quick_normal(&self, text: &str) -> Option<Normal> {
        let mut normal = Vec::with_capacity(text.len());
        for (place, c) in text.chars().enumerate() {
            match self.page(c).effect(c) {
                Effect::Letter(c) => normal.push((c, place)),
                Effect::Space => normal.push((' ', place)),
                Effect::Word(_) if stays_itself(c) => normal.push((c, place)),
                // Dropped here by one dialect, after the cut by the other.
                Effect::Nothing if self.dialect == Dialect::Transformers => {}
                Effect::Nothing | Effect::Word(_) | Effect::Several(_) | Effect::Moves => return None,
            }
        }
        Some(normal)
    }
}

/// Blocks of ideographs and punctuation in which no character has a canonical decomposition.
fn stays_itself(c: char) -> bool {
    matches!(c, '\0'..='\u{7f}' | '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3029}' | '\u{4e00}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}')
}

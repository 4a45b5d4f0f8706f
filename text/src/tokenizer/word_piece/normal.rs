//! Normal form: a text as its tokenizer sees it, every character with the place it comes from.
//!
//! Definition:  transformers: the crate's BERT normalizer. bert4keras: lower case (a Σ that ends a word
//!              becomes ς), canonical decomposition, accents (category Mn) dropped
//! Cost:        O(n), some 50 ns a character: for the texts that cannot be read character by character

use crate::{Error, Result};
use tokenizers::normalizer::Range;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer};

/// Characters with the places of their origins, in characters of the text.
pub(super) type Normal = Vec<(char, usize)>;

/// What a normalizer of the crate makes of a text.
pub(super) fn transformers(normalizer: &BertNormalizer, text: &str) -> Result<Normal> {
    let places = places(text.chars().map(char::len_utf8));
    normalized(normalizer, text, &places)
}

/// What bert4keras makes of a text before it looks at words.
pub(super) fn bert4keras(text: &str, lower_case: bool) -> Result<Normal> {
    if !lower_case {
        return Ok(text.chars().enumerate().map(|(place, c)| (c, place)).collect());
    }
    // Σ is the only character whose lower case depends on its neighbours, and it stays one character.
    let lower = text.to_lowercase();
    let mut of_each = lower.chars();
    let lengths = text.chars().map(|c| {
        let count = c.to_lowercase().count();
        of_each.by_ref().take(count).map(char::len_utf8).sum::<usize>()
    });
    let places = places(lengths);
    normalized(&BertNormalizer::new(false, false, Some(true), false), &lower, &places)
}

/// For each byte its place, given how many bytes each place has.
fn places(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    lengths.enumerate().flat_map(|(place, length)| std::iter::repeat_n(place, length)).collect()
}

fn normalized(normalizer: &BertNormalizer, text: &str, places: &[usize]) -> Result<Normal> {
    let mut normal = NormalizedString::from(text);
    normalizer.normalize(&mut normal).map_err(|e| Error::Tokenizer(e.to_string()))?;
    let chars = normal.get().char_indices();
    let place = |at: usize, c: char| {
        let origin = normal.convert_offsets(Range::Normalized(at..at + c.len_utf8()));
        origin.and_then(|origin| places.get(origin.start)).copied().unwrap_or(0)
    };
    Ok(chars.map(|(at, c)| (c, place(at, c))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_keep_the_places_they_come_from() {
        let uncased = BertNormalizer::new(true, false, None, true);
        let normal = transformers(&uncased, "É\0ﬁ 한").expect("normalizes");
        let expected = [('e', 0), ('ﬁ', 2), (' ', 3), ('\u{1112}', 4), ('\u{1161}', 4), ('\u{11ab}', 4)];
        assert_eq!(normal, expected);
    }

    #[test]
    fn bert4keras_lower_cases_words_not_characters() {
        let normal = bert4keras("ΟΔΟΣ İΣ\0", true).expect("normalizes");
        let expected: Vec<(char, usize)> = "οδος iς\0".chars().zip(0..).collect();
        assert_eq!(normal, expected);
        assert_eq!(bert4keras("É", false).expect("normalizes"), [('É', 0)]);
    }
}

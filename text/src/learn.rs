//! Learning a vocabulary from texts. The same texts give the same vocabulary, in any order.
//!
//! Definition:  characters: every character except white space seen at least `min_count` times, most
//!              frequent first, ties by code point, at most `max_size` tokens, special tokens first
//!              word pieces: the same characters alone and as `##c`, then the pieces that merging the
//!              most frequent pair of pieces, again and again, creates (the `tokenizers` trainer)

use crate::tokenizer::lower;
use crate::{Error, Result, SpecialTokens, Vocab};
use std::collections::{BTreeMap, HashMap, HashSet};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Model, Normalizer, PreTokenizer, Trainer};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString};

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
    let alphabet = frequent(counts, limits);
    let fresh: Vec<String> = alphabet.into_iter().filter(|c| !tokens.contains(c)).collect();
    let room = limits.max_size - tokens.len();
    tokens.extend(fresh.into_iter().take(room));
    learnt(tokens, limits)
}

/// Learns a word-piece vocabulary, for [`Rules::bert`](crate::Rules::bert) with the same
/// `lower_case`.
pub fn word_pieces<S: AsRef<str>>(texts: impl IntoIterator<Item = S>, limits: &Limits) -> Result<Vocab> {
    let mut words = words(texts, limits.lower_case)?;
    let mut tokens = special(limits)?;
    let (mut anywhere, mut inside) = (HashMap::new(), HashMap::new());
    for (word, count) in &words {
        for (i, c) in word.chars().enumerate() {
            *anywhere.entry(c).or_default() += count;
            if i > 0 {
                *inside.entry(c).or_default() += count;
            }
        }
    }
    // Every letter of a learnt word needs its `##` form, so at most half of the room is letters.
    let mut alphabet = frequent(anywhere, limits);
    alphabet.retain(|c| !tokens.contains(c));
    alphabet.truncate((limits.max_size - tokens.len()).div_ceil(2));
    let known: HashSet<char> = alphabet.iter().flat_map(|c| c.chars()).collect();
    words.retain(|word, _| word.chars().all(|c| known.contains(&c)));
    let mut inside = frequent(inside, &Limits { min_count: 1, ..limits.clone() });
    inside.retain(|c| alphabet.contains(c));
    tokens.extend(alphabet);
    tokens.extend(inside.into_iter().map(|c| format!("##{c}")));
    tokens.truncate(limits.max_size);
    learnt(merge(tokens, words, limits)?, limits)
}

/// Words of the texts as BERT cuts them, with their counts.
fn words<S: AsRef<str>>(
    texts: impl IntoIterator<Item = S>,
    lower_case: bool,
) -> Result<BTreeMap<String, u64>> {
    let normalizer = BertNormalizer::new(true, true, None, lower_case);
    let failed = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
    let mut words = BTreeMap::new();
    for text in texts {
        let mut pieces = PreTokenizedString::from(text.as_ref());
        pieces.normalize(|part| normalizer.normalize(part)).map_err(failed)?;
        BertPreTokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
        for (word, ..) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
            *words.entry(word.to_string()).or_default() += 1;
        }
    }
    Ok(words)
}

/// Runs the trainer from `tokens`, which get the first ids.
///
/// The trainer numbers letters in the order of a randomly seeded hash map and breaks ties by
/// number; naming all letters beforehand, as if they were special tokens, takes the chance out.
fn merge(tokens: Vec<String>, words: BTreeMap<String, u64>, limits: &Limits) -> Result<Vec<String>> {
    let failed = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
    let mut trainer = WordPieceTrainer::builder()
        .vocab_size(limits.max_size)
        .min_frequency(limits.min_count)
        .show_progress(false)
        .special_tokens(tokens.into_iter().map(|t| AddedToken::from(t, true)).collect())
        .build();
    // It counts words itself: repeat each, in lines of bounded length.
    const REPEATS: u64 = 512;
    let lines = words.into_iter().flat_map(|(word, count)| {
        let lines = count.div_ceil(REPEATS);
        (0..lines).map(move |i| format!("{word} ").repeat((count - i * REPEATS).min(REPEATS) as usize))
    });
    trainer
        .feed(lines, |line| Ok(line.split_ascii_whitespace().map(String::from).collect()))
        .map_err(failed)?;
    let mut model = WordPiece::default();
    trainer.train(&mut model).map_err(failed)?;
    let mut tokens: Vec<(u32, String)> = model.get_vocab().into_iter().map(|(t, id)| (id, t)).collect();
    tokens.sort_unstable();
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

/// Characters seen often enough, most frequent first, ties by code point.
fn frequent(counts: HashMap<char, u64>, limits: &Limits) -> Vec<String> {
    let mut counts: Vec<_> = counts.into_iter().filter(|&(_, n)| n >= limits.min_count).collect();
    counts.sort_unstable_by_key(|&(c, n)| (std::cmp::Reverse(n), c));
    counts.into_iter().map(|(c, _)| c.to_string()).collect()
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

    #[test]
    fn word_pieces_are_frequent_parts_of_words() {
        let texts = ["playing played plays, 北京", "saying going 北京!", "PLAY doing 北京"];
        let vocab = word_pieces(texts, &limits(2, 60)).expect("learnable");
        for token in ["p", "##l", "play", "##ing", "北", "京"] {
            assert!(vocab.id(token).is_some(), "no {token} in {:?}", vocab.tokens());
        }
        for token in ["##北", "北京", "!", "P"] {
            assert!(vocab.id(token).is_none(), "{token} in {:?}", vocab.tokens());
        }
        let tokenizer = crate::Tokenizer::from_vocab(vocab, crate::Rules::bert(true)).expect("usable");
        let ids = tokenizer.encode_plain("Playing 北京").expect("encodable").ids;
        assert!(!ids.contains(&1), "nothing is unknown");
    }

    #[test]
    fn the_same_texts_give_the_same_vocabulary_in_any_order() {
        let texts: Vec<String> =
            (0..200).map(|i| format!("word{} other{} naïve 北京{i}", i % 17, (i * i) % 31)).collect();
        for size in [20, 40, 100] {
            let once = word_pieces(&texts, &limits(2, size)).expect("learnable");
            assert!(once.len() <= size);
            for _ in 0..4 {
                assert_eq!(word_pieces(texts.iter().rev(), &limits(2, size)).expect("learnable"), once);
            }
            let letters = characters(&texts, &limits(2, size)).expect("learnable");
            assert_eq!(characters(texts.iter().rev(), &limits(2, size)).expect("learnable"), letters);
        }
    }
}

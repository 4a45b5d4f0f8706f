//! Character classes that Chinese and multilingual BERT agree on.

use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// CJK ideographs as BERT counts them; kana and Hangul are not included.
pub(crate) fn is_cjk(c: char) -> bool {
    matches!(
        c as u32,
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B820..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

/// Punctuation as BERT counts it: all ASCII symbols, and Unicode category P.
///
/// Asks BERT's own pre-tokenizer, which is what the vocabulary will meet; too slow for texts.
pub(crate) fn is_punctuation(c: char) -> bool {
    if c.is_ascii() || c.is_whitespace() {
        return c.is_ascii_punctuation();
    }
    let mut pieces = PreTokenizedString::from(format!("x{c}x"));
    BertPreTokenizer.pre_tokenize(&mut pieces).is_ok()
        && pieces.get_splits(OffsetReferential::Original, OffsetType::None).len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_bert() {
        assert!(['中', '𠀀', '豈'].into_iter().all(is_cjk));
        assert!(!['か', '한', 'a', '，'].into_iter().any(is_cjk));
        assert!(['，', '$', '—', '《'].into_iter().all(is_punctuation));
        assert!(!['中', 'a', ' ', '３', '👍'].into_iter().any(is_punctuation));
    }
}

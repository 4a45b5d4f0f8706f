//! Spans: the one place that converts bytes, characters and tokens.
//!
//! Definition:  a character is a Unicode scalar value; ranges of characters are half-open; ranges of
//!              tokens are (first, last), both included, as span scorers need them
//! Numerics:    token spans never decrease, neither in their starts nor in their ends
//! Cost:        `CharIndex` O(n) to build, char to byte O(1), byte to char O(log n);
//!              `chars_to_tokens` O(log tokens)

use std::ops::Range;

/// Converts between byte and character positions of one text.
#[derive(Clone, Debug)]
pub struct CharIndex {
    /// Byte position of every character and of the end; `None` when all characters are ASCII.
    bytes: Option<Vec<usize>>,
    len: usize,
}

impl CharIndex {
    /// The index of `text`.
    pub fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self { bytes: None, len: text.len() };
        }
        let bytes: Vec<usize> = text.char_indices().map(|(b, _)| b).chain([text.len()]).collect();
        Self { len: bytes.len() - 1, bytes: Some(bytes) }
    }

    /// Characters in the text.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for the empty text.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The byte at which character `char` begins; the length in bytes for `char == len()`.
    pub fn byte(&self, char: usize) -> Option<usize> {
        match &self.bytes {
            Some(bytes) => bytes.get(char).copied(),
            None => (char <= self.len).then_some(char),
        }
    }

    /// The character that byte `byte` belongs to; `len()` for the end of the text and beyond.
    pub fn char(&self, byte: usize) -> usize {
        match &self.bytes {
            Some(bytes) => match bytes.binary_search(&byte) {
                Ok(char) => char,
                Err(next) => (next - 1).min(self.len),
            },
            None => byte.min(self.len),
        }
    }

    /// The smallest range of characters that covers a range of bytes.
    pub fn chars(&self, bytes: Range<usize>) -> Range<usize> {
        let (start, mut end) = (self.char(bytes.start), self.char(bytes.end));
        if self.byte(end).is_some_and(|b| b < bytes.end) {
            end = (end + 1).min(self.len);
        }
        start..end
    }

    /// The characters `chars` of the text this index was built from; `None` when out of range.
    pub fn slice<'t>(&self, text: &'t str, chars: Range<usize>) -> Option<&'t str> {
        text.get(self.byte(chars.start)?..self.byte(chars.end)?)
    }
}

/// The characters `chars` of `text`, `None` when out of range or reversed. O(n): for many slices
/// of one text use [`CharIndex::slice`].
pub fn slice(text: &str, chars: Range<usize>) -> Option<&str> {
    let count = chars.end.checked_sub(chars.start)?;
    let start = byte_after(text, chars.start)?;
    let rest = &text[start..];
    Some(&rest[..byte_after(rest, count)?])
}

/// The byte at which character `count` of `text` begins.
fn byte_after(text: &str, count: usize) -> Option<usize> {
    text.char_indices().map(|(b, _)| b).chain([text.len()]).nth(count)
}

/// For each token its characters in the original text, none for tokens that stand for no
/// character (template tokens such as `[CLS]`).
///
/// Several tokens may share characters (byte-level tokenizers cut inside a character).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSpans {
    /// A token without characters holds an empty range at the end of the token before it, which
    /// keeps starts and ends sorted.
    spans: Vec<(u32, u32)>,
}

impl TokenSpans {
    /// From one range per token. A range that lies before its predecessor (a tokenizer that
    /// reorders combining marks) is widened to keep the order.
    pub fn new(spans: impl IntoIterator<Item = Option<Range<usize>>>) -> Self {
        let mut out = Self::default();
        spans.into_iter().for_each(|span| out.push(span));
        out
    }

    /// Appends the span of one more token.
    pub fn push(&mut self, span: Option<Range<usize>>) {
        let (last_start, last_end) = self.spans.last().copied().unwrap_or((0, 0));
        self.spans.push(match span {
            Some(s) if s.start < s.end => ((s.start as u32).max(last_start), (s.end as u32).max(last_end)),
            Some(_) | None => (last_end, last_end),
        });
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True without tokens.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The characters of token `token`.
    pub fn get(&self, token: usize) -> Option<Range<usize>> {
        let &(start, end) = self.spans.get(token)?;
        (start < end).then_some(start as usize..end as usize)
    }

    /// The spans of all tokens in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<Range<usize>>> + '_ {
        self.spans.iter().map(|&(start, end)| (start < end).then_some(start as usize..end as usize))
    }

    /// The tokens that make up the characters `start..end`: (first, last), both included.
    ///
    /// `None` when a boundary falls inside a token (then no sequence of tokens says this span) or
    /// when no token lies in the range. Characters without a token (blanks, dropped marks) at a
    /// boundary are skipped.
    pub fn chars_to_tokens(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let (start, end) = (u32::try_from(start).ok()?, u32::try_from(end).ok()?);
        if start >= end {
            return None;
        }
        let mut first = self.spans.partition_point(|s| s.1 <= start);
        let mut last = self.spans.partition_point(|s| s.0 < end).checked_sub(1)?;
        // Tokens without characters at the edges do not belong to the span; they come in short runs.
        while self.spans.get(first).is_some_and(|s| s.0 == s.1) {
            first += 1;
        }
        while last > first && self.spans[last].0 == self.spans[last].1 {
            last -= 1;
        }
        let (from, to) = (self.spans.get(first)?, self.spans.get(last)?);
        (first <= last && from.0 >= start && to.1 <= end).then_some((first, last))
    }

    /// The characters from the first of token `first` to the last of token `last`, inclusive;
    /// empty when none of them has characters.
    ///
    /// # Panics
    /// When `last` is not a token.
    pub fn tokens_to_chars(&self, first: usize, last: usize) -> Range<usize> {
        let mut covered = self.spans[first..=last].iter().filter(|s| s.0 < s.1);
        match covered.next() {
            Some(&(start, end)) => start as usize..covered.next_back().map_or(end, |&(_, end)| end) as usize,
            None => {
                let at = self.spans[first].0 as usize;
                at..at
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_characters_convert_in_both_directions() {
        let text = "a中👍b";
        let index = CharIndex::new(text);
        assert_eq!(index.len(), 4);
        assert_eq!(
            (0..=5).map(|c| index.byte(c)).collect::<Vec<_>>(),
            [Some(0), Some(1), Some(4), Some(8), Some(9), None]
        );
        assert_eq!((0..=10).map(|b| index.char(b)).collect::<Vec<_>>(), [0, 1, 1, 1, 2, 2, 2, 2, 3, 4, 4]);
        assert_eq!(index.chars(2..3), 1..2, "a piece of a character covers the character");
        assert_eq!(index.chars(1..8), 1..3);
        assert_eq!(index.slice(text, 1..3), Some("中👍"));
    }

    #[test]
    fn an_ascii_text_needs_no_table() {
        let index = CharIndex::new("abc");
        assert_eq!((index.byte(3), index.byte(4), index.char(9)), (Some(3), None, 3));
        assert!(CharIndex::new("").is_empty());
    }

    #[test]
    fn slice_counts_characters_and_refuses_what_is_outside() {
        assert_eq!(slice("a中👍b", 1..3), Some("中👍"));
        assert_eq!(slice("a中", 2..2), Some(""));
        assert_eq!(slice("a中", 1..3), None);
        let (start, end) = (2, 1);
        assert_eq!(slice("a中", start..end), None);
    }

    #[test]
    fn tokens_and_characters_convert_when_boundaries_agree() {
        // [CLS] un ##aff  able [SEP] over "unaff able"
        let spans = TokenSpans::new([None, Some(0..2), Some(2..5), Some(6..10), None]);
        assert_eq!(spans.chars_to_tokens(0, 5), Some((1, 2)));
        assert_eq!(spans.chars_to_tokens(2, 10), Some((2, 3)));
        assert_eq!(spans.chars_to_tokens(0, 3), None, "the end is inside ##aff");
        assert_eq!(spans.chars_to_tokens(7, 10), None, "the start is inside able");
        assert_eq!(spans.chars_to_tokens(5, 10), Some((3, 3)), "a leading blank has no token");
        assert_eq!(spans.chars_to_tokens(5, 6), None, "a blank alone has no token");
        assert_eq!(spans.chars_to_tokens(10, 12), None);
        assert_eq!(spans.chars_to_tokens(3, 3), None);
        assert_eq!(spans.tokens_to_chars(1, 3), 0..10);
        assert_eq!(spans.tokens_to_chars(0, 4), 0..10);
        assert!(spans.tokens_to_chars(0, 0).is_empty());
    }

    #[test]
    fn tokens_that_share_a_character_belong_to_it_together() {
        let spans = TokenSpans::new([Some(0..1), Some(0..1), Some(1..2)]);
        assert_eq!(spans.chars_to_tokens(0, 1), Some((0, 1)));
        assert_eq!(spans.chars_to_tokens(1, 2), Some((2, 2)));
    }

    #[test]
    fn spans_out_of_order_are_widened() {
        let spans = TokenSpans::new([Some(2..3), Some(1..2), Some(3..4)]);
        assert_eq!(spans.iter().flatten().collect::<Vec<_>>(), [2..3, 2..3, 3..4]);
    }
}

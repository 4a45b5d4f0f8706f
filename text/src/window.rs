//! Windows: what happens to a text that is longer than the model takes.
//!
//! Definition:  windows are ranges of at most `limit` tokens, each `limit - overlap` after the one
//!              before; the last ends with the text and is as long as the others
//!              owner(span) = the window that holds the span with the largest distance to its
//!              borders, ties to the earlier; a border that is also an end of the text has none
//! Property:    a span of at most `overlap + 1` tokens has exactly one owner
//! Cost:        O(windows) to build, O(log windows + limit / stride) per span

use crate::{Encoding, Error, Result, Tokenizer};
use std::ops::Range;

/// What to do with a text that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Refuse it.
    Error,
    /// Cut it, and flag the answer as truncated.
    Truncate,
    /// Read it in windows that share `overlap` tokens, and merge the answers.
    Window {
        /// Tokens that two neighbouring windows share.
        overlap: usize,
    },
}

/// Ranges of tokens that together cover a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    ranges: Vec<Range<usize>>,
    tokens: usize,
}

impl Windows {
    /// Covers `tokens` tokens by windows of `limit`; a text within the limit is one window.
    pub fn new(tokens: usize, limit: usize, overlap: usize) -> Result<Self> {
        if overlap >= limit {
            return Err(Error::Option(format!(
                "windows of {limit} tokens cannot overlap by {overlap}; choose an overlap below the window, a quarter of it is usual"
            )));
        }
        let mut ranges = Vec::new();
        let mut start = 0;
        while start + limit < tokens {
            ranges.push(start..start + limit);
            start += limit - overlap;
        }
        ranges.push(tokens.saturating_sub(limit)..tokens);
        Ok(Self { ranges, tokens })
    }

    /// The windows in the order of the text.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// The window whose answer about the tokens `span` counts; `None` when no window holds it.
    pub fn owner(&self, span: &Range<usize>) -> Option<usize> {
        let from = self.ranges.partition_point(|w| w.end < span.end);
        let holding = self.ranges[from..].iter().take_while(|w| w.start <= span.start);
        let mut best: Option<(usize, usize)> = None;
        for (window, range) in holding.enumerate() {
            let distance = self.distance(range, span);
            if best.is_none_or(|(_, most)| distance > most) {
                best = Some((from + window, distance));
            }
        }
        best.map(|(window, _)| window)
    }

    /// Tokens between a span and the nearest border of its window behind which there is more text.
    fn distance(&self, window: &Range<usize>, span: &Range<usize>) -> usize {
        let before = if window.start == 0 { usize::MAX } else { span.start - window.start };
        let after = if window.end == self.tokens { usize::MAX } else { window.end - span.end };
        before.min(after)
    }
}

/// A text as the model takes it: one encoding, or one per window.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// Encodings with special tokens; their spans are characters of the whole text.
    pub encodings: Vec<Encoding>,
    /// Which tokens of the text, special tokens not counted, each encoding holds.
    pub windows: Windows,
    /// Special tokens before the text in each encoding.
    pub before: usize,
}

impl Pieces {
    /// True when the answer of piece `piece` about its tokens `first..=last` (special tokens
    /// counted) is the one to keep; every span is kept from one piece only.
    pub fn owns(&self, piece: usize, first: usize, last: usize) -> bool {
        let start = self.windows.ranges()[piece].start;
        let Some(first) = first.checked_sub(self.before) else { return false };
        let Some(last) = last.checked_sub(self.before) else { return false };
        self.windows.owner(&(start + first..start + last + 1)) == Some(piece)
    }
}

impl Tokenizer {
    /// Encodes a text of any length for a model that takes `max_tokens`.
    pub fn encode_pieces(&self, text: &str, max_tokens: usize, overflow: Overflow) -> Result<Pieces> {
        let plain = self.encode_plain(text)?;
        let (before, after) = self.special_counts();
        let room = self.room_for_text(max_tokens)?;
        let all = plain.len();
        let windows = match overflow {
            Overflow::Error if all > room => {
                return Err(Error::TooLong { tokens: all + before + after, limit: max_tokens });
            }
            Overflow::Error => Windows::new(all, room, 0)?,
            Overflow::Truncate => Windows::new(all.min(room), room, 0)?,
            Overflow::Window { overlap } => Windows::new(all, room, overlap)?,
        };
        let truncated = windows.tokens < all;
        let wrap = |range: &Range<usize>| Encoding { truncated, ..self.wrap(&plain, range.clone()) };
        Ok(Pieces { encodings: windows.ranges.iter().map(wrap).collect(), windows, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rules, Vocab};

    fn windows(tokens: usize, limit: usize, overlap: usize) -> Windows {
        Windows::new(tokens, limit, overlap).expect("valid")
    }

    fn tokenizer() -> Tokenizer {
        let vocab = Vocab::new("[UNK] [CLS] [SEP] a b".split(' ').map(String::from)).expect("distinct");
        Tokenizer::from_vocab(vocab, Rules::characters()).expect("valid")
    }

    #[test]
    fn a_short_text_is_one_window() {
        assert_eq!(windows(5, 5, 2).ranges(), std::slice::from_ref(&(0..5)));
        assert_eq!(windows(0, 5, 2).ranges(), std::slice::from_ref(&(0..0)));
    }

    #[test]
    fn windows_overlap_and_the_last_is_full() {
        assert_eq!(windows(11, 6, 2).ranges(), [0..6, 4..10, 5..11]);
        assert_eq!(windows(10, 6, 2).ranges(), [0..6, 4..10]);
        assert!(Windows::new(10, 4, 4).is_err(), "such windows would never advance");
    }

    #[test]
    fn the_owner_is_where_the_span_is_farthest_from_the_borders() {
        let windows = windows(10, 6, 2); // 0..6, 4..10
        assert_eq!(windows.owner(&(0..2)), Some(0));
        assert_eq!(
            windows.owner(&(4..5)),
            Some(0),
            "one token to the border of the first, none to the second's"
        );
        assert_eq!(windows.owner(&(5..6)), Some(1));
        assert_eq!(windows.owner(&(4..6)), Some(0), "a tie goes to the earlier");
        assert_eq!(windows.owner(&(3..7)), None, "longer than overlap + 1");
        assert_eq!(windows.owner(&(0..10)), None);
    }

    #[test]
    fn every_span_up_to_the_overlap_has_the_owner_brute_force_finds() {
        for (tokens, limit, overlap) in [(40, 8, 3), (41, 7, 6), (23, 5, 0), (9, 30, 4)] {
            let windows = windows(tokens, limit, overlap);
            let covered: Vec<bool> =
                (0..tokens).map(|t| windows.ranges.iter().any(|w| w.contains(&t))).collect();
            assert!(covered.into_iter().all(|c| c));
            for start in 0..tokens {
                for end in start + 1..=tokens {
                    let mut best: Option<(usize, usize)> = None;
                    for (i, w) in windows.ranges.iter().enumerate() {
                        if w.start <= start && end <= w.end {
                            let distance = windows.distance(w, &(start..end));
                            if best.is_none_or(|(_, most)| distance > most) {
                                best = Some((i, distance));
                            }
                        }
                    }
                    assert_eq!(windows.owner(&(start..end)), best.map(|(i, _)| i));
                    assert!(best.is_some() || end - start > overlap + 1);
                }
            }
        }
    }

    #[test]
    fn pieces_keep_every_span_once_with_its_characters() {
        let text = "ab ".repeat(20);
        let tokenizer = tokenizer();
        let pieces = tokenizer.encode_pieces(&text, 10, Overflow::Window { overlap: 3 }).expect("valid");
        let mut kept = Vec::new();
        for (p, encoding) in pieces.encodings.iter().enumerate() {
            assert!(encoding.len() <= 10 && !encoding.truncated);
            for t in 1..encoding.len() - 2 {
                if pieces.owns(p, t, t + 1) {
                    kept.push(encoding.spans.tokens_to_chars(t, t + 1));
                }
            }
            assert!(!pieces.owns(p, 0, 1), "[CLS] is not text");
        }
        let whole = tokenizer.encode_plain(&text).expect("encodable");
        assert_eq!(kept, (0..39).map(|t| whole.spans.tokens_to_chars(t, t + 1)).collect::<Vec<_>>());
    }

    #[test]
    fn overflow_is_refused_or_flagged_as_asked() {
        let tokenizer = tokenizer();
        let error = tokenizer.encode_pieces("abab", 5, Overflow::Error).expect_err("too long");
        assert!(matches!(error, Error::TooLong { tokens: 6, limit: 5 }));
        let cut = tokenizer.encode_pieces("abab", 5, Overflow::Truncate).expect("valid");
        assert_eq!((cut.encodings.len(), cut.encodings[0].truncated), (1, true));
        assert_eq!(cut.encodings[0], tokenizer.encode("abab", Some(5)).expect("valid"));
        let whole = tokenizer.encode_pieces("abab", 6, Overflow::Error).expect("fits");
        assert_eq!(whole.encodings, [tokenizer.encode("abab", None).expect("valid")]);
        assert!(tokenizer.encode_pieces("a", 2, Overflow::Truncate).is_err(), "no room for text");
    }
}

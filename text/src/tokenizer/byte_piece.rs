//! BytePiece: the likeliest way to write the bytes of a text as pieces.
//!
//! Definition:  the text in normal form C, cut after runs of line ends; of its bytes the pieces that
//!              maximise the sum of ln(count) - ln(sum of counts), ties to the longer piece
//! File:        JSON, `{base64(piece): [id, text, count]}`; ids 0, 1, 2 are padding, begin and end
//! Spans:       characters that a token has bytes of, white space at its edges left out; the tokens of
//!              one character share it
//! Cost:        O(n L) for pieces of at most L bytes
//! Reference:   BytePiece, 2023.               Vectors: bert-wordpiece-tokenizer-and-checkpoints.json

use super::Plain;
use super::pipeline::trimmed;
use super::word_piece::trie::Trie;
use crate::{CharIndex, SpecialTokens, Vocab};
use serde_json::Value;
use tokenizers::NormalizedString;
use tokenizers::normalizer::Range;

/// Names of the ids that have no piece.
const NAMES: [&str; 3] = ["<pad>", "<bos>", "<eos>"];

/// A tokenizer of BytePiece's kind.
pub(super) struct BytePiece {
    trie: Trie,
    /// ln(count) - ln(sum of counts), by id.
    scores: Vec<f64>,
}

impl BytePiece {
    /// Reads the model; also its vocabulary, in which pieces that are no text have names like `<0xE4>`.
    pub(super) fn new(model: &Value) -> Result<(Self, Vocab), String> {
        let entries = model.as_object().ok_or("expected a JSON object of pieces")?;
        let size = entries.len() + NAMES.len();
        let mut pieces: Vec<Option<(Vec<u8>, f64)>> = vec![None; size];
        for (code, entry) in entries {
            let piece = base64::decode(code).ok().filter(|piece| !piece.is_empty());
            let piece = piece.ok_or_else(|| format!("{code:?} is no piece in base64"))?;
            let id = entry.get(0).and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
            let count = entry.get(2).and_then(Value::as_f64).filter(|&count| count > 0.0);
            let (Some(id), Some(count)) = (id, count) else {
                return Err(format!("{code:?} has {entry}; expected [id, text, count], the count above 0"));
            };
            let slot = pieces.get_mut(id).filter(|slot| id >= NAMES.len() && slot.is_none());
            *slot.ok_or_else(|| format!("{code:?} has id {id}; expected 3 to {}, each once", size - 1))? =
                Some((piece, count));
        }
        let pieces: Vec<(Vec<u8>, f64)> = pieces.into_iter().flatten().collect();
        if let Some(byte) = (0..=u8::MAX).find(|byte| !pieces.iter().any(|(piece, _)| piece == &[*byte])) {
            return Err(format!("byte 0x{byte:02X} is no piece; every byte must be one"));
        }
        let total = pieces.iter().map(|(_, count)| count).sum::<f64>().ln();
        let scores = [0.0; NAMES.len()].into_iter().chain(pieces.iter().map(|(_, count)| count.ln() - total));
        let numbered = pieces.iter().zip(NAMES.len() as u32..).map(|((piece, _), id)| (piece, id));
        let trie = Trie::new(numbered).ok_or("more pieces than a tokenizer can hold")?;
        let names = NAMES.map(String::from).into_iter().chain(pieces.iter().map(|(piece, _)| name(piece)));
        let vocab = Vocab::new(names).map_err(|e| e.to_string())?;
        Ok((Self { scores: scores.collect(), trie }, vocab))
    }

    pub(super) fn special() -> SpecialTokens {
        let [pad, begin, end] = NAMES.map(|name| Some(name.to_string()));
        SpecialTokens { pad, cls: begin, sep: end, ..SpecialTokens::none() }
    }

    pub(super) fn encode(&self, text: &str) -> Plain {
        let (normal, places) = normal_form(text);
        let index = CharIndex::new(text);
        let mut plain = Plain::default();
        let mut start = 0;
        for end in line_ends(&normal) {
            for (bytes, id) in self.best(&normal.as_bytes()[start..end]) {
                // The first character it has bytes of, and what follows the last.
                let (first, last) = (places[start + bytes.start].0, places[start + bytes.end - 1].1);
                plain.spans.push(trimmed(text, &index, first..last));
                plain.ids.push(id);
            }
            start = end;
        }
        plain
    }

    /// The likeliest pieces of some bytes.
    fn best(&self, bytes: &[u8]) -> Vec<(std::ops::Range<usize>, u32)> {
        // For each end: the best score, and the last piece with its beginning.
        let mut best = vec![(f64::NEG_INFINITY, 0, 0); bytes.len() + 1];
        best[0].0 = 0.0;
        for start in 0..bytes.len() {
            let before = best[start].0;
            // Longer pieces reach an end from earlier starts, so they come first and keep it in a tie.
            self.trie.each(bytes[start..].iter().copied(), |length, id| {
                let score = before + self.scores[id as usize];
                if score > best[start + length].0 {
                    best[start + length] = (score, start, id);
                }
            });
        }
        let (mut pieces, mut end) = (Vec::new(), bytes.len());
        while end > 0 {
            let (_, start, id) = best[end];
            pieces.push((start..end, id));
            end = start;
        }
        pieces.reverse();
        pieces
    }
}

/// A piece as a token of a vocabulary.
fn name(piece: &[u8]) -> String {
    match std::str::from_utf8(piece) {
        Ok(text) => text.to_string(),
        Err(_) => piece.iter().map(|byte| format!("<0x{byte:02X}>")).collect(),
    }
}

/// The text in normal form C, and for each of its bytes the bytes of the text that its character is from.
fn normal_form(text: &str) -> (String, Vec<(usize, usize)>) {
    let mut places = Vec::with_capacity(text.len());
    if text.chars().all(stays_itself) {
        for (at, c) in text.char_indices() {
            places.resize(at + c.len_utf8(), (at, at + c.len_utf8()));
        }
        return (text.to_string(), places);
    }
    let mut normal = NormalizedString::from(text);
    normal.nfc();
    let starts = normal.get().char_indices().map(|(at, c)| {
        let origin = normal.convert_offsets(Range::Normalized(at..at + c.len_utf8()));
        (at + c.len_utf8(), origin.map_or(0, |origin| origin.start))
    });
    let starts: Vec<(usize, usize)> = starts.collect();
    for (i, &(end, start)) in starts.iter().enumerate() {
        // Nothing is dropped: what is composed into a character reaches to the next one.
        let next = starts.get(i + 1).map_or(text.len(), |&(_, next)| next);
        places.resize(end, (start, next.max(start)));
    }
    (normal.get().to_string(), places)
}

/// Characters that normal form C neither changes nor joins with another of these.
fn stays_itself(c: char) -> bool {
    matches!(c, '\0'..='\u{2ff}' | '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3029}' | '\u{3041}'..='\u{3096}'
        | '\u{30a0}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{ff00}'..='\u{ffef}')
}

/// Ends of the parts that are cut alone: after each run of line ends, and at the end.
fn line_ends(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    (1..=bytes.len()).filter(|&end| match bytes.get(end) {
        None => true,
        Some(next) => bytes[end - 1] == b'\n' && *next != b'\n',
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// All bytes, and some pieces.
    fn model() -> BytePiece {
        let mut entries = serde_json::Map::new();
        let more: [(&[u8], u32); 3] = [("中".as_bytes(), 50), (b"ab", 20), (b"b\n", 20)];
        let bytes: Vec<[u8; 1]> = (0..=255).map(|byte| [byte]).collect();
        let all = bytes.iter().map(|byte| (&byte[..], 1)).chain(more);
        for ((piece, count), id) in all.zip(3..) {
            entries.insert(base64::encode(piece), json!([id, "", count]));
        }
        BytePiece::new(&entries.into()).expect("valid").0
    }

    #[test]
    fn the_likeliest_pieces_are_found() {
        let model = model();
        let ids = |text: &str| model.encode(text).ids;
        assert_eq!(ids("中ab"), [259, 260]);
        assert_eq!(ids("ab\nb\n"), [3 + u32::from(b'a'), 261, 261]);
        assert_eq!(ids("\u{1}"), [4]);
        assert!(ids("").is_empty());
        assert_eq!(ids("e\u{301}"), ids("é"), "in normal form C");
    }

    #[test]
    fn tokens_cover_their_characters() {
        let model = model();
        let spans = |text: &str| -> Vec<_> { model.encode(text).spans.iter().collect() };
        assert_eq!(
            spans("国中"),
            [Some(0..1), Some(0..1), Some(0..1), Some(1..2)],
            "bytes of a character share it"
        );
        assert_eq!(spans("ae\u{301}"), [Some(0..1), Some(1..3), Some(1..3)]);
        assert_eq!(spans("a b\n"), [Some(0..1), None, Some(2..3)]);
    }

    #[test]
    fn broken_models_are_named() {
        let error = |model: Value| BytePiece::new(&model).map(|_| ()).expect_err("broken");
        assert!(error(json!([])).contains("expected a JSON object"));
        assert!(error(json!({"YQ==": [3, "a", 1]})).contains("byte 0x00 is no piece"));
        assert!(error(json!({"YQ==": [0, "a", 1]})).contains("has id 0; expected 3 to 3"));
        assert!(error(json!({"YQ==": [3, "a"]})).contains("expected [id, text, count]"));
        assert!(error(json!({"!": [3, "a", 1]})).contains("no piece in base64"));
    }
}

//! Properties that hold for every text: Chinese, mixed, emoji, full-width, marks, control, RTL.

use bert4rs_text::format::{Scheme, cluener, conll, jsonl};
use bert4rs_text::{CharIndex, Entity, Example, Rules, TokenSpans, Tokenizer, Vocab, span};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::io::Cursor;

const ATOMS: [&str; 34] = [
    "北",
    "京",
    "。",
    "《",
    "a",
    "bc",
    "Play",
    "ing",
    "7",
    "2021",
    " ",
    "\t",
    "\n",
    "\r\n",
    "\u{3000}",
    "\u{a0}",
    "\u{2028}",
    "Ａ",
    "１",
    "é",
    "e\u{301}",
    "a\u{323}\u{301}",
    "İ",
    "ẞ",
    "が",
    "한",
    "👨\u{200d}👩\u{200d}👧",
    "👍🏽",
    "\u{0}",
    "\u{200b}",
    "\u{fffd}",
    "שלום\u{5b0}",
    "[MASK]",
    "𠀀",
];

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![4 => vec(select(&ATOMS[..]), 0..24).prop_map(|atoms| atoms.concat()), 1 => any::<String>()]
}

fn tokenizers() -> Vec<Tokenizer> {
    let tokens = "[PAD] [UNK] [CLS] [SEP] [MASK] 北 京 a b ##c play ##ing 7 2 ##0 e ##e i か ש 。 《 ١";
    let vocab = Vocab::new(tokens.split(' ').map(String::from)).expect("tokens are distinct");
    let cased = Rules { strip_accents: Some(false), ..Rules::bert(false) };
    [
        Rules::characters(),
        Rules { lower_case: false, ..Rules::characters() },
        Rules::bert(true),
        Rules::bert(false),
        cased,
    ]
    .into_iter()
    .map(|rules| Tokenizer::from_vocab(vocab.clone(), rules).expect("valid"))
    .collect()
}

/// A text with entities at any characters of it.
fn examples() -> impl Strategy<Value = Example> {
    (texts(), vec((any::<prop::sample::Index>(), 1..6usize, select(vec!["PER", "地点", "a-b"])), 0..5))
        .prop_map(|(text, places)| {
            let length = text.chars().count();
            let entity = |(at, long, label): (prop::sample::Index, usize, &str)| {
                let start = at.index(length);
                Entity { start, end: (start + long).min(length), label: label.into() }
            };
            let mut entities: Vec<Entity> =
                if length == 0 { vec![] } else { places.into_iter().map(entity).collect() };
            entities.sort();
            entities.dedup();
            Example { text, entities }
        })
}

fn no_white_edges(part: &str) -> bool {
    part.trim() == part && !part.is_empty()
}

fn first(examples: bert4rs_text::Examples) -> Example {
    examples.into_iter().next().expect("one example").expect("valid")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn token_spans_lie_in_the_text_in_order(text in texts()) {
        let length = text.chars().count();
        for tokenizer in tokenizers() {
            let encoding = tokenizer.encode(&text, None).expect("encodable");
            let (mut start, mut end) = (0, 0);
            for (token, span) in encoding.spans.iter().enumerate() {
                prop_assert_eq!(span.is_none(), encoding.special[token], "only the template has no characters");
                let Some(span) = span else { continue };
                prop_assert!(span.start >= start && span.end >= end && span.end <= length);
                prop_assert!(no_white_edges(span::slice(&text, span.clone()).expect("in range")));
                (start, end) = (span.start, span.end);
            }
        }
    }

    #[test]
    fn runs_of_tokens_come_back_from_their_characters(text in texts()) {
        for tokenizer in tokenizers() {
            let spans = tokenizer.encode(&text, None).expect("encodable").spans;
            for first in 1..spans.len() - 1 {
                for last in first..(spans.len() - 1).min(first + 6) {
                    let chars = spans.tokens_to_chars(first, last);
                    let (f, l) = spans.chars_to_tokens(chars.start, chars.end).expect("on boundaries");
                    prop_assert!(f <= first && l >= last, "tokens that share characters belong together");
                    prop_assert_eq!(spans.tokens_to_chars(f, l), chars);
                }
            }
        }
    }

    #[test]
    fn characters_represent_every_span_without_white_edges(text in texts()) {
        let tokenizer = tokenizers().remove(0);
        let text = text.replace("[MASK]", "中"); // a special token is one token, not its characters
        let spans = tokenizer.encode(&text, None).expect("encodable").spans;
        let index = CharIndex::new(&text);
        for start in 0..index.len() {
            for end in start + 1..=index.len().min(start + 5) {
                if no_white_edges(index.slice(&text, start..end).expect("in range")) {
                    let (first, last) = spans.chars_to_tokens(start, end).expect("representable");
                    prop_assert_eq!(spans.tokens_to_chars(first, last), start..end);
                }
            }
        }
    }

    #[test]
    fn tokens_of_a_span_never_leave_it(
        parts in vec((0..4usize, 0..4usize, any::<bool>()), 0..12), start in 0..40usize, long in 0..12usize,
    ) {
        let mut at = 0;
        let spans = TokenSpans::new(parts.into_iter().map(|(gap, long, back)| {
            let begin = if back { at } else { at + gap };
            at = begin + long;
            Some(begin..at)
        }));
        let inside = |s: &std::ops::Range<usize>| s.start >= start && s.end <= start + long;
        let touches = |s: &std::ops::Range<usize>| s.start < start + long && s.end > start;
        let touched: Vec<_> = spans.iter().flatten().filter(touches).collect();
        match spans.chars_to_tokens(start, start + long) {
            Some((first, last)) => {
                prop_assert!(touched.iter().all(inside));
                prop_assert_eq!((first..=last).filter(|&t| spans.get(t).is_some()).count(), touched.len());
                prop_assert!(spans.get(first).is_some() && spans.get(last).is_some());
            }
            None => prop_assert!(touched.is_empty() || !touched.iter().all(inside)),
        }
    }

    #[test]
    fn bytes_and_characters_are_inverse(text in texts()) {
        let index = CharIndex::new(&text);
        for (char, (byte, _)) in text.char_indices().enumerate() {
            prop_assert_eq!(index.byte(char), Some(byte));
            prop_assert_eq!(index.char(byte), char);
        }
        prop_assert_eq!(index.slice(&text, 0..index.len()), Some(text.as_str()));
        prop_assert_eq!(span::slice(&text, 0..index.len()), Some(text.as_str()));
    }

    #[test]
    fn limits_are_kept_and_flagged(a in texts(), b in texts(), limit in 4..20usize) {
        for tokenizer in tokenizers() {
            let whole = tokenizer.encode_pair(&a, &b, None).expect("encodable");
            let cut = tokenizer.encode_pair(&a, &b, Some(limit)).expect("encodable");
            prop_assert!(cut.len() <= limit && !whole.truncated);
            prop_assert_eq!(cut.truncated, whole.len() > limit);
            prop_assert_eq!(cut.len(), whole.len().min(limit));
            let single = tokenizer.encode(&a, Some(limit)).expect("encodable");
            prop_assert_eq!(single.truncated, tokenizer.encode(&a, None).expect("encodable").len() > limit);
        }
    }

    #[test]
    fn json_lines_and_cluener_hold_every_example(example in examples()) {
        let mut out = Vec::new();
        jsonl::write(&mut out, &example).expect("writable");
        prop_assert_eq!(&first(jsonl::parse(Box::new(Cursor::new(out)), "in")), &example);
        let mut out = Vec::new();
        cluener::write(&mut out, &example).expect("writable");
        prop_assert_eq!(&first(cluener::parse(Box::new(Cursor::new(out)), "in")), &example);
    }

    #[test]
    fn conll_gives_back_what_it_can_write(example in examples()) {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        for joint in [conll::Joint::Nothing, conll::Joint::Blank] {
            for scheme in [Scheme::Bio, Scheme::Bioes, Scheme::Iob1] {
                let mut out = Vec::new();
                if conll::write(&mut out, &example, scheme, joint).is_ok() && !example.text.is_empty() {
                    std::fs::write(file.path(), out).expect("writable");
                    let options =
                        conll::Options { scheme: Some(scheme), joint: Some(joint), ..conll::Options::default() };
                    prop_assert_eq!(&first(conll::read(file.path(), &options).expect("opens")), &example);
                }
            }
        }
    }

    #[test]
    fn broken_input_is_an_error_not_a_panic(bytes in vec(any::<u8>(), 0..80), lines in vec(texts(), 0..4)) {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        for content in [bytes, lines.join("\n").into_bytes()] {
            std::fs::write(file.path(), content).expect("writable");
            if let Ok(format) = bert4rs_text::format::Format::detect(file.path())
                && let Ok(examples) = format.read(file.path())
            {
                for example in examples.take(100).flatten() {
                    let length = example.text.chars().count();
                    prop_assert!(example.entities.iter().all(|e| e.start < e.end && e.end <= length));
                }
            }
            let _ = Vocab::read(file.path());
        }
    }
}

//! Exact spans of every kind of tokenizer, on every text: Chinese, mixed, emoji, full-width, marks, control.

use bert4rs_text::{CharIndex, Rules, Tokenizer, Vocab, span};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;

const ATOMS: [&str; 30] = [
    "北",
    "京",
    "中国",
    "今天",
    "。",
    "《",
    "a",
    "bc",
    "Play",
    "the fox",
    "7",
    "2021",
    " ",
    "\t",
    "\n\n",
    "\r\n",
    "\u{3000}",
    "\u{a0}",
    "ＡＢ１",
    "é",
    "e\u{301}",
    "a\u{323}\u{301}",
    "İΣ",
    "が",
    "한국",
    "👨\u{200d}👩",
    "👍🏽",
    "\u{0}",
    "\u{200b}\u{e000}",
    "𠀀",
];

fn of_atoms() -> impl Strategy<Value = String> {
    vec(select(&ATOMS[..]), 0..20).prop_map(|atoms| atoms.concat())
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![4 => of_atoms(), 1 => any::<String>()]
}

fn open(files: &[(&str, String)]) -> Tokenizer {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("writable");
    }
    Tokenizer::from_dir(folder.path()).expect("readable")
}

/// GPT-2's letters for the 256 bytes.
fn letter(byte: u8) -> char {
    let plain = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match plain(&byte) {
        true => char::from(byte),
        false => char::from_u32(256 + (0..byte).filter(|b| !plain(b)).count() as u32).expect("a letter"),
    }
}

fn letters(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| letter(byte)).collect()
}

/// Pairs that cut inside characters and across blanks.
const PAIRS: [(&[u8], &[u8]); 6] = [
    (b"\xe4", b"\xb8"),
    (b"\xe4\xb8", b"\xad"),
    (b" ", b"\xe4"),
    (b"\x97", b"\xe4"),
    (b"a", b"b"),
    (b" ", b"t"),
];

/// Every byte and some pairs: nothing is unknown.
static BYTE_LEVEL: LazyLock<Tokenizer> = LazyLock::new(|| {
    let pairs = PAIRS.map(|(left, right)| (letters(left), letters(right)));
    let tokens = (0..=255).map(|byte| letters(&[byte])).chain(pairs.iter().map(|(l, r)| format!("{l}{r}")));
    let vocab: serde_json::Map<String, Value> =
        tokens.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let merges: String = pairs.iter().map(|(left, right)| format!("{left} {right}\n")).collect();
    open(&[("vocab.json", Value::from(vocab).to_string()), ("merges.txt", merges)])
});

static BYTE_PIECE: LazyLock<Tokenizer> = LazyLock::new(|| {
    let more = PAIRS.map(|(left, right)| ([left, right].concat(), 30));
    let pieces = (0..=255).map(|byte| (vec![byte], 1)).chain(more);
    let entry = |((piece, count), id): ((Vec<u8>, u32), u32)| (base64::encode(piece), json!([id, "", count]));
    let model: serde_json::Map<String, Value> = pieces.zip(3..).map(entry).collect();
    open(&[("bytepiece.model", Value::from(model).to_string())])
});

/// Tokenizers that may drop marks and control characters, and nothing else.
static OTHERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let tokens =
        "[PAD] [UNK] [CLS] [SEP] [MASK] 北 京 中国 今天 a b ##c play ##ing 7 2 ##0 e ##e i σ ς か 。 《";
    let vocab = Vocab::new(tokens.split(' ').map(String::from)).expect("tokens are distinct");
    let checkpoint = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/checkpoints").join(name);
        Tokenizer::from_dir(&folder).expect("readable")
    };
    let rules = [Rules::bert4keras(true), Rules::bert4keras(false)];
    let mut all: Vec<Tokenizer> =
        rules.into_iter().map(|rules| Tokenizer::from_vocab(vocab.clone(), rules).expect("valid")).collect();
    all.extend(["t5-tiny", "deberta-v2-tiny"].map(checkpoint));
    #[cfg(feature = "jieba")]
    for rules in [
        Rules::words(true),
        Rules::words(false),
        Rules { units: bert4rs_text::Units::Words, ..Rules::bert4keras(true) },
    ] {
        all.push(Tokenizer::from_vocab(vocab.clone(), rules).expect("valid"));
    }
    all
});

/// The bytes of a token: letters of GPT-2, text, or names such as `<0xE4>`.
fn bytes(token: &str, byte_level: bool) -> usize {
    match (byte_level, token.starts_with("<0x")) {
        (true, _) => token.chars().count(),
        (false, true) => token.len() / "<0xE4>".len(),
        (false, false) => token.len(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn spans_lie_in_the_text_in_order_without_white_edges(text in texts()) {
        for tokenizer in OTHERS.iter().chain([&*BYTE_LEVEL, &*BYTE_PIECE]) {
            let encoding = tokenizer.encode(&text, None).expect("encodable");
            let (mut start, mut end) = (0, 0);
            for (token, span) in encoding.spans.iter().enumerate() {
                let Some(span) = span else { continue };
                prop_assert!(!encoding.special[token], "the template has no characters");
                prop_assert!(span.start >= start && span.end >= end);
                let part = span::slice(&text, span.clone()).expect("in range");
                prop_assert!(part.trim() == part && !part.is_empty());
                (start, end) = (span.start, span.end);
            }
        }
    }

    #[test]
    fn runs_of_tokens_come_back_from_their_characters(text in texts()) {
        for tokenizer in OTHERS.iter().chain([&*BYTE_LEVEL, &*BYTE_PIECE]) {
            let spans = tokenizer.encode_plain(&text).expect("encodable").spans;
            for first in 0..spans.len() {
                for last in first..spans.len().min(first + 4) {
                    let chars = spans.tokens_to_chars(first, last);
                    if chars.is_empty() {
                        continue; // white space alone
                    }
                    // Tokens before and after may share the characters at the edges, and reach beyond.
                    let reaches = |span: &std::ops::Range<usize>| {
                        span.start < chars.end && span.end > chars.start
                            && (span.start < chars.start || span.end > chars.end)
                    };
                    match spans.chars_to_tokens(chars.start, chars.end) {
                        Some((f, l)) => {
                            prop_assert_eq!(spans.tokens_to_chars(f, l), chars);
                        }
                        None => prop_assert!(spans.iter().flatten().any(|span| reaches(&span))),
                    }
                }
            }
        }
    }

    #[test]
    fn tokens_of_bytes_cover_the_characters_they_have_bytes_of(text in texts()) {
        // A text without marks is in normal form C.
        let composed: String = text.chars().filter(|&c| c < '\u{300}' || ('\u{4e00}'..'\u{a000}').contains(&c)).collect();
        for (tokenizer, text, byte_level) in [(&*BYTE_LEVEL, &text, true), (&*BYTE_PIECE, &composed, false)] {
            let encoding = tokenizer.encode_plain(text).expect("encodable");
            let index = CharIndex::new(text);
            let mut at = 0;
            for (&id, span) in encoding.ids.iter().zip(encoding.spans.iter()) {
                let end = at + bytes(tokenizer.token(id).expect("known id"), byte_level);
                let covered = index.chars(at..end);
                let white = |place: &usize| index.slice(text, *place..place + 1).expect("in range").trim().is_empty();
                let mut inside: Vec<usize> = covered.collect();
                while inside.last().is_some_and(white) {
                    inside.pop();
                }
                let inside: Vec<usize> = inside.into_iter().skip_while(white).collect();
                let expected = inside.first().map(|&first| first..inside[inside.len() - 1] + 1);
                prop_assert_eq!(span, expected, "bytes {}..{}", at, end);
                at = end;
            }
            prop_assert_eq!(at, text.len(), "every byte is in a token");
        }
    }

    #[test]
    fn letters_digits_and_signs_are_covered(text in of_atoms()) {
        let mark = |c: char| ('\u{300}'..='\u{36f}').contains(&c);
        let kept = |c: char| c == '。' || c == '👍' || (c.is_alphanumeric() && !mark(c));
        for tokenizer in OTHERS.iter().chain([&*BYTE_LEVEL, &*BYTE_PIECE]) {
            let spans = tokenizer.encode_plain(&text).expect("encodable").spans;
            for (place, c) in text.chars().enumerate().filter(|&(_, c)| kept(c)) {
                prop_assert!(spans.iter().flatten().any(|span| span.contains(&place)), "{:?} at {}", c, place);
            }
        }
    }
}

//! Folders with a `tokenizer.json` of another kind than BERT's give what transformers gives: ids, spans,
//! special tokens.

use bert4rs_text::{TokenSpans, Tokenizer};
use serde_json::Value;
use std::path::PathBuf;

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../tests/data/checkpoints", name].iter().collect()
}

fn numbers(list: &Value) -> Vec<u32> {
    list.as_array().expect("list").iter().map(|v| v.as_u64().expect("number") as u32).collect()
}

/// A span without the white space at its edges, as ours are: `Ġplay` and `▁play` are at `play`.
fn trimmed(text: &str, offsets: &Value, special: bool) -> Option<std::ops::Range<usize>> {
    let ends = numbers(offsets);
    let (mut start, mut end) = (ends[0] as usize, ends[1] as usize);
    let chars: Vec<char> = text.chars().collect();
    while start < end && chars[start].is_whitespace() {
        start += 1;
    }
    while start < end && chars[end - 1].is_whitespace() {
        end -= 1;
    }
    (!special && start < end).then_some(start..end)
}

fn check(name: &str) {
    let folder = folder(name);
    let tokenizer = Tokenizer::from_dir(&folder).expect("readable");
    let file = std::fs::read(folder.join("tokenizer_expected.json")).expect("expected");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    let cases = file["cases"].as_array().expect("cases");
    for case in cases {
        let text = case["text"].as_str().expect("text");
        let encoding = tokenizer.encode(text, None).expect("encodable");
        assert_eq!(encoding.ids, numbers(&case["ids"]), "{name}: {text:?}");
        let special: Vec<bool> =
            numbers(&case["special_tokens_mask"]).into_iter().map(|special| special == 1).collect();
        assert_eq!(encoding.special, special, "{name}: {text:?}");
        let offsets = case["offsets"].as_array().expect("list").iter().zip(special);
        let spans = offsets.map(|(offsets, special)| trimmed(text, offsets, special));
        assert_eq!(encoding.spans, TokenSpans::new(spans), "{name}: {text:?}");
    }
    let [first, second] = [0, 1].map(|case: usize| cases[case]["text"].as_str().expect("text"));
    let pair = tokenizer.encode_pair(first, second, None).expect("encodable");
    assert_eq!(pair.ids, numbers(&file["pair"]["ids"]), "{name}");
    assert_eq!(pair.type_ids, numbers(&file["pair"]["type_ids"]), "{name}");
}

#[test]
fn byte_level_pairs_equal_transformers() {
    check("gpt2-tiny");
    check("modernbert-tiny");
}

#[test]
fn unigrams_equal_transformers() {
    check("t5-tiny");
    check("deberta-v2-tiny");
}

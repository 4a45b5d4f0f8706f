//! Folders with a SentencePiece model give what SentencePiece itself gives: ids, and spans where the text
//! is not prepared by others first. `scripts/parity/sentence_piece_models.py` makes the folders.

use bert4rs_text::{TokenSpans, Tokenizer, span};
use serde_json::Value;
use std::path::PathBuf;

fn folder(family: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../tests/data/sentence_piece", family].iter().collect()
}

fn numbers(list: &Value) -> Vec<usize> {
    list.as_array().expect("list").iter().map(|v| v.as_u64().expect("number") as usize).collect()
}

fn trimmed(text: &str, ends: &Value) -> Option<std::ops::Range<usize>> {
    let ends = numbers(ends);
    let part = span::slice(text, ends[0]..ends[1]).expect("in range");
    let before = part.chars().count() - part.trim_start().chars().count();
    let length = part.trim().chars().count();
    (length > 0).then(|| ends[0] + before..ends[0] + before + length)
}

/// `special` tokens are put before and after; the texts that transformers' rules change are not compared.
fn check(family: &str, special: (usize, usize)) {
    let tokenizer = Tokenizer::from_dir(&folder(family)).expect("readable");
    assert_eq!(tokenizer.special_counts(), special, "{family}");
    let saved = tempfile::tempdir().expect("temporary folder");
    tokenizer.save(saved.path()).expect("writable");
    let again = Tokenizer::from_dir(saved.path()).expect("readable");
    let file = std::fs::read(folder(family).join("expected.json")).expect("expected");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    for case in file["cases"].as_array().expect("cases") {
        let text = case["text"].as_str().expect("text");
        let encoding = tokenizer.encode(text, None).expect("encodable");
        let ids: Vec<usize> = encoding.ids.iter().map(|&id| id as usize).collect();
        assert_eq!(ids, numbers(&case["ids"]), "{family}: {text:?}");
        if let Some(expected) = case["spans"].as_array() {
            let spans = TokenSpans::new(expected.iter().map(|ends| trimmed(text, ends)));
            let ours = encoding.spans.iter().skip(special.0).take(spans.len());
            for (token, (ours, theirs)) in ours.zip(spans.iter()).enumerate() {
                // SentencePiece gives no characters to a blank put before the text, and of two pieces made of
                // one character (`f`, `i` of `ﬁ`) to the second alone; ours share the first
                // character of the second.
                let next = (token + 1..spans.len()).find_map(|token| spans.get(token));
                let first = next.map(|next| next.start..next.start + 1);
                let shared = theirs.is_none() && ours == first;
                assert!(ours == theirs || shared, "{family}: {text:?} {token} {ours:?} {theirs:?}");
            }
        }
        assert_eq!(again.encode(text, None).expect("encodable"), encoding, "{family}, saved: {text:?}");
    }
}

#[test]
fn t5_equals_sentence_piece() {
    check("t5", (0, 1));
    let t5 = Tokenizer::from_dir(&folder("t5")).expect("readable");
    let ids = t5.encode_plain("the <extra_id_0> dog").expect("encodable").ids;
    let first = t5.id("<extra_id_0>").expect("three of them");
    assert_eq!((first as usize + 1, t5.id("<extra_id_2>")), (t5.vocab_size(), Some(first - 2)));
    assert!(ids.contains(&first));
}

#[test]
fn albert_equals_sentence_piece_after_albert_has_prepared_the_text() {
    check("albert", (1, 1));
}

#[test]
fn deberta_equals_sentence_piece() {
    check("deberta-v2", (1, 1));
    let deberta = Tokenizer::from_dir(&folder("deberta-v2")).expect("readable");
    let mask = deberta.mask_id().expect("in added_tokens.json");
    assert_eq!(mask as usize + 1, deberta.vocab_size());
    assert!(deberta.encode_plain("the [MASK] dog").expect("encodable").ids.contains(&mask));
}

#[test]
fn xlm_roberta_equals_sentence_piece_one_id_higher() {
    check("xlm-roberta", (1, 1));
    let xlm = Tokenizer::from_dir(&folder("xlm-roberta")).expect("readable");
    assert_eq!(
        (xlm.cls_id(), xlm.pad_id(), xlm.sep_id(), xlm.unk_id()),
        (Some(0), Some(1), Some(2), Some(3))
    );
    assert_eq!(xlm.mask_id().map(|id| id as usize + 1), Some(xlm.vocab_size()));
}

#[test]
fn pairs_of_a_bpe_model_equal_sentence_piece() {
    check("bpe", (0, 1));
}

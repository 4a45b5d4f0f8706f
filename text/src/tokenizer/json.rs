//! Rules written as a `tokenizer.json`, which transformers and the `tokenizers` crate both read.

use super::word_piece::longest_word;
use super::{Rules, Units};
use crate::Vocab;
use serde_json::{Map, Value, json};

/// The `tokenizer.json` of a vocabulary under our rules.
pub(super) fn tokenizer_json(vocab: &Vocab, rules: &Rules, unk: &str, cls: &str, sep: &str) -> Value {
    let ids: Map<String, Value> =
        vocab.tokens().iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let added: Vec<Value> = rules
        .special
        .iter()
        .filter_map(|name| {
            Some(json!({
                "id": vocab.id(name)?, "content": name, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            }))
        })
        .collect();
    let (normalizer, pre_tokenizer, model, decoder) = match rules.units {
        // That words are cut first cannot be said; a folder of such a tokenizer has no such file.
        Units::WordPieces | Units::Words => (
            json!({
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": rules.split_chinese,
                "strip_accents": rules.strip_accents, "lowercase": rules.lower_case,
            }),
            json!({"type": "BertPreTokenizer"}),
            json!({
                "type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": "##",
                "max_input_chars_per_word": longest_word(rules.dialect), "vocab": ids,
            }),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        ),
        Units::Characters => (
            if rules.lower_case { one_to_one_lower_case() } else { Value::Null },
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
            ]}),
            json!({"type": "WordLevel", "unk_token": unk, "vocab": ids}),
            json!({"type": "Fuse"}),
        ),
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(vocab, cls, sep), "decoder": decoder, "model": model,
    })
}

/// İ is the only character whose lower case is two characters; its combining dot is dropped.
fn one_to_one_lower_case() -> Value {
    json!({"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "İ"}, "content": "i"},
        {"type": "Lowercase"},
    ]})
}

/// `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`.
fn post_processor(vocab: &Vocab, cls: &str, sep: &str) -> Value {
    let special = |name: &str, type_id: u32| json!({"SpecialToken": {"id": name, "type_id": type_id}});
    let text = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    let entry = |name: &str| json!({"id": name, "ids": [vocab.id(name)], "tokens": [name]});
    json!({
        "type": "TemplateProcessing",
        "single": [special(cls, 0), text("A", 0), special(sep, 0)],
        "pair": [special(cls, 0), text("A", 0), special(sep, 0), text("B", 1), special(sep, 1)],
        "special_tokens": {cls: entry(cls), sep: entry(sep)},
    })
}

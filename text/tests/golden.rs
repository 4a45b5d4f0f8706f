//! Golden vectors of an independent program (transformers, bert4keras): exact tokens, ids, offsets.

use bert4rs_text::{Rules, Tokenizer, Vocab, span};
use serde_json::Value;

fn case(name: &str) -> Value {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/bert-wordpiece-tokenizer-and-checkpoints.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).expect("vectors")).expect("JSON");
    let cases = file["cases"].as_array().expect("cases");
    cases.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no case {name}")).clone()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().expect("list").iter().map(|v| v.as_str().expect("string").to_string()).collect()
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().expect("list").iter().map(|v| v.as_u64().expect("number")).collect()
}

fn vocab(case: &Value) -> Vocab {
    Vocab::new(strings(&case["inputs"]["vocab"])).expect("tokens are distinct")
}

fn tokens(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token(id).expect("known id").to_string()).collect()
}

fn check_transformers(name: &str) {
    let case = case(name);
    let rules = Rules {
        strip_accents: case["params"]["strip_accents"].as_bool(),
        split_chinese: case["params"]["tokenize_chinese_chars"].as_bool().expect("flag"),
        ..Rules::bert(case["params"]["do_lower_case"].as_bool().expect("flag"))
    };
    let tokenizer = Tokenizer::from_vocab(vocab(&case), rules).expect("valid");
    let results = case["expected"]["results"].as_array().expect("list");
    let texts = strings(&case["inputs"]["texts"]);
    assert_eq!(texts.len(), results.len());
    for (text, expected) in texts.iter().zip(results) {
        let encoding = tokenizer.encode_plain(text).expect("encodable");
        assert_eq!(tokens(&tokenizer, &encoding.ids), strings(&expected["tokens"]), "{name}: {text:?}");
        assert_eq!(
            encoding.ids.iter().map(|&id| u64::from(id)).collect::<Vec<_>>(),
            numbers(&expected["ids"])
        );
        let spans: Vec<Vec<u64>> =
            encoding.spans.iter().map(|s| s.map_or(vec![], |s| vec![s.start as u64, s.end as u64])).collect();
        let offsets: Vec<Vec<u64>> =
            expected["offsets"].as_array().expect("list").iter().map(numbers).collect();
        assert_eq!(spans, offsets, "{name}: {text:?}");
    }
}

#[test]
fn uncased_equals_transformers() {
    check_transformers("hf_uncased");
}

#[test]
fn cased_equals_transformers() {
    check_transformers("hf_cased");
}

#[test]
fn cased_without_accents_equals_transformers() {
    check_transformers("hf_cased_strip_accents");
}

#[test]
fn lower_case_with_accents_equals_transformers() {
    check_transformers("hf_lower_keep_accents");
}

#[test]
fn bert4keras_mode_equals_bert4keras() {
    let case = case("bert4keras_uncased");
    let rules = Rules::bert4keras(case["params"]["do_lower_case"].as_bool().expect("flag"));
    let tokenizer = Tokenizer::from_vocab(vocab(&case), rules).expect("valid");
    let results = case["expected"]["results"].as_array().expect("list");
    let texts = strings(&case["inputs"]["texts"]);
    assert_eq!(texts.len(), results.len());
    for (text, expected) in texts.iter().zip(results) {
        let encoding = tokenizer.encode_plain(text).expect("encodable");
        let ids: Vec<u64> = encoding.ids.iter().map(|&id| id.into()).collect();
        assert_eq!(ids, numbers(&expected["ids"]), "{text:?}");
        let spans: Vec<_> = encoding.spans.iter().flatten().collect();
        // bert4keras lists every character of a token; ours are the first and what follows the last.
        let ends = |token: &Value| {
            let places = numbers(token);
            places[0] as usize..*places.last().expect("no empty token") as usize + 1
        };
        let rematch = expected["rematch"].as_array().expect("list");
        assert_eq!(spans, rematch.iter().map(ends).collect::<Vec<_>>(), "{text:?}");
    }
}

#[cfg(feature = "jieba")]
#[test]
fn words_first_equals_bert4keras_over_jieba() {
    let case = case("jieba_no_hmm");
    let frequencies = case["inputs"]["word_freq"].as_object().expect("words");
    let lines: String = frequencies.iter().map(|(word, frequency)| format!("{word} {frequency}\n")).collect();
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), lines).expect("writable");
    let results = case["expected"]["results"].as_array().expect("list");
    let texts = strings(&case["inputs"]["texts"]);
    assert_eq!(texts.len(), results.len());
    for rules in [Rules::bert(true), Rules::bert4keras(true)] {
        let dictionary = bert4rs_text::Dictionary::read(file.path()).expect("valid");
        let tokenizer = Tokenizer::with_dictionary(vocab(&case), rules, dictionary).expect("valid");
        for (text, expected) in texts.iter().zip(results) {
            let encoding = tokenizer.encode_plain(text).expect("encodable");
            let known = |token: String| if tokenizer.id(&token).is_some() { token } else { "[UNK]".into() };
            let expected: Vec<String> =
                strings(&expected["roformer_tokens"]).into_iter().map(known).collect();
            assert_eq!(tokens(&tokenizer, &encoding.ids), expected, "{text:?}");
            for (token, span) in encoding.spans.iter().enumerate() {
                let piece = span::slice(text, span.expect("no template")).expect("in range");
                let name = tokenizer.token(encoding.ids[token]).expect("known id").trim_start_matches("##");
                assert!(
                    name == "[UNK]" || name == piece.to_lowercase(),
                    "{name} is at {piece:?} of {text:?}"
                );
            }
        }
    }
}

#[test]
fn bytepiece_equals_bytepiece() {
    let case = case("bytepiece_viterbi");
    let pieces = case["inputs"]["piece_counts_hex"].as_object().expect("pieces");
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    };
    let mut ids = std::collections::HashMap::new();
    let mut model = serde_json::Map::new();
    for ((hex, count), id) in pieces.iter().zip(3u32..) {
        ids.insert(hex.clone(), id);
        model.insert(base64::encode(bytes(hex)), serde_json::json!([id, "", count]));
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = serde_json::Value::from(model).to_string();
    std::fs::write(folder.path().join("bytepiece.model"), model).expect("writable");
    let tokenizer = Tokenizer::from_dir(folder.path()).expect("readable");
    let (texts, expected) = (strings(&case["inputs"]["texts"]), &case["expected"]["pieces_hex"]);
    for (text, pieces) in texts.iter().zip(expected.as_array().expect("list")) {
        let expected: Vec<u32> = strings(pieces).iter().map(|hex| ids[hex]).collect();
        assert_eq!(tokenizer.encode(text, None).expect("encodable").ids, expected, "{text:?}");
    }
    assert_eq!(texts.len(), expected.as_array().expect("list").len());
    let again = tempfile::tempdir().expect("temporary folder");
    tokenizer.save(again.path()).expect("writable");
    let again = Tokenizer::from_dir(again.path()).expect("readable");
    assert_eq!(
        again.encode(&texts[1], None).expect("encodable"),
        tokenizer.encode(&texts[1], None).expect("encodable")
    );
}

#[test]
fn pairs_are_cut_from_the_longer_text() {
    let case = case("bert4keras_pair_truncation");
    let tokenizer = Tokenizer::from_vocab(vocab(&case), Rules::bert(true)).expect("valid");
    let pairs = case["inputs"]["pairs"].as_array().expect("list");
    let results = case["expected"]["results"].as_array().expect("list");
    assert_eq!(pairs.len(), results.len());
    for (pair, expected) in pairs.iter().zip(results) {
        let (first, second) = (pair["first"].as_str().expect("text"), pair["second"].as_str().expect("text"));
        let limit = pair["maxlen"].as_u64().expect("number") as usize;
        let encoding = tokenizer.encode_pair(first, second, Some(limit)).expect("encodable");
        assert_eq!(tokens(&tokenizer, &encoding.ids), strings(&expected["tokens"]));
        assert_eq!(
            encoding.type_ids.iter().map(|&t| u64::from(t)).collect::<Vec<_>>(),
            numbers(&expected["segment_ids"])
        );
    }
}

#[test]
fn simplified_vocabulary_equals_bert4keras() {
    let case = case("simplified_vocab");
    let first = strings(&case["inputs"]["startswith"]);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let (small, kept) = vocab(&case).simplify(&first).expect("valid");
    assert_eq!(small.tokens(), strings(&case["expected"]["new_vocab"]));
    assert_eq!(
        kept.into_iter().map(u64::from).collect::<Vec<_>>(),
        numbers(&case["expected"]["keep_tokens"])
    );
}

//! Golden vectors of an independent program (transformers, bert4keras): exact tokens, ids, offsets.

use bert4rs_text::{Rules, Tokenizer, Vocab};
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

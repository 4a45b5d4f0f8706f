//! Folders written, read and broken.

use super::*;
use crate::{Encoding, Rules, Vocab};

const TEXTS: [&str; 4] = ["北京 Bert模型", "中İ\u{3000}文\n[MASK] Café ＡＢ", "", "a\u{200b}b 👨\u{200d}👩"];

fn vocab() -> Vocab {
    let tokens = "[PAD] [UNK] [CLS] [SEP] [MASK] 北 京 中 文 b ##e bert i a ##b cafe é";
    Vocab::new(tokens.split(' ').map(String::from)).expect("tokens are distinct")
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary folder");
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).expect("writable");
    }
    dir
}

fn encodings(tokenizer: &Tokenizer) -> Vec<Encoding> {
    let pair = tokenizer.encode_pair(TEXTS[0], TEXTS[1], Some(9)).expect("encodable");
    TEXTS.iter().map(|t| tokenizer.encode(t, None).expect("encodable")).chain([pair]).collect()
}

fn open_error(files: &[(&str, &str)]) -> String {
    match Tokenizer::from_dir(folder(files).path()) {
        Ok(_) => panic!("this folder is broken"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn a_saved_tokenizer_opens_and_encodes_the_same() {
    for rules in [
        Rules::characters(),
        Rules { lower_case: false, ..Rules::characters() },
        Rules::bert(true),
        Rules::bert(false),
        Rules::bert4keras(true),
        Rules::bert4keras(false),
    ] {
        let tokenizer = Tokenizer::from_vocab(vocab(), rules).expect("valid");
        let (first, second) = (folder(&[]), folder(&[]));
        tokenizer.save(first.path()).expect("writable");
        let opened = Tokenizer::from_dir(first.path()).expect("readable");
        assert_eq!(encodings(&opened), encodings(&tokenizer));
        opened.save(second.path()).expect("writable");
        let again = Tokenizer::from_dir(second.path()).expect("readable");
        assert_eq!(encodings(&again), encodings(&tokenizer));
        assert_eq!(again.special_tokens(), tokenizer.special_tokens());
        assert_eq!(again.vocab(), tokenizer.vocab());
    }
}

#[test]
fn the_character_table_equals_its_tokenizer_json() {
    for lower_case in [true, false] {
        let rules = Rules { lower_case, ..Rules::characters() };
        let tokenizer = Tokenizer::from_vocab(vocab(), rules).expect("valid");
        let dir = folder(&[]);
        tokenizer.save(dir.path()).expect("writable");
        std::fs::remove_file(dir.path().join(CONFIG)).expect("written before");
        let others = Tokenizer::from_dir(dir.path()).expect("readable");
        assert!(others.rules().is_none(), "read through tokenizer.json");
        assert_eq!(encodings(&others), encodings(&tokenizer));
    }
}

#[test]
fn vocab_txt_and_tokenizer_json_give_the_same() {
    let dir = folder(&[]);
    Tokenizer::from_vocab(vocab(), Rules::bert(true)).expect("valid").save(dir.path()).expect("writable");
    let json = Tokenizer::from_dir(dir.path()).expect("readable");
    std::fs::remove_file(dir.path().join(TOKENIZER)).expect("written before");
    let plain = Tokenizer::from_dir(dir.path()).expect("readable");
    assert_eq!(encodings(&json), encodings(&plain));
    assert_eq!((json.cls_id(), json.unk_id(), json.mask_id()), (Some(2), Some(1), Some(4)));
}

#[test]
fn berts_rules_run_in_our_own_code_and_others_in_the_crate() {
    let dir = folder(&[]);
    let made = Tokenizer::from_vocab(vocab(), Rules::bert(true)).expect("valid");
    made.save(dir.path()).expect("writable");
    let read = Tokenizer::from_dir(dir.path()).expect("readable");
    assert!([&made, &read].iter().all(|t| matches!(t.engine, Engine::WordPiece(..))));
    let path = dir.path().join(TOKENIZER);
    let json = std::fs::read_to_string(&path).expect("written");
    let other = json.replace("\"normalized\": false", "\"normalized\": true");
    assert_ne!(json, other);
    std::fs::write(&path, other).expect("writable");
    let read = Tokenizer::from_dir(dir.path()).expect("readable");
    assert!(matches!(read.engine, Engine::Pipeline(_)));
}

#[test]
fn the_config_is_read_as_transformers_writes_it() {
    let vocab = "<p>\n<u>\n<s>\n</s>\nA\n北\n";
    let config = r#"{"do_lower_case": false, "model_max_length": 16, "cls_token": {"content": "<s>"},
        "sep_token": "</s>", "unk_token": "<u>", "pad_token": "<p>", "mask_token": null}"#;
    let tokenizer =
        Tokenizer::from_dir(folder(&[(VOCAB, vocab), (CONFIG, config)]).path()).expect("readable");
    assert_eq!(tokenizer.encode("A a北", None).expect("encodable").ids, [2, 4, 1, 5, 3]);
    assert_eq!((tokenizer.max_length(), tokenizer.mask_id()), (Some(16), None));
    let overruled = folder(&[]);
    Tokenizer::from_vocab(self::vocab(), Rules::bert(true))
        .expect("valid")
        .save(overruled.path())
        .expect("writable");
    std::fs::write(overruled.path().join(CONFIG), r#"{"do_lower_case": false, "model_max_length": 1e30}"#)
        .expect("writable");
    let tokenizer = Tokenizer::from_dir(overruled.path()).expect("readable");
    assert_eq!(tokenizer.encode_plain("BERT bert").expect("encodable").ids, [1, 11]);
    assert_eq!(tokenizer.max_length(), None);
}

#[test]
fn broken_folders_are_named() {
    assert!(open_error(&[]).contains("no tokenizer here; looked for tokenizer.json, vocab.txt"));
    assert!(open_error(&[(VOCAB, "a\n[CLS]\n[SEP]\n")]).contains("there is no [UNK] among the 3 tokens"));
    assert!(open_error(&[(TOKENIZER, "{")]).contains("not valid JSON"));
    assert!(open_error(&[(TOKENIZER, "{}")]).contains("not a tokenizer"));
    let specials = "[UNK]\n[CLS]\n[SEP]\n";
    assert!(
        open_error(&[(VOCAB, specials), (CONFIG, r#"{"do_lower_case": 1}"#)])
            .contains("expected true or false")
    );
    let units = r#"{"bert4rs_units": "word"}"#;
    assert!(
        open_error(&[(VOCAB, specials), (CONFIG, units)]).contains("expected \"characters\" or \"words\"")
    );
    let units = r#"{"bert4rs_units": "words"}"#;
    assert!(open_error(&[(CONFIG, units)]).contains("there is none"));
    assert!(open_error(&[(VOCAB_JSON, "[]"), (MERGES, "")]).contains("expected a JSON object"));
    assert!(open_error(&[(VOCAB_JSON, "{}"), (MERGES, "ab\n")]).contains("merges.txt:1: \"ab\" is no merge"));
    let class = (CONFIG, r#"{"tokenizer_class": "XLNetTokenizer"}"#);
    assert!(open_error(&[(VOCAB_JSON, "{}"), (MERGES, ""), class]).contains("of a xlnet are not known"));
    assert!(open_error(&[("spiece.model", "\u{7f}")]).contains("not a SentencePiece model"));
    assert!(open_error(&[(BYTE_PIECE, "{}")]).contains("byte 0x00 is no piece"));
}

#[cfg(feature = "jieba")]
mod words {
    use super::*;

    const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n今\n天\n气\n今天\n天气\na\n##b\n";

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode_plain(text).expect("encodable").ids
    }

    fn open(files: &[(&str, &str)]) -> Tokenizer {
        Tokenizer::from_dir(folder(files).path()).expect("readable")
    }

    #[test]
    fn the_class_or_the_vocabulary_says_that_words_come_first() {
        let class = |name: &str| format!(r#"{{"tokenizer_class": "{name}"}}"#);
        for config in [
            "{}".into(),
            class("RoFormerTokenizer"),
            class("RoFormerTokenizerFast"),
            class("WoBertTokenizer"),
        ] {
            let tokenizer = open(&[(VOCAB, WORDS), (CONFIG, &config)]);
            assert_eq!(tokenizer.rules().map(|rules| rules.units), Some(Units::Words), "{config}");
            assert_eq!(ids(&tokenizer, "天气 今天AB"), [9, 8, 10, 11]);
        }
        assert_eq!(ids(&open(&[(VOCAB, WORDS), (CONFIG, &class("BertTokenizer"))]), "今天"), [5, 6]);
        let few = format!("{WORDS}{}", (0..20).map(|i| format!("x{i}\n")).collect::<String>());
        assert_eq!(ids(&open(&[(VOCAB, &few)]), "今天"), [5, 6], "a few words that BERT never meets");
        let characters = "[UNK]\n[CLS]\n[SEP]\n今\n天\n";
        assert_eq!(ids(&open(&[(VOCAB, characters), (CONFIG, &class("RoFormerTokenizer"))]), "今天"), [3, 4]);
    }

    #[test]
    fn a_tokenizer_json_of_roformer_hides_its_words() {
        let tokens = WORDS.lines().map(String::from);
        let made =
            Tokenizer::from_vocab(Vocab::new(tokens).expect("distinct"), Rules::bert(true)).expect("valid");
        let dir = folder(&[]);
        made.save(dir.path()).expect("writable");
        std::fs::write(dir.path().join(CONFIG), r#"{"tokenizer_class": "RoFormerTokenizer"}"#)
            .expect("writable");
        assert_eq!(ids(&Tokenizer::from_dir(dir.path()).expect("readable"), "天气 今天"), [9, 8]);
        std::fs::remove_file(dir.path().join(VOCAB)).expect("written before");
        assert_eq!(ids(&Tokenizer::from_dir(dir.path()).expect("readable"), "天气 今天"), [9, 8]);
    }

    #[test]
    fn a_tokenizer_of_words_is_written_with_its_dictionary() {
        let (first, second) =
            (folder(&[(VOCAB, WORDS), (DICTIONARY, "天天 9\n今天 1\n今 1\n")]), folder(&[]));
        let tokenizer = Tokenizer::from_dir(first.path()).expect("readable");
        assert_eq!(ids(&tokenizer, "今天天气"), [5, 6, 6, 7], "天天 is likelier, and no token");
        tokenizer.save(second.path()).expect("writable");
        assert!(!second.path().join(TOKENIZER).exists(), "it could not say this");
        let again = Tokenizer::from_dir(second.path()).expect("readable");
        assert_eq!(encodings(&again), encodings(&tokenizer));
        assert_eq!(again.rules(), tokenizer.rules());
    }
}

#[test]
fn byte_level_pairs_open_as_their_class_or_their_vocabulary_says() {
    let vocab = r#"{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "ab": 6, "Ġ": 7, "Ġab": 8}"#;
    let merges = "#version: 0.2\na b\nĠ ab\n";
    let files = [(VOCAB_JSON, vocab), (MERGES, merges)];
    let roberta = Tokenizer::from_dir(folder(&files).path()).expect("readable");
    assert_eq!(roberta.encode("ab ab", None).expect("encodable").ids, [0, 6, 8, 2]);
    assert_eq!(roberta.encode_pair("a", "b", None).expect("encodable").ids, [0, 4, 2, 2, 5, 2]);
    assert_eq!(
        roberta.encode_plain("a <mask>b").expect("encodable").ids,
        [4, 9, 5],
        "a name behind the rest"
    );
    assert_eq!((roberta.mask_id(), roberta.unk_id(), roberta.vocab_size()), (Some(9), Some(3), 10));
    let config = r#"{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true, "unk_token": "<unk>"}"#;
    let gpt = Tokenizer::from_dir(folder(&[files[0], files[1], (CONFIG, config)]).path()).expect("readable");
    assert_eq!(gpt.encode("ab ab", None).expect("encodable").ids, [8, 8]);
    let deberta = vocab
        .replace("<s>", "[CLS]")
        .replace("</s>", "[SEP]")
        .replace("<unk>", "[UNK]")
        .replace("<pad>", "[PAD]");
    let model = ("config.json", r#"{"model_type": "deberta"}"#);
    let deberta =
        Tokenizer::from_dir(folder(&[(VOCAB_JSON, &deberta), files[1], model]).path()).expect("readable");
    assert_eq!(deberta.encode_pair("a", "b", None).expect("encodable").type_ids, [0, 0, 0, 1, 1]);
    let saved = folder(&[]);
    roberta.save(saved.path()).expect("writable");
    let again = Tokenizer::from_dir(saved.path()).expect("readable");
    assert_eq!(
        again.encode("ab <mask> ab", None).expect("encodable"),
        roberta.encode("ab <mask> ab", None).expect("encodable")
    );
}

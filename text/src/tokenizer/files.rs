//! Tokenizer files of a model folder, as transformers writes and reads them.
//!
//! Read:   `tokenizer.json` first, else `vocab.txt` with BERT's rules; names and options from
//!         `tokenizer_config.json` and `special_tokens_map.json`
//! Write:  `tokenizer.json`, `vocab.txt` (not for tokenizers read from a `tokenizer.json`), and both
//!         of the above

use super::{Engine, Rules, Tokenizer, Units, pipeline::Pipeline, template::Template};
use crate::{Error, Result, SpecialTokens, Vocab, chars};
use serde_json::{Map, Value, json};
use std::path::Path;

const TOKENIZER: &str = "tokenizer.json";
const VOCAB: &str = "vocab.txt";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";

/// Our own key in `tokenizer_config.json`: the rules are `Units::Characters` over `vocab.txt`.
const UNITS: &str = "bert4rs_units";

/// transformers writes 1e30 for "no limit".
const NO_LIMIT: f64 = 1e9;

impl Tokenizer {
    /// Reads the tokenizer of a model folder.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let config = read_json(&dir.join(CONFIG))?.unwrap_or_else(|| json!({}));
        let names = read_json(&dir.join(SPECIAL))?.unwrap_or_else(|| json!({}));
        let characters = match config.get(UNITS).map(|units| units.as_str()) {
            None => false,
            Some(Some("characters")) => true,
            Some(_) => {
                return Err(Error::file(
                    &dir.join(CONFIG),
                    format!("{UNITS} is {}; expected \"characters\"", config[UNITS]),
                ));
            }
        };
        let path = dir.join(TOKENIZER);
        let mut tokenizer = match read_json(&path)? {
            Some(json) if !characters => from_json(json, &config, &names, &path)?,
            Some(_) | None => from_vocab_file(dir, &config, &names, characters)?,
        };
        tokenizer.max_length = config
            .get("model_max_length")
            .and_then(Value::as_f64)
            .filter(|length| (1.0..NO_LIMIT).contains(length))
            .map(|length| length as usize);
        tokenizer.config = config;
        Ok(tokenizer)
    }

    /// Writes the tokenizer into a model folder, so that transformers opens it.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let mut config = self.config.as_object().cloned().unwrap_or_default();
        let mut names = Map::new();
        for (key, name) in SpecialTokens::KEYS.into_iter().zip(self.special.names()) {
            if let Some(name) = name {
                names.insert(key.into(), name.into());
                config.entry(key).or_insert_with(|| name.into());
            }
        }
        if let Some(rules) = &self.rules {
            self.vocab.write(&dir.join(VOCAB))?;
            config.insert("do_lower_case".into(), rules.lower_case.into());
            match rules.units {
                Units::WordPieces => {
                    config.insert("strip_accents".into(), json!(rules.strip_accents));
                    config.insert("tokenize_chinese_chars".into(), rules.split_chinese.into());
                    config.entry("tokenizer_class").or_insert_with(|| "BertTokenizer".into());
                }
                Units::Characters => {
                    config.insert(UNITS.into(), "characters".into());
                    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
                }
            }
        }
        if let Some(length) = self.max_length {
            config.insert("model_max_length".into(), length.into());
        }
        let tokenizer = match &self.engine {
            Engine::Characters(_, json) | Engine::WordPiece(_, json) => json,
            Engine::Pipeline(pipeline) => &pipeline.json,
        };
        write_json(&dir.join(TOKENIZER), tokenizer)?;
        write_json(&dir.join(CONFIG), &Value::Object(config))?;
        write_json(&dir.join(SPECIAL), &Value::Object(names))
    }
}

fn from_json(mut json: Value, config: &Value, names: &Value, path: &Path) -> Result<Tokenizer> {
    if json["normalizer"]["type"] == "BertNormalizer" {
        // transformers lets tokenizer_config.json overrule these three.
        for (key, ours) in [
            ("do_lower_case", "lowercase"),
            ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        ] {
            if let Some(value @ Value::Bool(_)) = config.get(key) {
                json["normalizer"][ours] = value.clone();
            }
        }
    }
    let broken =
        |message: String| Error::file(path, format!("not a tokenizer of the tokenizers library: {message}"));
    let described = |pipeline: &Pipeline| -> Result<(SpecialTokens, Template)> {
        let mut special = well_known(pipeline);
        special.update(names);
        special.update(config);
        Ok((special, pipeline.template().map_err(broken)?))
    };
    if let Some((pipeline, engine, vocab)) = Pipeline::quick_word_piece(&json) {
        let (special, template) = described(&pipeline)?;
        return Ok(Tokenizer::assemble(
            Engine::WordPiece(Box::new(engine), json),
            None,
            special,
            vocab,
            template,
        ));
    }
    let pipeline = Pipeline::new(json).map_err(broken)?;
    let (special, template) = described(&pipeline)?;
    let vocab = pipeline.vocab()?;
    let engine = match pipeline.word_piece() {
        Some(engine) => Engine::WordPiece(Box::new(engine), pipeline.json),
        None => Engine::Pipeline(Box::new(pipeline)),
    };
    Ok(Tokenizer::assemble(engine, None, special, vocab, template))
}

/// Special tokens by their usual names, among those that the file marks as special.
fn well_known(pipeline: &Pipeline) -> SpecialTokens {
    let marked: Vec<String> = pipeline.special().collect();
    let mut special = SpecialTokens::none();
    let usual = ["[PAD] <pad>", "[UNK] <unk>", "[CLS] <s>", "[SEP] </s>", "[MASK] <mask>"];
    for (key, names) in SpecialTokens::KEYS.into_iter().zip(usual) {
        if let Some(name) = names.split(' ').find(|name| marked.iter().any(|m| m == name)) {
            special.update(&json!({ key: name }));
        }
    }
    special
}

fn from_vocab_file(dir: &Path, config: &Value, names: &Value, characters: bool) -> Result<Tokenizer> {
    let path = dir.join(VOCAB);
    if !path.exists() {
        return Err(Error::file(
            dir,
            format!(
                "no {TOKENIZER} and no {VOCAB} here; expected one of them (a SentencePiece model is turned into {TOKENIZER} by saving it once with transformers)"
            ),
        ));
    }
    let vocab = Vocab::read(&path)?;
    let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
    let word = |t: &&String| t.chars().nth(1).is_some() && t.chars().all(chars::is_cjk);
    if class.starts_with("RoFormer")
        && let Some(word) = vocab.tokens().iter().find(word)
    {
        return Err(Error::file(
            &path,
            format!(
                "{class} with words such as {word:?} needs jieba segmentation, which is not supported yet; use a character-level vocabulary (RoFormer char, v2, GAU-alpha)"
            ),
        ));
    }
    let flag = |key: &str| match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(other) => {
            Err(Error::file(&dir.join(CONFIG), format!("{key} is {other}; expected true or false")))
        }
    };
    let mut rules = if characters { Rules::characters() } else { Rules::bert(true) };
    rules.lower_case = flag("do_lower_case")?.unwrap_or(true);
    rules.strip_accents = flag("strip_accents")?;
    rules.split_chinese = flag("tokenize_chinese_chars")?.unwrap_or(true);
    rules.special.update(names);
    rules.special.update(config);
    Tokenizer::from_vocab(vocab, rules).map_err(|e| match e {
        Error::Vocab(message) | Error::Option(message) => Error::file(&path, message),
        other => other,
    })
}

/// `None` when there is no such file.
fn read_json(path: &Path) -> Result<Option<Value>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::file(path, format!("not valid JSON: {e}")))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    std::fs::write(path, format!("{value:#}\n")).map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding;

    const TEXTS: [&str; 4] =
        ["北京 Bert模型", "中İ\u{3000}文\n[MASK] Café ＡＢ", "", "a\u{200b}b 👨\u{200d}👩"];

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
        std::fs::write(
            overruled.path().join(CONFIG),
            r#"{"do_lower_case": false, "model_max_length": 1e30}"#,
        )
        .expect("writable");
        let tokenizer = Tokenizer::from_dir(overruled.path()).expect("readable");
        assert_eq!(tokenizer.encode_plain("BERT bert").expect("encodable").ids, [1, 11]);
        assert_eq!(tokenizer.max_length(), None);
    }

    #[test]
    fn broken_folders_are_named() {
        assert!(open_error(&[]).contains("no tokenizer.json and no vocab.txt here"));
        assert!(open_error(&[(VOCAB, "a\n[CLS]\n[SEP]\n")]).contains("there is no [UNK] among the 3 tokens"));
        assert!(open_error(&[(TOKENIZER, "{")]).contains("not valid JSON"));
        assert!(open_error(&[(TOKENIZER, "{}")]).contains("not a tokenizer"));
        let specials = "[UNK]\n[CLS]\n[SEP]\n";
        assert!(
            open_error(&[(VOCAB, specials), (CONFIG, r#"{"do_lower_case": 1}"#)])
                .contains("expected true or false")
        );
        let words = format!("{specials}北京\n");
        let class = (CONFIG, r#"{"tokenizer_class": "RoFormerTokenizer"}"#);
        assert!(open_error(&[(VOCAB, &words), class]).contains("needs jieba"));
    }
}

//! Tokenizer files of a model folder: which of them make the tokenizer, and writing them again.
//!
//! Read:   the first of `tokenizer.json`; `vocab.txt`; `vocab.json` with `merges.txt`; a SentencePiece
//!         model; `bytepiece.model`. Names and options from `tokenizer_config.json` and
//!         `special_tokens_map.json`
//! Write:  `tokenizer.json`, `vocab.txt` (not for tokenizers read from a `tokenizer.json`), and both of the
//!         above, as transformers reads them. What no `tokenizer.json` can say has none: words of a
//!         dictionary (`vocab.txt`, `dict.txt` for one of their own) and BytePiece (`bytepiece.model`)

mod added;
mod byte_level;
mod model_proto;
mod sentence_piece;
mod tokenizer_json;
mod vocab_txt;

use super::byte_piece::BytePiece;
use super::{Dialect, Engine, Tokenizer, Units, template::Template};
use crate::{Error, Result, SpecialTokens};
use serde_json::{Map, Value, json};
use std::path::Path;

const TOKENIZER: &str = "tokenizer.json";
const VOCAB: &str = "vocab.txt";
const VOCAB_JSON: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const SENTENCE_PIECE: [&str; 4] =
    ["spiece.model", "spm.model", "sentencepiece.bpe.model", "sentencepiece.model"];
const BYTE_PIECE: &str = "bytepiece.model";
const DICTIONARY: &str = "dict.txt";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";

/// Our own keys in `tokenizer_config.json`: the rules over `vocab.txt`, where they are not BERT's, and
/// whose they are.
const UNITS: &str = "bert4rs_units";
const DIALECT: &str = "bert4rs_dialect";

/// transformers writes 1e30 for "no limit".
const NO_LIMIT: f64 = 1e9;

/// A model folder with what its small files say.
struct Folder<'a> {
    dir: &'a Path,
    /// `tokenizer_config.json`
    config: Value,
    /// `special_tokens_map.json`
    names: Value,
}

impl<'a> Folder<'a> {
    fn open(dir: &'a Path) -> Result<Self> {
        let mut folder = Self { dir, config: json!({}), names: json!({}) };
        folder.names = folder.read(SPECIAL)?.unwrap_or_else(|| json!({}));
        folder.config = folder.read(CONFIG)?.unwrap_or_else(|| json!({}));
        Ok(folder)
    }

    fn has(&self, file: &str) -> bool {
        self.dir.join(file).exists()
    }

    /// `None` when there is no such file.
    fn read(&self, file: &str) -> Result<Option<Value>> {
        read_json(&self.dir.join(file))
    }

    /// An option of `tokenizer_config.json` that is true or false.
    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, other, "true or false")),
        }
    }

    /// An option of ours: one of some words.
    fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(said) = self.config.get(key) else { return Ok(None) };
        match choices.iter().find(|(word, _)| said == word) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
                Err(self.wrong(key, said, &words.join(" or ")))
            }
        }
    }

    fn wrong(&self, key: &str, said: &Value, expected: &str) -> Error {
        Error::file(&self.dir.join(CONFIG), format!("{key} is {said}; expected {expected}"))
    }

    /// The name of a special token in the files.
    fn name(&self, key: &str) -> Option<String> {
        [&self.config, &self.names].into_iter().find_map(|file| named(file.get(key)?)).map(String::from)
    }

    /// `tokenizer_class`.
    fn class(&self) -> &str {
        self.config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whose tokenizer it is: `tokenizer_class` without its ending, else `model_type` of `config.json`; in
    /// small letters, without `-` and `_`.
    fn family(&self) -> Result<String> {
        let class = self.class().trim_end_matches("Fast").trim_end_matches("Tokenizer").to_string();
        let name = match class.as_str() {
            "" | "PreTrained" => {
                let model = self.read("config.json")?;
                let kind = model.as_ref().and_then(|model| model.get("model_type")?.as_str());
                kind.unwrap_or_default().to_string()
            }
            _ => class,
        };
        Ok(name.to_lowercase().replace(['-', '_'], ""))
    }
}

/// The name of a token: a string, or an object with `content`.
fn named(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content").and_then(Value::as_str))
}

impl Tokenizer {
    /// Reads the tokenizer of a model folder; its files decide which kind it is.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let folder = Folder::open(dir)?;
        let units = folder.choice(UNITS, &[("characters", Units::Characters), ("words", Units::Words)])?;
        let dialect = folder.choice(DIALECT, &[("bert4keras", Dialect::Bert4keras)])?;
        let own = units.is_some() || dialect.is_some();
        let json = match folder.read(TOKENIZER)? {
            // Saved by transformers, it hides that words are cut first.
            Some(json) if !own && folder.class().starts_with("RoFormer") => {
                match tokenizer_json::words(&json, &folder)? {
                    Some(tokenizer) => return Ok(tokenizer.described(folder)),
                    None => Some(json),
                }
            }
            Some(json) if !own => Some(json),
            Some(_) | None => None,
        };
        let spiece = || SENTENCE_PIECE.into_iter().find(|file| folder.has(file));
        let tokenizer = if let Some(json) = json {
            tokenizer_json::read(json, &folder, &dir.join(TOKENIZER))?
        } else if folder.has(VOCAB) {
            vocab_txt::read(&folder, units, dialect.unwrap_or_default())?
        } else if own {
            return Err(Error::file(
                &dir.join(CONFIG),
                format!("{UNITS} and {DIALECT} are about a {VOCAB}, and there is none"),
            ));
        } else if folder.has(VOCAB_JSON) && folder.has(MERGES) {
            tokenizer_json::read(byte_level::tokenizer_json(&folder)?, &folder, &dir.join(VOCAB_JSON))?
        } else if let Some(file) = spiece() {
            tokenizer_json::read(sentence_piece::tokenizer_json(&folder, file)?, &folder, &dir.join(file))?
        } else if let Some(model) = folder.read(BYTE_PIECE)? {
            byte_piece(model, &dir.join(BYTE_PIECE))?
        } else {
            return Err(Error::file(
                dir,
                format!(
                    "no tokenizer here; looked for {TOKENIZER}, {VOCAB} (word pieces), {VOCAB_JSON} with {MERGES} (byte-level), {} (SentencePiece) and {BYTE_PIECE}",
                    SENTENCE_PIECE.join(", ")
                ),
            ));
        };
        Ok(tokenizer.described(folder))
    }

    /// With what the config says beside the rules.
    fn described(mut self, folder: Folder) -> Self {
        self.max_length = folder
            .config
            .get("model_max_length")
            .and_then(Value::as_f64)
            .filter(|length| (1.0..NO_LIMIT).contains(length))
            .map(|length| length as usize);
        self.config = folder.config;
        self
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
        let mut sayable = true;
        if let Some(rules) = &self.rules {
            self.vocab.write(&dir.join(VOCAB))?;
            config.insert("do_lower_case".into(), rules.lower_case.into());
            match rules.dialect {
                Dialect::Transformers => config.remove(DIALECT),
                Dialect::Bert4keras => config.insert(DIALECT.into(), "bert4keras".into()),
            };
            match rules.units {
                Units::WordPieces | Units::Words => {
                    config.insert("strip_accents".into(), json!(rules.strip_accents));
                    config.insert("tokenize_chinese_chars".into(), rules.split_chinese.into());
                }
                Units::Characters => {
                    config.insert(UNITS.into(), "characters".into());
                    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
                }
            }
            match rules.units {
                Units::WordPieces => {
                    config.entry("tokenizer_class").or_insert_with(|| "BertTokenizer".into());
                }
                Units::Words => {
                    config.insert(UNITS.into(), "words".into());
                    config.entry("tokenizer_class").or_insert_with(|| "RoFormerTokenizer".into());
                    sayable = false;
                }
                Units::Characters => {}
            }
        }
        if let Some(length) = self.max_length {
            config.insert("model_max_length".into(), length.into());
        }
        match &self.engine {
            Engine::Characters(_, json) => write_json(&dir.join(TOKENIZER), json)?,
            Engine::WordPiece(engine, json) => {
                if sayable {
                    write_json(&dir.join(TOKENIZER), json)?;
                }
                if let Some(source) = engine.dictionary().and_then(super::Dictionary::source) {
                    let path = dir.join(DICTIONARY);
                    std::fs::write(&path, source).map_err(|e| Error::io(&path, e))?;
                }
            }
            Engine::Pipeline(pipeline) => write_json(&dir.join(TOKENIZER), &pipeline.json)?,
            Engine::BytePiece(_, model) => write_json(&dir.join(BYTE_PIECE), model)?,
        }
        write_json(&dir.join(CONFIG), &Value::Object(config))?;
        write_json(&dir.join(SPECIAL), &Value::Object(names))
    }
}

fn byte_piece(model: Value, path: &Path) -> Result<Tokenizer> {
    let (engine, vocab) =
        BytePiece::new(&model).map_err(|e| Error::file(path, format!("not a model of BytePiece: {e}")))?;
    let engine = Engine::BytePiece(Box::new(engine), model);
    Ok(Tokenizer::assemble(engine, None, BytePiece::special(), vocab, Template::bare_text()))
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
mod tests;

//! Texts in an index: which model made its vectors, what is kept of a text, which texts a filter takes.

use std::path::Path;

use bert4rs_search::bits::Bits;
use bert4rs_search::store::{Index, Settings};
use serde_json::Value;

use crate::calibration::fingerprint;
use crate::{Error, Result};

/// Tells models apart by what decides their vectors: weights, modules, pooling, tokenizer.
pub fn model_fingerprint(dir: &Path) -> Result<String> {
    fingerprint::of_vectors(dir)
}

/// An error unless a model made the vectors of an index.
pub fn check_model(settings: &Settings, index: &Path, model: &Path) -> Result<()> {
    let found = model_fingerprint(model)?;
    if found == settings.model {
        return Ok(());
    }
    Err(Error::Input(format!(
        "{}: its vectors are of another model (fingerprint {}) than {} ({found}); vectors of two models cannot be \
         compared: name the model that made it with --model, or make the index again",
        index.display(),
        settings.model,
        model.display()
    )))
}

/// The payload of a text that is no record.
pub fn document(text: &str) -> String {
    serde_json::json!({ "text": text }).to_string()
}

/// A field of a payload and the value that it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    key: String,
    value: String,
}

impl Condition {
    /// Reads `key=value`.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.into(), value: value.into() }),
            _ => Err(Error::Input(format!("filter {text:?}: expected KEY=VALUE, as in lang=zh"))),
        }
    }

    /// Whether a payload has it; a list has it when one of its elements does.
    fn holds(&self, payload: &Value) -> bool {
        let equal = |value: &Value| match value {
            Value::String(text) => *text == self.value,
            Value::Number(_) | Value::Bool(_) | Value::Null => {
                let text = value.to_string();
                text == self.value
            }
            Value::Array(_) | Value::Object(_) => false,
        };
        match payload.get(&self.key) {
            Some(Value::Array(items)) => items.iter().any(equal),
            Some(value) => equal(value),
            None => false,
        }
    }
}

/// The rows whose payload has all conditions; none when there are no conditions.
pub fn filter(index: &Index, conditions: &[Condition]) -> Option<Bits> {
    if conditions.is_empty() {
        return None;
    }
    Some(index.select(|payload| {
        // A value that does not stand there needs no parsing, unless escapes may hide it.
        let hidden = payload.contains(&b'\\');
        let there = |condition: &Condition| {
            let value = condition.value.as_bytes();
            hidden || value.is_empty() || payload.windows(value.len()).any(|part| part == value)
        };
        if !conditions.iter().all(there) {
            return false;
        }
        let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
        conditions.iter().all(|condition| condition.holds(&payload))
    }))
}

#[cfg(test)]
mod tests {
    use bert4rs_search::store::{Item, Writer};

    use super::*;

    #[test]
    fn filters_take_what_has_every_value() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { width: 1, ..Settings::default() };
        let mut writer = Writer::create(dir.path(), settings).unwrap();
        let payloads = [
            r#"{"lang":"zh","year":2020,"tags":["a","b"]}"#,
            r#"{"lang":"\u007ah","year":2021,"tags":[]}"#,
            r#"{"lang":"en","note":"zh","year":2020}"#,
            "not json zh",
        ];
        for (i, payload) in payloads.iter().enumerate() {
            let item = Item { id: &i.to_string(), payload: payload.as_bytes() };
            writer.add(&[item], &[1.0]).unwrap();
        }
        let rows = |conditions: &[&str]| -> Vec<u32> {
            let conditions: Vec<Condition> =
                conditions.iter().map(|c| Condition::parse(c).unwrap()).collect();
            let found = filter(writer.index(), &conditions).unwrap();
            (0..4).filter(|row| found.contains(*row)).collect()
        };
        assert_eq!(rows(&["lang=zh"]), [0, 1]);
        assert_eq!(rows(&["year=2020"]), [0, 2]);
        assert_eq!(rows(&["tags=b"]), [0]);
        assert_eq!(rows(&["lang=zh", "year=2021"]), [1]);
        assert!(rows(&["none=1"]).is_empty());
        assert_eq!(filter(writer.index(), &[]), None);
        assert!(Condition::parse("lang").is_err() && Condition::parse("=x").is_err());
    }

    #[test]
    fn another_model_is_refused() {
        let of =
            |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/checkpoints").join(name);
        let model = model_fingerprint(&of("sentence-bert-tiny")).unwrap();
        let settings = Settings { width: 1, model, ..Settings::default() };
        check_model(&settings, Path::new("i"), &of("sentence-bert-tiny")).unwrap();
        let error = check_model(&settings, Path::new("i"), &of("bert-tiny")).unwrap_err().to_string();
        assert!(error.contains("another model"), "{error}");
    }
}

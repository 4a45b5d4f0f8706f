//! Added tokens: the names that files beside a vocabulary give to special tokens, and their ids.

use super::{Folder, named};
use crate::{Error, Result};
use serde_json::{Map, Value, json};

/// Keys of special tokens that are not among those we give a meaning.
const OTHERS: [&str; 2] = ["bos_token", "eos_token"];

/// The added tokens of a `tokenizer.json`, collected from the files of a folder.
pub(super) struct Added {
    tokens: Vec<Value>,
    /// The first id that nothing has.
    next: u64,
}

impl Added {
    /// `size` is the number of tokens of the model.
    pub(super) fn new(size: usize) -> Self {
        Self { tokens: Vec::new(), next: size as u64 }
    }

    /// Adds a special token of the model itself.
    pub(super) fn special(&mut self, name: &str, id: u64) {
        self.push(&json!({ "content": name }), id, true);
    }

    /// Adds a token that a user of the model defined.
    pub(super) fn plain(&mut self, name: &str, id: u64) {
        self.push(&json!({ "content": name }), id, false);
    }

    /// Adds everything that the folder's files name: `added_tokens.json`, the tokens of
    /// `tokenizer_config.json`, `special_tokens_map.json`, and `usual` names by their keys. `id` tells
    /// the id of a token of the model; names without one are numbered behind it, as transformers does.
    pub(super) fn collect(
        &mut self,
        folder: &Folder,
        usual: &[(&str, &str)],
        id: impl Fn(&str) -> Option<u64>,
    ) -> Result<()> {
        if let Some(decoder) = folder.config.get("added_tokens_decoder").and_then(Value::as_object) {
            for (number, token) in decoder {
                let number = number.parse().map_err(|_| {
                    let place = folder.dir.join(super::CONFIG);
                    Error::file(&place, format!("added_tokens_decoder has {number:?}; expected ids"))
                })?;
                self.push(token, number, token["special"].as_bool().unwrap_or(false));
            }
        }
        for (name, number) in
            folder.read("added_tokens.json")?.as_ref().and_then(Value::as_object).into_iter().flatten()
        {
            let number = number.as_u64().ok_or_else(|| {
                Error::file(
                    &folder.dir.join("added_tokens.json"),
                    format!("{name:?} has {number}; expected an id"),
                )
            })?;
            self.push(&json!({ "content": name }), number, true);
        }
        let keys = crate::SpecialTokens::KEYS.into_iter().chain(OTHERS);
        for key in keys {
            let usual = usual.iter().find(|(k, _)| *k == key).map(|(_, name)| json!(name));
            let said = [&folder.config, &folder.names].into_iter().find_map(|file| file.get(key)).cloned();
            self.named(&said.or(usual).unwrap_or(Value::Null), &id);
        }
        for list in [&folder.names, &folder.config] {
            for token in list.get("additional_special_tokens").and_then(Value::as_array).into_iter().flatten()
            {
                self.named(token, &id);
            }
        }
        Ok(())
    }

    fn named(&mut self, token: &Value, id: &impl Fn(&str) -> Option<u64>) {
        if let Some(name) = named(token) {
            let number = id(name).unwrap_or(self.next);
            self.push(token, number, true);
        }
    }

    /// The first says how a token is cut; later mentions of it add nothing.
    fn push(&mut self, token: &Value, id: u64, special: bool) {
        let Some(name) = named(token) else { return };
        if self.tokens.iter().any(|known| known["content"] == name) {
            return;
        }
        let flag = |key: &str, usual: bool| token.get(key).and_then(Value::as_bool).unwrap_or(usual);
        // transformers lets a mask that is named only take the blank before it.
        let mask = name == "<mask>" || name == "[MASK]";
        self.tokens.push(json!({
            "id": id, "content": name, "single_word": flag("single_word", false),
            "lstrip": flag("lstrip", mask), "rstrip": flag("rstrip", false),
            "normalized": flag("normalized", false), "special": special,
        }));
        self.next = self.next.max(id + 1);
    }

    /// The tokens in the order of their ids.
    pub(super) fn json(mut self) -> Value {
        self.tokens.sort_by_key(|token| token["id"].as_u64());
        self.tokens.into()
    }

    /// The id of an added token.
    pub(super) fn id(&self, name: &str) -> Option<u64> {
        self.tokens.iter().find(|token| token["content"] == name)?["id"].as_u64()
    }
}

/// The template of special tokens: names, `A` and `B`, each with its segment.
pub(super) fn template(added: &Added, single: &[(&str, u32)], pair: &[(&str, u32)]) -> Result<Value, String> {
    let mut special = Map::new();
    let mut pieces = |list: &[(&str, u32)]| -> Result<Vec<Value>, String> {
        let piece = |&(name, type_id): &(&str, u32)| {
            if name == "A" || name == "B" {
                return Ok(json!({"Sequence": {"id": name, "type_id": type_id}}));
            }
            let id = added.id(name).ok_or_else(|| format!("there is no {name} to put around a text"))?;
            special.insert(name.into(), json!({"id": name, "ids": [id], "tokens": [name]}));
            Ok(json!({"SpecialToken": {"id": name, "type_id": type_id}}))
        };
        list.iter().map(piece).collect()
    };
    let (single, pair) = (pieces(single)?, pieces(pair)?);
    Ok(json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}))
}

//! Special tokens: the names a vocabulary gives to padding, the unknown token, and the template.

use serde_json::Value;

/// Names of the special tokens; a model without one of them has `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Padding; written into files for other libraries, never used by our own models.
    pub pad: Option<String>,
    /// What stands for everything outside the vocabulary.
    pub unk: Option<String>,
    /// Begins a sequence.
    pub cls: Option<String>,
    /// Ends a sequence.
    pub sep: Option<String>,
    /// Hides a token in masked language modelling.
    pub mask: Option<String>,
}

impl Default for SpecialTokens {
    /// BERT's `[PAD] [UNK] [CLS] [SEP] [MASK]`.
    fn default() -> Self {
        Self::from_names(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|t| Some(t.to_string())))
    }
}

impl SpecialTokens {
    /// Keys of the tokens in `tokenizer_config.json` and `special_tokens_map.json`, in our order.
    pub(crate) const KEYS: [&str; 5] = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"];

    /// No token at all, as for GPT-2.
    pub fn none() -> Self {
        Self::from_names([None, None, None, None, None])
    }

    fn from_names([pad, unk, cls, sep, mask]: [Option<String>; 5]) -> Self {
        Self { pad, unk, cls, sep, mask }
    }

    fn slots(&mut self) -> [&mut Option<String>; 5] {
        [&mut self.pad, &mut self.unk, &mut self.cls, &mut self.sep, &mut self.mask]
    }

    /// The names in the order pad, unk, cls, sep, mask.
    pub(crate) fn names(&self) -> [Option<&str>; 5] {
        [&self.pad, &self.unk, &self.cls, &self.sep, &self.mask].map(Option::as_deref)
    }

    /// The names that exist, in the order pad, unk, cls, sep, mask.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names().into_iter().flatten()
    }

    /// Takes the names given in a JSON object: strings, or objects with `content`; `null` removes.
    pub(crate) fn update(&mut self, config: &Value) {
        for (key, slot) in Self::KEYS.into_iter().zip(self.slots()) {
            match config.get(key) {
                Some(Value::Null) => *slot = None,
                Some(value) => {
                    let name = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
                    if let Some(name) = name {
                        *slot = Some(name.to_string());
                    }
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_as_strings_objects_or_null() {
        let mut special = SpecialTokens::default();
        special.update(&serde_json::json!({
            "unk_token": "<unk>", "cls_token": {"content": "<s>", "lstrip": false}, "mask_token": null
        }));
        assert_eq!(special.names(), [Some("[PAD]"), Some("<unk>"), Some("<s>"), Some("[SEP]"), None]);
    }
}

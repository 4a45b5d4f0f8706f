//! Byte-level pairs of `vocab.json` and `merges.txt` (GPT-2, RoBERTa, DeBERTa), as a `tokenizer.json`.
//!
//! Template:    RoBERTa `<s> A </s>`, `<s> A </s> </s> B </s>`; DeBERTa `[CLS] A [SEP]`, `[CLS] A [SEP] B
//!              [SEP]`; GPT-2 none. `tokenizer_class` or the model's type decides; without either, the
//!              special tokens that the vocabulary has

use super::added::{Added, template};
use super::{CONFIG, Folder, MERGES, VOCAB_JSON};
use crate::{Error, Result};
use serde_json::{Value, json};

/// Whose template it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Gpt2,
    Roberta,
    Deberta,
}

impl Family {
    fn of(folder: &Folder, vocab: &Value) -> Result<Self> {
        let has = |name: &str| vocab.get(name).is_some();
        match folder.family()?.as_str() {
            "gpt2" => Ok(Self::Gpt2),
            "roberta" | "longformer" | "bart" => Ok(Self::Roberta),
            "deberta" => Ok(Self::Deberta),
            "" | "pretrained" if has("<s>") && has("</s>") => Ok(Self::Roberta),
            "" | "pretrained" if has("[CLS]") && has("[SEP]") => Ok(Self::Deberta),
            "" | "pretrained" => Ok(Self::Gpt2),
            other => Err(Error::file(
                folder.dir,
                format!(
                    "{VOCAB_JSON} and {MERGES} of a {other} are not known; expected GPT-2, RoBERTa or DeBERTa in {CONFIG} (`tokenizer_class`), or a tokenizer.json"
                ),
            )),
        }
    }

    /// Its special tokens where the files name none.
    fn usual(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Gpt2 => &[
                ("unk_token", "<|endoftext|>"),
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
            ],
            Self::Roberta => &[
                ("cls_token", "<s>"),
                ("pad_token", "<pad>"),
                ("sep_token", "</s>"),
                ("unk_token", "<unk>"),
                ("mask_token", "<mask>"),
            ],
            Self::Deberta => &[
                ("cls_token", "[CLS]"),
                ("pad_token", "[PAD]"),
                ("sep_token", "[SEP]"),
                ("unk_token", "[UNK]"),
                ("mask_token", "[MASK]"),
            ],
        }
    }
}

/// The `tokenizer.json` that says the same.
pub(super) fn tokenizer_json(folder: &Folder) -> Result<Value> {
    let path = folder.dir.join(VOCAB_JSON);
    let vocab = folder.read(VOCAB_JSON)?.filter(Value::is_object);
    let vocab = vocab.ok_or_else(|| Error::file(&path, "expected a JSON object of tokens and their ids"))?;
    let id = |name: &str| vocab.get(name).and_then(Value::as_u64);
    let family = Family::of(folder, &vocab)?;
    let mut added = Added::new(vocab.as_object().map_or(0, |tokens| tokens.len()));
    added.collect(folder, family.usual(), id)?;
    let name = |key: &str, usual: &'static str| folder.name(key).unwrap_or_else(|| usual.to_string());
    let post_processor = match family {
        Family::Gpt2 => {
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true})
        }
        Family::Roberta => {
            let (cls, sep) = (name("cls_token", "<s>"), name("sep_token", "</s>"));
            let pair = [(&*cls, 0), ("A", 0), (&sep, 0), (&sep, 0), ("B", 0), (&sep, 0)];
            template(&added, &[(&cls, 0), ("A", 0), (&sep, 0)], &pair).map_err(|e| Error::file(&path, e))?
        }
        Family::Deberta => {
            let (cls, sep) = (name("cls_token", "[CLS]"), name("sep_token", "[SEP]"));
            let pair = [(&*cls, 0), ("A", 0), (&sep, 0), ("B", 1), (&sep, 1)];
            template(&added, &[(&cls, 0), ("A", 0), (&sep, 0)], &pair).map_err(|e| Error::file(&path, e))?
        }
    };
    let prefix = folder.flag("add_prefix_space")?.unwrap_or(false);
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.json(), "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true},
        "post_processor": post_processor,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges(folder)?,
        },
    }))
}

/// Two tokens on each line, separated by a blank; the first line may say `#version`.
fn merges(folder: &Folder) -> Result<Vec<Value>> {
    let path = folder.dir.join(MERGES);
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
                merges.push(json!([left, right]));
            }
            Some(_) | None => {
                let message = format!("{line:?} is no merge; expected two tokens with a blank between");
                return Err(Error::line(&path.display().to_string(), number + 1, message));
            }
        }
    }
    Ok(merges)
}

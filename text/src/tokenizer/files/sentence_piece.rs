//! SentencePiece models (`spiece.model`, `spm.model`, ...) of T5, mT5, ALBERT, DeBERTa-v2 and XLM-R, as a
//! `tokenizer.json`.
//!
//! Definition:  characters are mapped as the model says (NFKC, mostly); blanks at the edges are dropped,
//!              runs of them become one; a blank is `▁`, and one is put before the text; Unigram or BPE
//!              finds the pieces. ALBERT first lower-cases, drops accents and straightens quotes
//! Template:    T5 `A </s>`, `A </s> B </s>`; ALBERT, DeBERTa-v2 `[CLS] A [SEP]`, `[CLS] A [SEP] B [SEP]`;
//!              XLM-R `<s> A </s>`, `<s> A </s> </s> B </s>`, its pieces one id higher than in the file
//! Reference:   transformers 4, `convert_slow_tokenizer.py`

use super::added::{Added, template};
use super::model_proto::{Algorithm, Kind, Model};
use super::{CONFIG, Folder};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    T5,
    Mt5,
    Albert,
    DebertaV2,
    XlmRoberta,
}

impl Family {
    /// `tokenizer_class` or the model's type says it; without either, the usual name of the file and
    /// its special tokens.
    fn of(folder: &Folder, file: &str, model: &Model) -> Result<Self> {
        let has = |name: &str| model.pieces.iter().any(|piece| piece.text == name);
        match folder.family()?.as_str() {
            "t5" => Ok(Self::T5),
            "mt5" | "umt5" => Ok(Self::Mt5),
            "albert" => Ok(Self::Albert),
            "debertav2" => Ok(Self::DebertaV2),
            "xlmroberta" => Ok(Self::XlmRoberta),
            "" | "pretrained" if file == "sentencepiece.bpe.model" => Ok(Self::XlmRoberta),
            "" | "pretrained" if file == "spm.model" && has("[CLS]") => Ok(Self::DebertaV2),
            "" | "pretrained" if has("[CLS]") => Ok(Self::Albert),
            "" | "pretrained" if has("</s>") && has("<pad>") => Ok(Self::T5),
            other => Err(Error::file(
                folder.dir,
                format!(
                    "the {file} of a {other:?} is not known; expected T5, mT5, ALBERT, DeBERTa-v2 or XLM-RoBERTa in {CONFIG} (`tokenizer_class`), or a tokenizer.json (transformers writes one when it saves the tokenizer)"
                ),
            )),
        }
    }

    fn usual(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::T5 | Self::Mt5 => &[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")],
            Self::Albert => &[
                ("cls_token", "[CLS]"),
                ("sep_token", "[SEP]"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "[MASK]"),
            ],
            Self::DebertaV2 => &[
                ("cls_token", "[CLS]"),
                ("sep_token", "[SEP]"),
                ("unk_token", "[UNK]"),
                ("pad_token", "[PAD]"),
                ("mask_token", "[MASK]"),
            ],
            Self::XlmRoberta => &[
                ("cls_token", "<s>"),
                ("sep_token", "</s>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
        }
    }

    fn template(self, added: &Added) -> Result<Value, String> {
        match self {
            Self::T5 | Self::Mt5 => {
                template(added, &[("A", 0), ("</s>", 0)], &[("A", 0), ("</s>", 0), ("B", 0), ("</s>", 0)])
            }
            Self::Albert | Self::DebertaV2 => template(
                added,
                &[("[CLS]", 0), ("A", 0), ("[SEP]", 0)],
                &[("[CLS]", 0), ("A", 0), ("[SEP]", 0), ("B", 1), ("[SEP]", 1)],
            ),
            Self::XlmRoberta => template(
                added,
                &[("<s>", 0), ("A", 0), ("</s>", 0)],
                &[("<s>", 0), ("A", 0), ("</s>", 0), ("</s>", 0), ("B", 0), ("</s>", 0)],
            ),
        }
    }
}

/// The `tokenizer.json` that says the same as a model file of the folder.
pub(super) fn tokenizer_json(folder: &Folder, file: &str) -> Result<Value> {
    let path = folder.dir.join(file);
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let broken = |e: String| Error::file(&path, format!("not a SentencePiece model: {e}"));
    let model = Model::read(&bytes).map_err(broken)?;
    let family = Family::of(folder, file, &model)?;
    let pieces = pieces(family, &model, folder)?;
    let id = |name: &str| pieces.iter().position(|(text, _)| text == name).map(|id| id as u64);
    let mut added = Added::new(pieces.len());
    for piece in &model.pieces {
        let Some(id) = id(&piece.text) else { continue };
        match piece.kind {
            Kind::Control => added.special(&piece.text, id),
            Kind::UserDefined => added.plain(&piece.text, id),
            Kind::Normal | Kind::Unknown | Kind::Unused | Kind::Byte => {}
        }
    }
    for (id, (name, _)) in pieces.iter().enumerate().filter(|(_, (name, _))| name.starts_with("<extra_id_")) {
        added.special(name, id as u64);
    }
    added.collect(folder, family.usual(), id)?;
    let post_processor = family.template(&added).map_err(broken)?;
    let scheme = if model.dummy_prefix { "always" } else { "never" };
    let blank = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    let pre_tokenizer = match folder.flag("split_by_punct")? {
        Some(true) => {
            json!({"type": "Sequence", "pretokenizers": [{"type": "Punctuation", "behavior": "Isolated"}, blank]})
        }
        Some(false) | None => blank.clone(),
    };
    let added = added.json();
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": normalizer(family, &model, folder)?, "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor, "decoder": blank,
        "model": algorithm(&model, &pieces, &path)?,
    }))
}

/// Pieces and scores in the order of their ids.
fn pieces(family: Family, model: &Model, folder: &Folder) -> Result<Vec<(String, f64)>> {
    let own = model.pieces.iter().map(|piece| (piece.text.clone(), f64::from(piece.score)));
    let named = |name: &str| (name.to_string(), 0.0);
    let extra = |usual: u64| -> Result<u64> {
        match folder.config.get("extra_ids") {
            None => Ok(usual),
            Some(number) => number.as_u64().ok_or_else(|| {
                Error::file(&folder.dir.join(CONFIG), format!("extra_ids is {number}; expected a number"))
            }),
        }
    };
    let extra_ids = |count: u64| (0..count).rev().map(|i| (format!("<extra_id_{i}>"), 0.0));
    Ok(match family {
        Family::T5 => own.chain(extra_ids(extra(100)?)).collect(),
        Family::Mt5 => own.chain(extra_ids(extra(0)?)).collect(),
        // A number with a comma behind it is no piece to choose.
        Family::Albert => own
            .map(
                |(text, score)| {
                    if ends_in_digit_comma(&text) { (text, score - 100.0) } else { (text, score) }
                },
            )
            .collect(),
        Family::DebertaV2 => own.collect(),
        Family::XlmRoberta => {
            let first = ["<s>", "<pad>", "</s>", "<unk>"].map(named);
            first.into_iter().chain(own.skip(3)).chain([named("<mask>")]).collect()
        }
    })
}

fn ends_in_digit_comma(piece: &str) -> bool {
    piece.strip_suffix(',').and_then(|rest| rest.chars().next_back()).is_some_and(char::is_numeric)
}

fn normalizer(family: Family, model: &Model, folder: &Folder) -> Result<Value> {
    let replace = |pattern: Value, by: &str| json!({"type": "Replace", "pattern": pattern, "content": by});
    let lower_case = |usual: bool| Ok::<bool, Error>(folder.flag("do_lower_case")?.unwrap_or(usual));
    let mut steps = Vec::new();
    match family {
        Family::Albert => {
            steps.extend(["``", "''"].map(|quote| replace(json!({ "String": quote }), "\"")));
            if !folder.flag("keep_accents")?.unwrap_or(false) {
                steps.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
            }
            if lower_case(true)? {
                steps.push(json!({"type": "Lowercase"}));
            }
        }
        Family::DebertaV2 if lower_case(false)? => steps.push(json!({"type": "Lowercase"})),
        Family::DebertaV2 | Family::T5 | Family::Mt5 | Family::XlmRoberta => {}
    }
    if !model.characters.is_empty() {
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(&model.characters)}));
    }
    if model.remove_extra_space {
        steps.push(replace(json!({"Regex": "^ +| +$"}), ""));
        steps.push(replace(json!({"Regex": " {2,}"}), " "));
    }
    Ok(json!({"type": "Sequence", "normalizers": steps}))
}

fn algorithm(model: &Model, pieces: &[(String, f64)], path: &Path) -> Result<Value> {
    let unknown = model.pieces.iter().find(|piece| piece.kind == Kind::Unknown);
    let unknown = unknown
        .map(|piece| piece.text.as_str())
        .ok_or_else(|| Error::file(path, "there is no unknown piece"))?;
    match model.algorithm {
        Algorithm::Unigram => Ok(json!({
            "type": "Unigram", "unk_id": pieces.iter().position(|(text, _)| text == unknown),
            "vocab": pieces, "byte_fallback": model.byte_fallback,
        })),
        Algorithm::Bpe => {
            let vocab: Map<String, Value> =
                pieces.iter().zip(0..).map(|((text, _), id)| (text.clone(), json!(id))).collect();
            Ok(json!({
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": model.byte_fallback,
                "ignore_merges": false, "vocab": vocab, "merges": merges(pieces),
            }))
        }
        Algorithm::Word | Algorithm::Char => {
            Err(Error::file(path, "a model of words or characters; expected Unigram or BPE"))
        }
    }
}

/// Every way to put a piece together of two, the piece with the smallest id first.
fn merges(pieces: &[(String, f64)]) -> Vec<(&str, &str)> {
    let ids: HashMap<&str, usize> =
        pieces.iter().zip(0..).map(|((text, _), id)| (text.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (text, _) in pieces {
        let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let mut pairs: Vec<(usize, usize, (&str, &str))> = cuts
            .filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?, (left, right))))
            .collect();
        pairs.sort_by_key(|&(left, right, (l, r))| (l.chars().count(), r.chars().count(), left, right));
        merges.extend(pairs.into_iter().map(|(.., pair)| pair));
    }
    merges
}

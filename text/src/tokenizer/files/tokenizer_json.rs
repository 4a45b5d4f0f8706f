//! A tokenizer from a `tokenizer.json`, read or made from older files.

use super::{Folder, VOCAB, vocab_txt};
use crate::tokenizer::pipeline::{Pipeline, in_order};
use crate::tokenizer::template::Template;
use crate::tokenizer::{Dialect, Engine, Tokenizer, Units};
use crate::{Error, Result, SpecialTokens};
use serde_json::{Value, json};
use std::path::Path;

/// `path` is the file to blame.
pub(super) fn read(mut json: Value, folder: &Folder, path: &Path) -> Result<Tokenizer> {
    if json["normalizer"]["type"] == "BertNormalizer" {
        // transformers lets tokenizer_config.json overrule these three.
        for (key, ours) in [
            ("do_lower_case", "lowercase"),
            ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        ] {
            if let Some(value @ Value::Bool(_)) = folder.config.get(key) {
                json["normalizer"][ours] = value.clone();
            }
        }
    }
    let broken =
        |message: String| Error::file(path, format!("not a tokenizer of the tokenizers library: {message}"));
    let described = |pipeline: &Pipeline| -> Result<(SpecialTokens, Template)> {
        let mut special = well_known(pipeline);
        special.update(&folder.names);
        special.update(&folder.config);
        Ok((special, pipeline.template().map_err(broken)?))
    };
    if let Some((pipeline, engine, vocab)) = Pipeline::quick_word_piece(&json) {
        let (special, template) = described(&pipeline)?;
        let engine = Engine::WordPiece(Box::new(engine), json);
        return Ok(Tokenizer::assemble(engine, None, special, vocab, template));
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

/// The tokenizer of RoFormer behind a `tokenizer.json`, in which transformers cannot say that words are cut
/// first; `None` when its vocabulary has no words.
pub(super) fn words(json: &Value, folder: &Folder) -> Result<Option<Tokenizer>> {
    if folder.has(VOCAB) {
        let tokenizer = vocab_txt::read(folder, None, Dialect::Transformers)?;
        return Ok(Some(tokenizer).filter(|t| t.rules().is_some_and(|rules| rules.units == Units::Words)));
    }
    let Some(vocab) = json["model"]["vocab"].as_object().and_then(in_order) else { return Ok(None) };
    match vocab_txt::words(&vocab) {
        0 => Ok(None),
        _ => vocab_txt::over(vocab, folder, Some(Units::Words), Dialect::Transformers).map(Some),
    }
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

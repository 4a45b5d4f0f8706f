//! A tokenizer from `vocab.txt`: BERT's word pieces, words first, or characters.
//!
//! Words:   a vocabulary of Chinese words is cut by words first. RoFormer's and WoBERT's class says so;
//!          without a class, a vocabulary with a tenth of its tokens such words is one (BERT's has none)

use super::{DICTIONARY, Folder, VOCAB};
use crate::tokenizer::{Dialect, Dictionary, Rules, Tokenizer, Units};
use crate::{Error, Result, Vocab, chars};

/// Reads the vocabulary of a folder.
pub(super) fn read(folder: &Folder, units: Option<Units>, dialect: Dialect) -> Result<Tokenizer> {
    over(Vocab::read(&folder.dir.join(VOCAB))?, folder, units, dialect)
}

/// A vocabulary under the rules that a folder says.
pub(super) fn over(
    vocab: Vocab,
    folder: &Folder,
    units: Option<Units>,
    dialect: Dialect,
) -> Result<Tokenizer> {
    let units = units.unwrap_or_else(|| match folder.class() {
        class if class.starts_with("RoFormer") || class.starts_with("WoBert") => match words(&vocab) {
            0 => Units::WordPieces,
            _ => Units::Words,
        },
        "" if words(&vocab) * 10 >= vocab.len() => Units::Words,
        _ => Units::WordPieces,
    });
    let mut rules = Rules { units, dialect, ..Rules::bert(true) };
    rules.lower_case = folder.flag("do_lower_case")?.unwrap_or(true);
    rules.strip_accents = folder.flag("strip_accents")?;
    rules.split_chinese = folder.flag("tokenize_chinese_chars")?.unwrap_or(true);
    rules.special.update(&folder.names);
    rules.special.update(&folder.config);
    let tokenizer = match units {
        Units::Words if folder.has(DICTIONARY) => {
            Tokenizer::with_dictionary(vocab, rules, Dictionary::read(&folder.dir.join(DICTIONARY))?)
        }
        Units::Words | Units::WordPieces | Units::Characters => Tokenizer::from_vocab(vocab, rules),
    };
    tokenizer.map_err(|e| match e {
        Error::Vocab(message) | Error::Option(message) => Error::file(&folder.dir.join(VOCAB), message),
        other => other,
    })
}

/// How many tokens are words of several Chinese characters.
pub(super) fn words(vocab: &Vocab) -> usize {
    let word = |token: &&String| token.chars().nth(1).is_some() && token.chars().all(chars::is_cjk);
    vocab.tokens().iter().filter(word).count()
}

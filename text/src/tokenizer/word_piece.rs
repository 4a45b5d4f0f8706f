//! WordPiece: BERT's normalizer, pre-tokenizer and pieces in one pass over the text.
//!
//! Definition:  added tokens are cut out; the rest is cleaned, Chinese characters become words,
//!              accents are dropped, letters lower-cased; white space and punctuation end words; a
//!              word is cut into the longest pieces of the vocabulary from left to right, or is the
//!              unknown token when that fails or it has more than `longest_word` characters
//! Exactness:   ids and spans are those of the `tokenizers` crate. What a character becomes is asked
//!              of the crate (`effect`), the few characters that depend on their neighbours send
//!              their text through the crate's normalizer, and a `tokenizer.json` that says anything
//!              else than the above is left to the crate. bert4keras' few other rules are those of
//!              `Dialect::Bert4keras`
//! Cost:        O(n); no allocation for a word or a token

mod added;
mod by_words;
mod effect;
mod normal;
pub(super) mod trie;
mod words;

use super::{Dialect, Dictionary, Plain, Rules};
use crate::{Result, Vocab, chars};
use added::{Added, Found};
use effect::{Effect, Effects};
use std::ops::Range;
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};
use trie::{Root, Trie};
use words::Words;

/// Continues a word in the vocabularies of BERT.
const PREFIX: &str = "##";

/// Longest word that is cut into pieces, in characters.
pub(super) fn longest_word(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Transformers => 100,
        Dialect::Bert4keras => 200,
    }
}

/// The tokens of a vocabulary with their ids.
pub(super) fn tokens(vocab: &Vocab) -> Vec<(&str, u32)> {
    vocab.tokens().iter().map(String::as_str).zip(0..).collect()
}

/// A tokenizer of BERT's kind.
pub(super) struct WordPiece {
    added: Added,
    effects: Effects,
    /// What ASCII bytes continue a word as; 0 for all that do something else.
    letters: [u8; 256],
    trie: Trie,
    /// Where pieces inside a word begin in the trie; `None` when there are none.
    inside: Option<Root>,
    unknown: u32,
    longest_word: usize,
    dialect: Dialect,
    /// Words that are looked up whole, before anything else.
    dictionary: Option<Dictionary>,
}

impl WordPiece {
    /// The crate's tokenizer, with these tokens of its model; `None` when it does anything we do not.
    pub(super) fn like(tokenizer: &Tokenizer, tokens: Vec<(&str, u32)>) -> Option<Self> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else {
            return None;
        };
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = tokenizer.get_pre_tokenizer() else {
            return None;
        };
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else { return None };
        let mut added = Vec::new();
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            if token.normalized || token.single_word || token.lstrip || token.rstrip {
                return None;
            }
            added.push((token.content, id));
        }
        if tokenizer.get_encode_special_tokens() {
            return None;
        }
        let (_, unknown) = *tokens.iter().find(|(token, _)| *token == model.unk_token)?;
        let prefix = &model.continuing_subword_prefix;
        let longest_word = model.max_input_chars_per_word;
        Self::new(*normalizer, Dialect::Transformers, tokens, prefix, unknown, longest_word, added)
    }

    /// BERT's rules over a vocabulary; `None` when there are names we do not cut out as the crate.
    pub(super) fn from_rules(vocab: &Vocab, rules: &Rules, unknown: u32) -> Option<Self> {
        let (dialect, lower_case) = (rules.dialect, rules.lower_case);
        let (normalizer, mut names) = match dialect {
            Dialect::Transformers => (
                BertNormalizer::new(true, rules.split_chinese, rules.strip_accents, lower_case),
                rules.special.iter().filter_map(|name| Some((name.to_string(), vocab.id(name)?))).collect(),
            ),
            Dialect::Bert4keras => (BertNormalizer::new(true, true, None, lower_case), Vec::new()),
        };
        names.sort();
        names.dedup();
        Self::new(normalizer, dialect, tokens(vocab), PREFIX, unknown, longest_word(dialect), names)
    }

    /// The same that looks words of a dictionary up first.
    pub(super) fn with_dictionary(self, dictionary: Dictionary) -> Self {
        Self { dictionary: Some(dictionary), ..self }
    }

    pub(super) fn dictionary(&self) -> Option<&Dictionary> {
        self.dictionary.as_ref()
    }

    fn new(
        normalizer: BertNormalizer,
        dialect: Dialect,
        tokens: Vec<(&str, u32)>,
        prefix: &str,
        unknown: u32,
        longest_word: usize,
        added: Vec<(String, u32)>,
    ) -> Option<Self> {
        // White space at the edges of a name is not part of its span.
        if added.iter().any(|(name, _)| name.trim() != name) {
            return None;
        }
        let trie = Trie::new(tokens)?;
        let inside = trie.after(prefix);
        let (added, effects) = (Added::new(added), Effects::new(normalizer, dialect));
        let (letters, dictionary) = ([0; 256], None);
        let mut model =
            Self { added, effects, letters, trie, inside, unknown, longest_word, dialect, dictionary };
        for byte in 0..128 {
            if let Effect::Letter(c @ '\u{1}'..='\u{7f}') =
                model.page(char::from(byte)).effect(char::from(byte))
            {
                model.letters[usize::from(byte)] = c as u8;
            }
        }
        Some(model)
    }

    /// Tokens of a text, without template.
    pub(super) fn encode(&self, text: &str) -> Result<Plain> {
        let quick = self.parts(text, |words, bytes, place| {
            let part = &text[bytes];
            match &self.dictionary {
                Some(dictionary) => self.by_words(dictionary, words, part, place).map(Some),
                None => self.by_character(words, part, place),
            }
        })?;
        match quick {
            Some(plain) => Ok(plain),
            None => {
                let plain =
                    self.parts(text, |words, bytes, place| self.by_crate(words, &text[bytes], place))?;
                Ok(plain.unwrap_or_default())
            }
        }
    }

    /// Cuts added tokens out and lets `part` do the rest: bytes of the text, from a character on; it
    /// gives its length in characters, or `None` to give up.
    fn parts(
        &self,
        text: &str,
        part: impl Fn(&mut Words, Range<usize>, usize) -> Result<Option<usize>>,
    ) -> Result<Option<Plain>> {
        let (mut words, mut at, mut place) = (Words::new(self, text.len()), 0, 0);
        loop {
            let found = self.added.next(text, at);
            let end = found.as_ref().map_or(text.len(), |found| found.bytes.start);
            let Some(chars) = part(&mut words, at..end, place)? else { return Ok(None) };
            words.end();
            place += chars;
            let Some(Found { bytes, id, chars }) = found else { return Ok(Some(words.done)) };
            words.token(id, place, chars);
            (at, place) = (bytes.end, place + chars);
        }
    }

    /// Character by character; gives up at one that depends on its neighbours.
    fn by_character(&self, words: &mut Words, text: &str, first: usize) -> Result<Option<usize>> {
        let (bytes, mut at, mut place) = (text.as_bytes(), 0, first);
        while at < bytes.len() {
            let run = self.run(&bytes[at..]);
            if run > 0 {
                let letters = &bytes[at..at + run];
                if words.between() && self.ends_word(&text[at + run..]) {
                    words.ascii(letters, &self.letters, place);
                } else {
                    words.ascii_part(letters, &self.letters, place);
                }
                (at, place) = (at + run, place + run);
                continue;
            }
            let Some(c) = text[at..].chars().next() else { break };
            let page = self.page(c);
            match page.effect(c) {
                Effect::Moves => return Ok(None),
                Effect::Several(list) => {
                    page.several(list).iter().for_each(|&effect| apply(words, effect, place));
                }
                effect => apply(words, effect, place),
            }
            (at, place) = (at + c.len_utf8(), place + 1);
        }
        Ok(Some(place - first))
    }

    /// ASCII letters at the beginning of some bytes.
    #[inline]
    fn run(&self, bytes: &[u8]) -> usize {
        bytes.iter().position(|&byte| self.letters[usize::from(byte)] == 0).unwrap_or(bytes.len())
    }

    /// True when no letter of a word comes next.
    #[inline]
    fn ends_word(&self, rest: &str) -> bool {
        let Some(c) = rest.chars().next() else { return true };
        match self.page(c).effect(c) {
            Effect::Space | Effect::Word(_) => true,
            Effect::Nothing | Effect::Letter(_) | Effect::Several(_) | Effect::Moves => false,
        }
    }

    #[inline]
    fn page(&self, c: char) -> &effect::Page {
        self.effects.page(c, |c| self.word_of(c))
    }

    /// The token of a word of one character.
    fn word_of(&self, c: char) -> u32 {
        let token = self.token(c.encode_utf8(&mut [0; 4]));
        token.filter(|_| self.longest_word > 0).unwrap_or(self.unknown)
    }

    /// The token that is the whole of a word.
    fn token(&self, word: &str) -> Option<u32> {
        let (bytes, id) = self.trie.longest(self.trie.root(), word.bytes())?;
        (bytes == word.len()).then_some(id)
    }

    /// The same through the normal form of the text, which knows what neighbours do.
    fn by_crate(&self, words: &mut Words, text: &str, first: usize) -> Result<Option<usize>> {
        match self.dialect {
            Dialect::Transformers => {
                for (c, place) in normal::transformers(self.effects.normalizer(), text)? {
                    match c {
                        c if c.is_whitespace() => words.end(),
                        c if chars::is_punctuation(c) => words.token(self.word_of(c), first + place, 1),
                        c => words.letter(c, first + place),
                    }
                }
            }
            Dialect::Bert4keras => {
                for (c, place) in normal::bert4keras(text, self.effects.normalizer().lowercase)? {
                    self.normal_character(words, c, first + place);
                }
            }
        }
        Ok(Some(text.chars().count()))
    }

    /// A character of the normal form, which itself is its normal form.
    fn normal_character(&self, words: &mut Words, c: char, place: usize) {
        match self.page(c).effect(c) {
            Effect::Nothing => {}
            Effect::Space => words.end(),
            Effect::Word(id) => words.token(id, place, 1),
            Effect::Letter(_) | Effect::Several(_) | Effect::Moves => words.letter(c, place),
        }
    }
}

fn apply(words: &mut Words, effect: Effect, place: usize) {
    match effect {
        // The other two are not the effect of one step.
        Effect::Nothing | Effect::Several(_) | Effect::Moves => {}
        Effect::Space => words.end(),
        Effect::Letter(c) => words.letter(c, place),
        Effect::Word(id) => words.token(id, place, 1),
    }
}

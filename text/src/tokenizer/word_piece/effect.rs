//! Effect: what BERT's normalizer and pre-tokenizer do with each character.
//!
//! Definition:  effect(c) = what the `tokenizers` crate makes of c between two letters. We ask the
//!              crate itself, a page of 64 characters at a time when the first of them is met, so
//!              the categories, decompositions and lower cases are its own, whatever its version
//! Exactness:   all steps but one look at a character alone. Dropping accents first sorts combining
//!              marks, and the crate gives sorted marks the places they are sorted into. Marks that
//!              are then dropped leave nothing behind; a mark that stays (few do: Hangul tone marks,
//!              notes of music, a virama of Java) may be moved by its neighbours. We put each
//!              character after a mark of the highest class, and once more before one of the lowest:
//!              if nothing of it takes the place of these two, no mark in it is ever moved. Else its
//!              effect is `Moves`, and the caller asks the crate
//! bert4keras:  keeps private use characters, counts all ideographs of extension E as Chinese (the crate
//!              misses 2B820..2B91F), and Σ depends on what follows
//! Cost:        about 0.1 ms a page, once for each tokenizer; then two reads a character

use crate::chars::is_cjk;
use crate::tokenizer::Dialect;
use std::collections::HashSet;
use std::sync::OnceLock;
use tokenizers::normalizer::Range;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

const PAGE: usize = 64;
const PAGES: usize = (char::MAX as usize + 1) / PAGE;

/// Combining marks of the highest class (240) and of the lowest (1); both are dropped accents.
const HIGHEST: char = '\u{345}';
const LOWEST: char = '\u{334}';

/// What becomes of one character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It disappears.
    Nothing,
    /// It ends a word.
    Space,
    /// It continues a word as this character.
    Letter(char),
    /// It is a word of its own, the token with this id.
    Word(u32),
    /// Several of the above, a list of its page.
    Several(u8),
    /// It depends on its neighbours.
    Moves,
}

/// The effects of the characters of a page.
pub(super) struct Page {
    effects: [Effect; PAGE],
    several: Vec<Box<[Effect]>>,
}

impl Page {
    #[inline]
    pub(super) fn effect(&self, c: char) -> Effect {
        self.effects[c as usize % PAGE]
    }

    /// The list of an [`Effect::Several`] of this page.
    pub(super) fn several(&self, list: u8) -> &[Effect] {
        self.several.get(usize::from(list)).map_or(&[], |list| list)
    }
}

/// The effects of all characters, made when they are first met.
pub(super) struct Effects {
    normalizer: BertNormalizer,
    dialect: Dialect,
    pages: Box<[OnceLock<Box<Page>>]>,
}

impl Effects {
    pub(super) fn new(normalizer: BertNormalizer, dialect: Dialect) -> Self {
        Self { normalizer, dialect, pages: (0..PAGES).map(|_| OnceLock::new()).collect() }
    }

    pub(super) fn normalizer(&self) -> &BertNormalizer {
        &self.normalizer
    }

    /// The page of a character; `id` tells the token of a word of one letter.
    #[inline]
    pub(super) fn page(&self, c: char, id: impl Fn(char) -> u32) -> &Page {
        let number = c as usize / PAGE;
        self.pages[number].get_or_init(|| Box::new(self.make(number, id)))
    }

    fn make(&self, number: usize, id: impl Fn(char) -> u32) -> Page {
        let mut page = Page { effects: [Effect::Moves; PAGE], several: Vec::new() };
        let first = (number * PAGE) as u32;
        let chars: Vec<char> = (first..first + PAGE as u32).filter_map(char::from_u32).collect();
        // The crate's normalizer cannot fail; if it ever does, `Moves` passes its error on.
        let Ok(remainders) = remainders(&self.normalizer, &chars) else { return page };
        let all: Vec<char> = remainders.iter().flatten().flatten().copied().collect();
        let punctuation = punctuation(&all);
        let effect = |&c: &char| match c {
            c if c.is_whitespace() => Effect::Space,
            c if punctuation.contains(&c) => Effect::Word(id(c)),
            c => Effect::Letter(c),
        };
        for (&c, remainder) in chars.iter().zip(&remainders) {
            let Some(remainder) = remainder else { continue };
            let effects: Vec<Effect> = remainder.iter().map(effect).collect();
            page.effects[c as usize % PAGE] = match effects[..] {
                [] => Effect::Nothing,
                [one] => one,
                [Effect::Space, Effect::Letter(c), Effect::Space] => Effect::Word(id(c)),
                _ => {
                    page.several.push(effects.into());
                    Effect::Several((page.several.len() - 1) as u8)
                }
            };
            match self.dialect {
                Dialect::Transformers => {}
                Dialect::Bert4keras => self.as_bert4keras(c, &mut page.effects[c as usize % PAGE], &id),
            }
        }
        page
    }

    /// What bert4keras does otherwise.
    fn as_bert4keras(&self, c: char, effect: &mut Effect, id: impl Fn(char) -> u32) {
        *effect = match *effect {
            _ if c == 'Σ' && self.normalizer.lowercase => Effect::Moves,
            Effect::Nothing if is_private_use(c) => Effect::Letter(c),
            Effect::Letter(c) if is_cjk(c) => Effect::Word(id(c)),
            other => other,
        };
    }
}

fn is_private_use(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{ffffd}' | '\u{100000}'..='\u{10fffd}')
}

/// What is left of each character between two letters; `None` when that depends on its neighbours.
fn remainders(normalizer: &BertNormalizer, chars: &[char]) -> tokenizers::Result<Vec<Option<Vec<char>>>> {
    #[derive(Clone, Copy)]
    enum Place {
        Frame,
        Char(usize),
        Mark(usize),
    }
    let (mut text, mut places) = (String::new(), Vec::new());
    let mut put = |c: char, place: Place| {
        text.push(c);
        places.resize(text.len(), place);
    };
    let sorts = normalizer.strip_accents.unwrap_or(normalizer.lowercase);
    for (i, &c) in chars.iter().enumerate() {
        put('x', Place::Frame);
        if sorts {
            put(HIGHEST, Place::Mark(i));
        }
        put(c, Place::Char(i));
        if sorts {
            put('x', Place::Frame);
            put(c, Place::Frame);
            put(LOWEST, Place::Mark(i));
        }
    }
    put('x', Place::Frame);
    let mut text = NormalizedString::from(text);
    normalizer.normalize(&mut text)?;
    let mut remainders = vec![Some(Vec::new()); chars.len()];
    for (at, c) in text.get().char_indices() {
        let origin = text.convert_offsets(Range::Normalized(at..at + c.len_utf8()));
        let place = origin.and_then(|origin| places.get(origin.start)).copied();
        match place.ok_or("a character without origin")? {
            Place::Frame => {}
            Place::Char(i) => remainders[i].iter_mut().for_each(|remainder| remainder.push(c)),
            Place::Mark(i) => remainders[i] = None,
        }
    }
    Ok(remainders)
}

/// Those of some characters that the pre-tokenizer makes words of their own.
fn punctuation(chars: &[char]) -> HashSet<char> {
    let text: String = chars.iter().flat_map(|&c| ['x', c]).chain(['x']).collect();
    let mut text = PreTokenizedString::from(text);
    if BertPreTokenizer.pre_tokenize(&mut text).is_err() {
        return HashSet::new();
    }
    let words = text.get_splits(OffsetReferential::Original, OffsetType::None);
    let single = |word: &str| {
        let mut chars = word.chars();
        chars.next().filter(|_| chars.next().is_none())
    };
    words.into_iter().filter_map(|(word, ..)| single(word)).filter(|&c| c != 'x').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(c: char, normalizer: BertNormalizer) -> Effect {
        Effects::new(normalizer, Dialect::Transformers).page(c, |c| c as u32).effect(c)
    }

    fn uncased(c: char) -> Effect {
        effect(c, BertNormalizer::default())
    }

    #[test]
    fn characters_continue_end_or_are_words() {
        assert_eq!(uncased('A'), Effect::Letter('a'));
        assert_eq!(uncased('É'), Effect::Letter('e'));
        assert_eq!(uncased('中'), Effect::Word('中' as u32));
        assert_eq!(uncased('，'), Effect::Word('，' as u32));
        assert_eq!(uncased('$'), Effect::Word('$' as u32));
        assert_eq!(uncased('\u{3000}'), Effect::Space);
        assert_eq!(uncased('\u{2028}'), Effect::Space);
        assert_eq!(uncased('\n'), Effect::Space);
        assert_eq!(['\0', '\u{200d}', '\u{301}', '\u{e000}', '\u{fffd}'].map(uncased), [Effect::Nothing; 5]);
    }

    #[test]
    fn a_character_may_become_several() {
        let effects = Effects::new(BertNormalizer::default(), Dialect::Transformers);
        let page = effects.page('한', |c| c as u32);
        let Effect::Several(list) = page.effect('한') else { panic!("three jamo") };
        assert_eq!(page.several(list), ['\u{1112}', '\u{1161}', '\u{11ab}'].map(Effect::Letter));
        let keeps = BertNormalizer::new(true, true, Some(false), true);
        assert!(matches!(effect('İ', keeps), Effect::Several(_)), "i and a dot");
        assert_eq!(uncased('İ'), Effect::Letter('i'));
    }

    #[test]
    fn the_options_of_the_normalizer_count() {
        let cased = BertNormalizer::new(true, false, None, false);
        assert_eq!(effect('É', cased), Effect::Letter('É'));
        assert_eq!(effect('中', cased), Effect::Letter('中'));
        assert_eq!(effect('\u{301}', cased), Effect::Letter('\u{301}'));
        let unclean = BertNormalizer::new(false, true, None, true);
        assert_eq!(effect('\0', unclean), Effect::Letter('\0'));
        assert_eq!(effect('\u{3000}', unclean), Effect::Space);
    }

    #[test]
    fn marks_that_stay_and_can_be_moved_are_known() {
        // Hangul tone mark (224), virama of Java (9), half note (a head and a stem of class 216).
        assert_eq!(['\u{302e}', '\u{a9c0}', '\u{1d15e}'].map(uncased), [Effect::Moves; 3]);
        // Vowel signs of class 0 stay where they are.
        assert_eq!(uncased('\u{903}'), Effect::Letter('\u{903}'));
        let keeps = BertNormalizer::new(true, true, Some(false), true);
        assert_eq!(effect('\u{302e}', keeps), Effect::Letter('\u{302e}'));
    }

    #[test]
    fn bert4keras_keeps_private_use_and_all_ideographs() {
        let effect = |c: char| {
            Effects::new(BertNormalizer::default(), Dialect::Bert4keras).page(c, |c| c as u32).effect(c)
        };
        assert_eq!(effect('\u{e000}'), Effect::Letter('\u{e000}'));
        assert_eq!(effect('\u{2b820}'), Effect::Word(0x2b820));
        assert_eq!(effect('Σ'), Effect::Moves);
        assert_eq!(
            (effect('\u{200d}'), effect('A'), effect('中')),
            (Effect::Nothing, Effect::Letter('a'), Effect::Word('中' as u32))
        );
    }
}

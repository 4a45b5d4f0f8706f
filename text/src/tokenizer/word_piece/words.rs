//! Words: letters gather to words, and words become tokens.

use super::WordPiece;
use crate::tokenizer::Plain;

/// A text on its way to tokens: what is done, and the word under way.
pub(super) struct Words<'a> {
    model: &'a WordPiece,
    pub(super) done: Plain,
    /// The word under way, normalised, and for each of its bytes the character it comes from.
    letters: Vec<u8>,
    places: Vec<u32>,
    /// Characters of the normalised word.
    length: usize,
    /// Tokens of one word with their ends in bytes, until the last of them is found.
    pieces: Vec<(u32, usize)>,
}

impl<'a> Words<'a> {
    /// `bytes` is the length of the text to come.
    pub(super) fn new(model: &'a WordPiece, bytes: usize) -> Self {
        Self {
            model,
            done: Plain { ids: Vec::with_capacity(bytes / 4 + 2), ..Plain::default() },
            letters: Vec::new(),
            places: Vec::new(),
            length: 0,
            pieces: Vec::new(),
        }
    }

    /// True between words.
    #[inline]
    pub(super) fn between(&self) -> bool {
        self.letters.is_empty()
    }

    /// Continues the word by a letter that comes from character `place` of the text.
    pub(super) fn letter(&mut self, c: char, place: usize) {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        self.letters.extend_from_slice(bytes);
        self.places.extend(bytes.iter().map(|_| place as u32));
        self.length += 1;
    }

    /// Ends the word.
    #[inline]
    pub(super) fn end(&mut self) {
        if !self.between() {
            let (letters, places) = (std::mem::take(&mut self.letters), std::mem::take(&mut self.places));
            self.word(letters.len(), self.length, |at| letters[at], |at| places[at] as usize);
            (self.letters, self.places, self.length) = (letters, places, 0);
            self.letters.clear();
            self.places.clear();
        }
    }

    /// A token of its own, made of `chars` characters from `place` on.
    #[inline]
    pub(super) fn token(&mut self, id: u32, place: usize, chars: usize) {
        self.end();
        self.push(id, place, place + chars);
    }

    /// A word of ASCII letters, `place` being the first of them; letter for letter what
    /// `lower` makes of it.
    #[inline]
    pub(super) fn ascii(&mut self, word: &[u8], lower: &[u8; 256], place: usize) {
        self.word(word.len(), word.len(), |at| lower[usize::from(word[at])], |at| place + at);
    }

    /// ASCII letters of a word with others before or after them.
    pub(super) fn ascii_part(&mut self, letters: &[u8], lower: &[u8; 256], place: usize) {
        self.letters.extend(letters.iter().map(|&letter| lower[usize::from(letter)]));
        self.places.extend((place..place + letters.len()).map(|place| place as u32));
        self.length += letters.len();
    }

    /// Cuts a word of `length` bytes and `chars` characters into the longest pieces, from left to
    /// right; a word that is too long or has a part without piece is unknown as a whole.
    #[inline]
    fn word(
        &mut self,
        length: usize,
        chars: usize,
        letter: impl Fn(usize) -> u8,
        place: impl Fn(usize) -> usize,
    ) {
        let trie = &self.model.trie;
        let (mut at, mut from) = (0, Some(trie.root()));
        self.pieces.clear();
        while at < length && chars <= self.model.longest_word {
            let found = from.and_then(|from| trie.longest(from, (at..length).map(&letter)));
            let Some((bytes, id)) = found else { break };
            at += bytes;
            from = self.model.inside;
            if at == length && self.pieces.is_empty() {
                return self.push(id, place(0), place(length - 1) + 1);
            }
            self.pieces.push((id, at));
        }
        if at < length {
            return self.push(self.model.unknown, place(0), place(length - 1) + 1);
        }
        let mut start = 0;
        for piece in 0..self.pieces.len() {
            let (id, end) = self.pieces[piece];
            self.push(id, place(start), place(end - 1) + 1);
            start = end;
        }
    }

    #[inline]
    fn push(&mut self, id: u32, start: usize, end: usize) {
        self.done.ids.push(id);
        self.done.spans.push(Some(start..end));
    }
}

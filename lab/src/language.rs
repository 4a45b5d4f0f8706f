//! Texts to learn from, made by a seeded program: free to give away, the same on every machine.
//! Definition:  a text has words of its own, drawn from a Markov chain of letters that is the same for
//!              all texts; it repeats them, the frequent ones often (Zipf), with a space between
//! Why:         letters can be guessed from the letter before (a property of the language), words only
//!              from earlier places in the same text, so that a model must look far back and longer
//!              texts are easier if it still can

use bert4rs_tensor::Rng;

/// The id of hidden tokens.
pub const HIDDEN: usize = 0;
/// The id between words.
pub const SPACE: usize = 1;

/// A language: letters, how they follow each other, and how many words a text has.
#[derive(Clone, Debug)]
pub struct Language {
    letters: usize,
    words: usize,
    /// For each letter the letters that may follow, in equal shares.
    next: Vec<Vec<usize>>,
}

impl Language {
    /// The language of a seed, with so many letters, and `words` different words in a text.
    pub fn new(seed: u64, letters: usize, words: usize) -> Self {
        let (mut rng, following) = (Rng::new(seed).fork("language"), letters.div_ceil(3));
        let next = (0..letters).map(|_| rng.permutation(letters)[..following].to_vec()).collect();
        Self { letters, words, next }
    }

    /// Ids from 0 up: hidden, space, letters.
    pub fn vocab_size(&self) -> usize {
        self.letters + 2
    }

    /// A text of exactly `length` tokens.
    pub fn text(&self, rng: &mut Rng, length: usize) -> Vec<usize> {
        let words: Vec<Vec<usize>> = (0..self.words).map(|_| self.word(rng)).collect();
        let total: f64 = (1..=self.words).map(|rank| 1.0 / rank as f64).sum();
        let mut text = Vec::with_capacity(length + 8);
        while text.len() < length {
            let mut left = rng.uniform() * total;
            let pick = (0..self.words).find(|&i| {
                left -= 1.0 / (i + 1) as f64;
                left <= 0.0
            });
            text.extend(&words[pick.unwrap_or(0)]);
            text.push(SPACE);
        }
        text.truncate(length);
        text
    }

    /// Many texts.
    pub fn texts(&self, rng: &mut Rng, count: usize, length: usize) -> Vec<Vec<usize>> {
        (0..count).map(|_| self.text(rng, length)).collect()
    }

    fn word(&self, rng: &mut Rng) -> Vec<usize> {
        let (length, mut letter) = (3 + rng.below(4), rng.below(self.letters));
        let mut word = Vec::with_capacity(length);
        for _ in 0..length {
            word.push(letter + 2);
            letter = self.next[letter][rng.below(self.next[letter].len())];
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_repeat_their_own_words_only() {
        let language = Language::new(1, 26, 8);
        let mut rng = Rng::new(2);
        let texts = language.texts(&mut rng, 2, 600);
        let words = |text: &[usize]| {
            let mut words: Vec<Vec<usize>> = text.split(|&id| id == SPACE).map(<[_]>::to_vec).collect();
            words.pop(); // may be cut
            words.sort();
            words.dedup();
            words
        };
        let (a, b) = (words(&texts[0]), words(&texts[1]));
        assert!(a.len() <= 8 && a.len() > 4 && b.len() <= 8);
        assert!(a.iter().filter(|w| b.contains(w)).count() <= 1);
        assert!(texts.concat().iter().all(|&id| id != HIDDEN && id < language.vocab_size()));
        assert_eq!(texts, Language::new(1, 26, 8).texts(&mut Rng::new(2), 2, 600), "a function of its seeds");
    }
}

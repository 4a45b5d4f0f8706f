//! Dictionary: words with frequencies, and the most likely way to cut a text into them.
//!
//! Definition:  jieba without its hidden Markov model. Runs of Chinese characters, ASCII letters,
//!              digits and `+#&._%-` are cut into the words that maximise the sum of
//!              ln(frequency) - ln(sum of frequencies), a character with which no word begins counting 1,
//!              ties to the longer word; ASCII letters and digits that no word took are joined; every other
//!              character is a word
//! Cost:        O(n L) for words of at most L characters; the built-in dictionary has 349 000 words and
//!              takes 32 MB, and 0.3 s when a tokenizer is opened
//! Reference:   jieba 0.42, `cut(text, HMM=False)`.     Vectors: bert-wordpiece-tokenizer-and-checkpoints.json

use crate::{Error, Result};
use std::ops::Range;
use std::path::Path;

/// Words to look for before a vocabulary is applied, as RoFormer and WoBERT do.
pub struct Dictionary {
    #[cfg(feature = "jieba")]
    jieba: jieba_rs::Jieba,
    #[cfg(not(feature = "jieba"))]
    jieba: std::convert::Infallible,
    /// The file it was read from; `None` for the built-in one.
    source: Option<String>,
}

#[cfg(feature = "jieba")]
impl Dictionary {
    /// The dictionary that comes with jieba, which the published models were trained with.
    pub fn jieba() -> Result<Self> {
        Ok(Self { jieba: jieba_rs::Jieba::new(), source: None })
    }

    /// Reads a dictionary: a word, its frequency and (optionally) a tag on each line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let jieba = jieba_rs::Jieba::with_dict(&mut text.as_bytes()).map_err(|e| {
            Error::file(path, format!("{e}; expected a word, its frequency and perhaps a tag on each line"))
        })?;
        Ok(Self { jieba, source: Some(text) })
    }

    /// The words of a text, in characters: they lie end to end from the first to the last.
    pub(crate) fn cut(&self, text: &str) -> Vec<Range<usize>> {
        self.jieba.cut(text, false).into_iter().map(|word| word.start..word.end).collect()
    }
}

#[cfg(not(feature = "jieba"))]
impl Dictionary {
    /// An error: this build has no dictionary.
    pub fn jieba() -> Result<Self> {
        Err(Error::Option(Self::missing()))
    }

    /// An error: this build cannot use one.
    pub fn read(path: &Path) -> Result<Self> {
        Err(Error::file(path, Self::missing()))
    }

    fn missing() -> String {
        "a vocabulary of words needs the segmentation of jieba, which this build leaves out; build with --features jieba".into()
    }

    pub(crate) fn cut(&self, _: &str) -> Vec<Range<usize>> {
        match self.jieba {}
    }
}

impl Dictionary {
    /// The file it was read from.
    pub(crate) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }
}

#[cfg(all(test, feature = "jieba"))]
mod tests {
    use super::*;

    fn words<'t>(dictionary: &Dictionary, text: &'t str) -> Vec<&'t str> {
        let cut = dictionary.cut(text);
        let ends: Vec<usize> = cut.iter().map(|word| word.end).collect();
        assert!(cut.iter().map(|word| word.start).eq([0].into_iter().chain(ends).take(cut.len())));
        cut.into_iter().filter_map(|word| crate::span::slice(text, word)).collect()
    }

    #[test]
    fn the_most_likely_words_are_cut() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), "北京 90\n大学 85\n北京大学 40 nt\n大学生 50\n生 30\n")
            .expect("writable");
        let dictionary = Dictionary::read(file.path()).expect("valid");
        assert_eq!(words(&dictionary, "北京大学生"), ["北京", "大学生"]);
        assert_eq!(words(&dictionary, "北京大学"), ["北京大学"]);
        assert_eq!(words(&dictionary, "ab1.国 　é"), ["ab1", ".", "国", " ", "　", "é"]);
        assert_eq!(words(&dictionary, ""), [""; 0]);
    }

    #[test]
    fn a_broken_dictionary_is_named() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), "北京 often\n").expect("writable");
        let Err(error) = Dictionary::read(file.path()) else { panic!("often is no number") };
        assert!(error.to_string().contains("expected a word, its frequency"), "{error}");
    }
}

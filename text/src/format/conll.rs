//! CoNLL: one token per line with its tag, columns between tabs or blanks, a blank line after each
//! sentence.
//!
//! The first column is the token and the last its tag, unless told otherwise. Scheme and joint are
//! told from the whole file when left open, so a file is then read twice. Document markers
//! (`-DOCSTART-`) are skipped. A text is its tokens with the joint between them.

use super::bio::{self, Evidence, Misplaced, Scheme, Tag};
use super::source::{Lines, open};
use super::{Entity, Example, Examples, check_all};
use crate::{CharIndex, Error, Result, chars};
use std::io::Write;
use std::path::Path;

/// How a file is to be read; the default finds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How tags mark entities.
    pub scheme: Option<Scheme>,
    /// What stands between two tokens of a text.
    pub joint: Option<Joint>,
    /// Column of the token, from 0.
    pub token_column: usize,
    /// Column of the tag, from 0; the last when `None`.
    pub tag_column: Option<usize>,
}

/// What stands between two tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// A blank, as in English.
    Blank,
    /// Nothing, as in Chinese; chosen when at least half of the tokens with letters hold CJK.
    Nothing,
}

const EXPECTED: &str =
    "lines like `EU NNP B-ORG` or `京\\tI-LOC`: a token, its tag last, and as many columns on every line";

/// Reads a file of tagged tokens.
pub fn read(path: &Path, options: &Options) -> Result<Examples> {
    let (scheme, joint) = match (options.scheme, options.joint) {
        (Some(scheme), Some(joint)) => (scheme, joint),
        (scheme, joint) => {
            let found = survey(path, options, scheme.is_none())?;
            (scheme.unwrap_or(found.0), joint.unwrap_or(found.1))
        }
    };
    let mut sentences = Sentences::new(open(path)?, *options);
    Ok(Box::new(std::iter::from_fn(move || {
        sentences.next().map(|sentence| sentence.and_then(|s| s.example(scheme, joint, &sentences.file)))
    })))
}

/// Writes one example as a sentence. Tokens are single characters, or what stands between single
/// blanks; entities must not overlap and must begin and end with tokens.
pub fn write(out: &mut impl Write, example: &Example, scheme: Scheme, joint: Joint) -> Result<()> {
    check_all(example)?;
    let refuse = |why: String| Err(Error::Unwritable(format!("{why}; JSON Lines can hold it")));
    let index = CharIndex::new(&example.text);
    let mut starts = vec![];
    let tokens: Vec<&str> = match joint {
        Joint::Nothing => (0..index.len()).filter_map(|c| index.slice(&example.text, c..c + 1)).collect(),
        Joint::Blank => example.text.split(' ').collect(),
    };
    let mut at = 0;
    for token in &tokens {
        if token.is_empty()
            || token.contains(['\t', '\n', '\r'])
            || token.starts_with('\u{feff}')
            || token.starts_with("-DOCSTART-")
        {
            return refuse(format!("token {token:?} cannot stand on a line of its own"));
        }
        starts.push(at);
        at += token.chars().count() + usize::from(joint == Joint::Blank);
    }
    let mut entities: Vec<&Entity> = example.entities.iter().collect();
    entities.sort();
    let mut spans: Vec<(std::ops::Range<usize>, &str)> = Vec::new();
    for entity in entities {
        let first = starts.binary_search(&entity.start).ok();
        let last = starts.partition_point(|&s| s < entity.end);
        let ends = |t: usize| starts[t] + tokens[t].chars().count() == entity.end;
        let Some(first) = first.filter(|_| last > 0 && ends(last - 1)) else {
            return refuse(format!("span {}..{} ({}) cuts a token", entity.start, entity.end, entity.label));
        };
        if spans.last().is_some_and(|(span, _)| span.end > first) {
            return refuse(format!(
                "span {}..{} ({}) overlaps another",
                entity.start, entity.end, entity.label
            ));
        }
        spans.push((first..last, &entity.label));
    }
    let mut text = String::new();
    for (token, tag) in tokens.iter().zip(bio::tags(tokens.len(), &spans, scheme)) {
        text.push_str(&format!("{token}\t{tag}\n"));
    }
    text.push('\n');
    out.write_all(text.as_bytes()).map_err(|e| Error::Io { file: "output".into(), source: e })
}

/// Finds scheme and joint in the whole file.
fn survey(path: &Path, options: &Options, scheme: bool) -> Result<(Scheme, Joint)> {
    let mut evidence = Evidence::default();
    let (mut words, mut cjk) = (0, 0);
    let mut sentences = Sentences::new(open(path)?, *options);
    while let Some(sentence) = sentences.next() {
        let sentence = sentence?;
        let mut before = None;
        for (line, token, tag) in &sentence.rows {
            let tag = bio::parse(tag).map_err(|m| Error::line(&sentences.file, *line, m))?;
            evidence.add(before, tag, *line);
            before = tag;
            words += usize::from(token.chars().any(char::is_alphabetic));
            cjk += usize::from(token.chars().any(chars::is_cjk));
        }
    }
    let joint = if cjk * 2 >= words && cjk > 0 { Joint::Nothing } else { Joint::Blank };
    match evidence.scheme() {
        Ok(found) => Ok((found, joint)),
        Err((line, message)) if scheme => Err(Error::line(&sentences.file, line, message)),
        Err(_) => Ok((Scheme::Iob1, joint)), // the caller has chosen another
    }
}

/// Rows of one sentence: line, token, tag.
struct Sentence {
    rows: Vec<(usize, String, String)>,
}

impl Sentence {
    fn example(&self, scheme: Scheme, joint: Joint, file: &str) -> Result<Example> {
        let wrong = |(at, message): Misplaced| Error::line(file, self.rows[at].0, message);
        let mut tags: Vec<Tag> = Vec::with_capacity(self.rows.len());
        for (at, (.., tag)) in self.rows.iter().enumerate() {
            tags.push(bio::parse(tag).map_err(|m| wrong((at, m)))?);
        }
        let mut text = String::new();
        let (mut places, mut length) = (Vec::with_capacity(self.rows.len()), 0);
        for (_, token, _) in &self.rows {
            if joint == Joint::Blank && length > 0 {
                text.push(' ');
                length += 1;
            }
            text.push_str(token);
            let count = token.chars().count();
            places.push(length..length + count);
            length += count;
        }
        let entities = bio::spans(&tags, scheme).map_err(wrong)?.into_iter().map(|(span, label)| Entity {
            start: places[span.start].start,
            end: places[span.end - 1].end,
            label: label.to_string(),
        });
        Ok(Example { text, entities: entities.collect() })
    }
}

/// Sentences of a file; a file without any is an error, and reading ends after the first error.
struct Sentences {
    lines: Lines,
    file: String,
    options: Options,
    columns: Option<usize>,
    done: bool,
}

impl Sentences {
    fn new(lines: Lines, options: Options) -> Self {
        Self { file: lines.name().to_string(), lines, options, columns: None, done: false }
    }

    fn next(&mut self) -> Option<Result<Sentence>> {
        if self.done {
            return None;
        }
        let sentence = self.read().transpose();
        self.done = !matches!(sentence, Some(Ok(_)));
        sentence
    }

    fn read(&mut self) -> Result<Option<Sentence>> {
        let mut rows = Vec::new();
        while let Some(line) = self.lines.next() {
            let line = line?;
            if line.trim().is_empty() {
                if rows.is_empty() { continue } else { break }
            }
            if line.starts_with("-DOCSTART-") {
                continue;
            }
            let (token, tag) = self.row(&line).map_err(|m| self.lines.error(m))?;
            rows.push((self.lines.number(), token, tag));
        }
        if rows.is_empty() {
            if self.columns.is_none() {
                return Err(self.lines.file_error(format!("the file is empty; expected {EXPECTED}")));
            }
            return Ok(None);
        }
        Ok(Some(Sentence { rows }))
    }

    /// Token and tag of a line.
    fn row(&mut self, line: &str) -> Result<(String, String), String> {
        let mut columns: Vec<&str> = if line.contains('\t') {
            line.split('\t').map(|c| if c.is_empty() { " " } else { c }).collect()
        } else {
            line.split(' ').filter(|c| !c.is_empty()).collect()
        };
        // A token that is itself a blank leaves its column empty.
        if !line.contains('\t')
            && line.starts_with(' ')
            && self.columns.is_none_or(|n| n == columns.len() + 1)
        {
            columns.insert(0, " ");
        }
        let count = *self.columns.get_or_insert(columns.len());
        let tag_column = self.options.tag_column.unwrap_or(count.saturating_sub(1));
        let least = tag_column.max(self.options.token_column) + 1;
        if count < least.max(2) {
            return Err(format!("{count} columns; expected {EXPECTED}"));
        }
        if columns.len() != count {
            return Err(format!(
                "{} columns, the lines before have {count}; expected {EXPECTED}",
                columns.len()
            ));
        }
        Ok((columns[self.options.token_column].to_string(), columns[tag_column].trim().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(content: &str, options: Options) -> Result<Vec<Example>> {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), content).expect("writable");
        read(file.path(), &options)?.collect()
    }

    fn auto(content: &str) -> Vec<Example> {
        with(content, Options::default()).expect("valid")
    }

    fn message(content: &str) -> String {
        with(content, Options::default()).expect_err("broken").to_string()
    }

    fn example(text: &str, entities: &[(usize, usize, &str)]) -> Example {
        let entity = |&(start, end, label): &(usize, usize, &str)| Entity { start, end, label: label.into() };
        Example { text: text.into(), entities: entities.iter().map(entity).collect() }
    }

    #[test]
    fn english_columns_are_joined_by_blanks() {
        let read = auto(
            "-DOCSTART- -X- O O\n\nEU NNP B-NP I-ORG\nrejects VBZ B-VP O\n\nPeter NNP I-NP I-PER\nB. NNP I-NP I-PER\n",
        );
        assert_eq!(read, [example("EU rejects", &[(0, 2, "ORG")]), example("Peter B.", &[(0, 8, "PER")])]);
    }

    #[test]
    fn chinese_characters_are_joined_by_nothing() {
        let read = auto("在\tO\n北\tB-LOC\n京\tI-LOC\n2\tO\n \tO\n👍\tO\n\n\n\n好\tO\n");
        assert_eq!(read, [example("在北京2 👍", &[(1, 3, "LOC")]), example("好", &[])]);
        assert_eq!(auto("京 S-LOC\r\n  O\r\n好 O\r\n"), [example("京 好", &[(0, 1, "LOC")])]);
    }

    #[test]
    fn columns_and_joint_can_be_chosen() {
        let options = Options {
            token_column: 1,
            tag_column: Some(2),
            joint: Some(Joint::Nothing),
            ..Options::default()
        };
        let read = with("1\tab\tB-X\tO\n2\tc\tI-X\tB-Y\n", options).expect("valid");
        assert_eq!(read, [example("abc", &[(0, 3, "X")])]);
    }

    #[test]
    fn what_is_written_reads_back() {
        let chinese = example("去 北京上海", &[(2, 4, "LOC"), (4, 6, "LOC")]);
        let english = example("EU Peter B. ok", &[(0, 2, "PER"), (3, 11, "PER")]);
        for scheme in [Scheme::Bio, Scheme::Iob1, Scheme::Bioes] {
            for (example, joint) in [(&chinese, Joint::Nothing), (&english, Joint::Blank)] {
                let mut out = Vec::new();
                write(&mut out, example, scheme, joint).expect("writable");
                let read = auto(std::str::from_utf8(&out).expect("UTF-8"));
                assert_eq!(&read, std::slice::from_ref(example), "{scheme:?}");
            }
        }
    }

    #[test]
    fn what_the_format_cannot_hold_is_not_written() {
        let refused = |example: Example, joint| {
            let error = write(&mut Vec::new(), &example, Scheme::Bio, joint).expect_err("unwritable");
            error.to_string()
        };
        assert!(refused(example("北京市", &[(0, 2, "A"), (0, 3, "B")]), Joint::Nothing).contains("overlaps"));
        assert!(refused(example("EU's", &[(0, 2, "A")]), Joint::Blank).contains("cuts a token"));
        assert!(refused(example("a  b", &[]), Joint::Blank).contains("cannot stand"));
        assert!(refused(example("-DOCSTART- b", &[]), Joint::Blank).contains("cannot stand"));
        assert!(refused(example("a\nb", &[]), Joint::Nothing).contains("cannot stand"));
        assert!(refused(example("a", &[(0, 2, "A")]), Joint::Nothing).contains("ends after the text"));
    }

    #[test]
    fn broken_files_are_named_with_their_line() {
        assert!(message("a O\nb\n").contains(":2: 1 columns, the lines before have 2"));
        assert!(message("a\nb\n").contains(":1: 1 columns; expected lines like"));
        assert!(message("a O\n\nb X-Y\n").contains(":3: tag \"X-Y\" begins with \"X\""));
        assert!(
            message("a B-X\nb O\nc I-X\n")
                .contains(":3: an entity begins with I- here and with B- on line 1")
        );
        assert!(message("a B-X\nb E-X\nc E-X\n").contains(":3: E-X continues no X"));
        assert!(message("\n-DOCSTART- O\n").contains("the file is empty"));
        let chosen = |scheme| Options { scheme: Some(scheme), ..Options::default() };
        let mixed = "a B-X\nb O\nc I-X\n";
        assert_eq!(with(mixed, chosen(Scheme::Iob1)).expect("lenient")[0].entities.len(), 2);
        assert!(
            with(mixed, chosen(Scheme::Bio))
                .expect_err("strict")
                .to_string()
                .contains(":3: I-X continues no X")
        );
    }
}

//! JSON Lines: one object per line, `{"text", "entities": [{"start", "end", "label"}]}`.
//!
//! Unknown fields are ignored. An entity may repeat its `text`, which is then compared.

use super::source::{Lines, PerLine, State, open};
use super::{Entity, Example, Examples, check, check_all};
use crate::{CharIndex, Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::Path;

const EXPECTED: &str = r#"lines like {"text": "...", "entities": [{"start": 0, "end": 2, "label": "name"}]}"#;

/// Reads labelled texts; an object without `entities` is an error.
pub fn read(path: &Path) -> Result<Examples> {
    Ok(labelled(open(path)?))
}

/// Reads labelled texts from an open input, called `name` in errors.
pub fn parse(input: Box<dyn BufRead + Send>, name: &str) -> Examples {
    labelled(Lines::new(input, name.to_string()))
}

/// Reads the `text` of every line and ignores labels.
pub fn read_texts(path: &Path) -> Result<Box<dyn Iterator<Item = Result<String>> + Send>> {
    Ok(texts(open(path)?))
}

/// Reads the `text` of every line of an open input, called `name` in errors.
pub fn parse_texts(
    input: Box<dyn BufRead + Send>,
    name: &str,
) -> Box<dyn Iterator<Item = Result<String>> + Send> {
    texts(Lines::new(input, name.to_string()))
}

/// Writes one example as one line; every entity repeats its text for the reader's eye.
pub fn write(out: &mut impl Write, example: &Example) -> Result<()> {
    check_all(example)?;
    let index = CharIndex::new(&example.text);
    let entities = example
        .entities
        .iter()
        .map(|e| LineEntity {
            start: e.start,
            end: e.end,
            label: e.label.clone(),
            text: index.slice(&example.text, e.span()).map(String::from),
        })
        .collect();
    let line = Line { text: example.text.clone(), entities: Some(entities) };
    let io = |e: std::io::Error| Error::Io { file: "output".into(), source: e };
    serde_json::to_writer(&mut *out, &line).map_err(|e| io(e.into()))?;
    out.write_all(b"\n").map_err(io)
}

#[derive(Serialize, Deserialize)]
struct Line {
    text: String,
    entities: Option<Vec<LineEntity>>,
}

#[derive(Deserialize)]
struct TextLine {
    text: String,
}

#[derive(Serialize, Deserialize)]
struct LineEntity {
    start: usize,
    end: usize,
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

fn labelled(lines: Lines) -> Examples {
    Box::new(PerLine { lines, parse: example, expected: EXPECTED, state: State::Nothing })
}

fn texts(lines: Lines) -> Box<dyn Iterator<Item = Result<String>> + Send> {
    let parse = |line: &str| object::<TextLine>(line).map(|line| line.text);
    Box::new(PerLine { lines, parse, expected: r#"lines like {"text": "..."}"#, state: State::Nothing })
}

fn object<T: for<'a> Deserialize<'a>>(line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|e| format!("{}; expected {EXPECTED}", reason(&e)))
}

/// serde_json's message with its column, but not its line, which is always 1 here.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("{message} (column {})", error.column())
}

fn example(line: &str) -> Result<Example, String> {
    let line: Line = object(line)?;
    let Some(entities) = line.entities else {
        return Err(format!(
            "there is no `entities`; expected {EXPECTED}, with an empty list for a text without entities"
        ));
    };
    let index = CharIndex::new(&line.text);
    let entities = entities
        .into_iter()
        .map(|e| {
            let entity = Entity { start: e.start, end: e.end, label: e.label };
            check(&line.text, &index, &entity, e.text.as_deref())?;
            Ok(entity)
        })
        .collect::<Result<_, String>>()?;
    Ok(Example { text: line.text, entities })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn all(content: impl Into<Vec<u8>>) -> Result<Vec<Example>> {
        parse(Box::new(Cursor::new(content.into())), "in.jsonl").collect()
    }

    fn message(content: impl Into<Vec<u8>>) -> String {
        all(content).expect_err("the input is broken").to_string()
    }

    fn entity(start: usize, end: usize, label: &str) -> Entity {
        Entity { start, end, label: label.into() }
    }

    #[test]
    fn spans_count_characters_and_unknown_fields_are_ignored() {
        let line = r#"{"id":7,"text":"👍去北京","entities":[{"start":2,"end":4,"label":"LOC","text":"北京","score":1}]}"#;
        let read = all(format!("\u{feff}{line}\r\n\n{line}")).expect("valid");
        assert_eq!(read.len(), 2);
        assert_eq!(read[0], Example { text: "👍去北京".into(), entities: vec![entity(2, 4, "LOC")] });
    }

    #[test]
    fn what_is_written_reads_back() {
        let example =
            Example { text: "a\u{2028}\n\"中".into(), entities: vec![entity(4, 5, "x"), entity(0, 5, "y")] };
        let mut out = Vec::new();
        write(&mut out, &example).expect("writable");
        assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), 1);
        assert_eq!(all(out).expect("valid"), [example]);
    }

    #[test]
    fn an_example_with_a_wrong_span_is_not_written() {
        let example = Example { text: "中".into(), entities: vec![entity(0, 2, "x")] };
        assert!(write(&mut Vec::new(), &example).is_err());
    }

    #[test]
    fn wrong_spans_are_named_with_file_and_line() {
        let line = |entity: &str| {
            format!("{{\"text\":\"a\",\"entities\":[]}}\n{{\"text\":\"去北京吧\",\"entities\":[{entity}]}}")
        };
        let after = message(line(r#"{"start":1,"end":5,"label":"L"}"#));
        assert!(after.starts_with("in.jsonl:2: span 1..5 (L) ends after the text (4 characters)"), "{after}");
        assert!(message(line(r#"{"start":2,"end":2,"label":"L"}"#)).contains("is empty"));
        assert!(message(line(r#"{"start":3,"end":2,"label":"L"}"#)).contains("is empty"));
        assert!(message(line(r#"{"start":1,"end":2,"label":""}"#)).contains("empty label"));
        assert!(message(line(r#"{"start":-1,"end":2,"label":"L"}"#)).contains("in.jsonl:2: invalid value"));
        let stated = |start: usize, end: usize| {
            message(line(&format!(r#"{{"start":{start},"end":{end},"label":"L","text":"北京"}}"#)))
        };
        assert!(
            stated(1, 2)
                .contains("holds \"北\", but its text is given as \"北京\" (are the ends inclusive?)")
        );
        assert!(stated(0, 2).contains("(found at 1)"));
    }

    #[test]
    fn broken_lines_are_named_with_file_and_line() {
        assert!(message("{\"text\":\"a\",").starts_with("in.jsonl:1: EOF while parsing"));
        assert!(message("{\"text\":\"a\"}").contains("there is no `entities`"));
        assert!(message("[]").contains("expected lines like"));
        assert!(message(b"{\"text\":\"\xff\"}".to_vec()).contains("in.jsonl:1: byte 10 is not UTF-8"));
        assert!(message("\n \n").contains("in.jsonl: the file is empty"));
    }

    #[test]
    fn reading_ends_after_the_first_error() {
        let mut examples = parse(Box::new(Cursor::new("x\nx\n")), "in");
        assert!(examples.next().is_some_and(|e| e.is_err()));
        assert!(examples.next().is_none());
    }

    #[test]
    fn texts_need_no_labels() {
        let texts: Result<Vec<_>> =
            parse_texts(Box::new(Cursor::new("{\"text\":\"a\"}\n{\"text\":\"b\",\"entities\":3}")), "in")
                .collect();
        assert_eq!(texts.expect("valid"), ["a", "b"]);
    }

    #[test]
    fn packed_files_are_known_by_their_first_bytes() {
        let line = b"{\"text\":\"\xe4\xb8\xad\",\"entities\":[]}\n".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&line).expect("in memory");
        let packed = [
            line.clone(),
            gzip.finish().expect("in memory"),
            zstd::encode_all(&line[..], 1).expect("in memory"),
        ];
        let directory = tempfile::tempdir().expect("temporary folder");
        let path = directory.path().join("data.txt");
        for bytes in &packed {
            std::fs::write(&path, bytes).expect("writable");
            let count =
                read(&path).expect("opens").filter(|e| e.as_ref().is_ok_and(|e| e.text == "中")).count();
            assert_eq!(count, 100);
        }
        std::fs::write(&path, &packed[2][..packed[2].len() - 6]).expect("writable");
        let last = read(&path).expect("opens").last().expect("an item");
        assert!(last.expect_err("cut short").to_string().contains("is the file complete?"));
    }
}

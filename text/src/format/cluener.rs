//! CLUENER: `{"text", "label": {"name": {"叶老桂": [[9, 11]]}}}` per line; ends are inclusive there,
//! and half-open once read.

use super::source::{Lines, PerLine, State, open};
use super::{Entity, Example, Examples, check, check_all, jsonl};
use crate::{CharIndex, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;

const EXPECTED: &str = r#"lines like {"text": "叶老桂说", "label": {"name": {"叶老桂": [[0, 2]]}}}"#;

/// Label, then text of the entity, then its places.
type Labels = BTreeMap<String, BTreeMap<String, Vec<[usize; 2]>>>;

#[derive(Serialize, Deserialize)]
struct Line {
    text: String,
    label: Option<Labels>,
}

/// Reads labelled texts; entities come in the order of the text.
pub fn read(path: &Path) -> Result<Examples> {
    Ok(labelled(open(path)?))
}

/// Reads labelled texts from an open input, called `name` in errors.
pub fn parse(input: Box<dyn BufRead + Send>, name: &str) -> Examples {
    labelled(Lines::new(input, name.to_string()))
}

/// Writes one example as one line.
pub fn write(out: &mut impl Write, example: &Example) -> Result<()> {
    check_all(example)?;
    let index = CharIndex::new(&example.text);
    let mut label = Labels::new();
    for entity in &example.entities {
        let text = index.slice(&example.text, entity.span()).unwrap_or_default().to_string();
        let places = label.entry(entity.label.clone()).or_default().entry(text).or_default();
        places.push([entity.start, entity.end - 1]);
    }
    let line = Line { text: example.text.clone(), label: Some(label) };
    let io = |e: std::io::Error| Error::Io { file: "output".into(), source: e };
    serde_json::to_writer(&mut *out, &line).map_err(|e| io(e.into()))?;
    out.write_all(b"\n").map_err(io)
}

fn labelled(lines: Lines) -> Examples {
    Box::new(PerLine { lines, parse: example, expected: EXPECTED, state: State::Nothing })
}

fn example(line: &str) -> Result<Example, String> {
    let line: Line =
        serde_json::from_str(line).map_err(|e| format!("{}; expected {EXPECTED}", jsonl::reason(&e)))?;
    let Some(labels) = line.label else {
        return Err(format!(
            "there is no `label`; expected {EXPECTED}, with {{}} for a text without entities"
        ));
    };
    let index = CharIndex::new(&line.text);
    let mut entities = Vec::new();
    for (label, texts) in &labels {
        for (text, places) in texts {
            for &[start, last] in places {
                let end = last.saturating_add(1);
                let entity = Entity { start, end, label: label.clone() };
                check(&line.text, &index, &entity, Some(text)).map_err(|message| {
                    format!("[{start}, {last}] is read as {start}..{end} (CLUENER's ends are inclusive): {message}")
                })?;
                entities.push(entity);
            }
        }
    }
    entities.sort();
    Ok(Example { text: line.text, entities })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn all(content: &str) -> Result<Vec<Example>> {
        parse(Box::new(Cursor::new(content.to_string())), "in").collect()
    }

    fn entity(start: usize, end: usize, label: &str) -> Entity {
        Entity { start, end, label: label.into() }
    }

    #[test]
    fn inclusive_ends_become_half_open() {
        let line =
            r#"{"text":"北京和叶老桂","label":{"name":{"叶老桂":[[3,5]]},"address":{"北京":[[0,1]]}}}"#;
        let read = all(line).expect("valid");
        assert_eq!(read[0].entities, [entity(0, 2, "address"), entity(3, 6, "name")]);
    }

    #[test]
    fn what_is_written_reads_back() {
        let entities = vec![entity(0, 1, "x"), entity(0, 2, "y"), entity(1, 2, "x"), entity(3, 4, "x")];
        let example = Example { text: "👍👍👍中".into(), entities };
        let mut out = Vec::new();
        write(&mut out, &example).expect("writable");
        assert_eq!(all(std::str::from_utf8(&out).expect("UTF-8")).expect("valid"), [example]);
    }

    #[test]
    fn wrong_places_are_named() {
        let line = |place: &str| format!(r#"{{"text":"北京吧","label":{{"x":{{"北京":[{place}]}}}}}}"#);
        let message = |place: &str| all(&line(place)).expect_err("broken").to_string();
        assert!(message("[0,2]").starts_with(
            "in:1: [0, 2] is read as 0..3 (CLUENER's ends are inclusive): span 0..3 (x) holds \"北京吧\""
        ));
        assert!(message("[2,3]").contains("ends after the text (3 characters)"));
        assert!(message("[1,0]").contains("is empty"));
        assert!(message("[0]").contains("invalid length 1"));
        assert!(message("[0,18446744073709551615]").contains("ends after the text"));
        assert!(
            all(r#"{"id":0,"text":"未标注"}"#)
                .expect_err("unlabelled")
                .to_string()
                .contains("there is no `label`")
        );
        assert!(all("").expect_err("empty").to_string().contains("the file is empty"));
    }
}

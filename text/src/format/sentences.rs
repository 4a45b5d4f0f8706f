//! Sentences and what is known about them: pairs with labels, queries with positives and negatives,
//! groups of one meaning, or texts alone.
//!
//! JSON Lines, CSV or TSV with a header, TSV of two or three columns, STS-B's TSV (score and texts in
//! columns 5 to 7), or one text a line; plain, gzip or zstd. The first line decides.

mod columns;

use super::source::{Lines, open};
use crate::{Error, Result};
use columns::Columns;
use serde_json::{Map, Value};
use std::path::Path;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Sentences {
    /// A text alone.
    Single(String),
    /// Two texts, and how alike they are.
    Pair {
        /// The first text.
        first: String,
        /// The second text.
        second: String,
        /// None when the file has no labels: then they are alike.
        label: Option<Label>,
    },
    /// A query, texts that answer it and texts that do not; a triplet has one of each.
    Query {
        /// The query, the anchor.
        query: String,
        /// At least one text.
        positives: Vec<String>,
        /// Hard negatives.
        negatives: Vec<String>,
    },
    /// At least two texts of one meaning.
    Group(Vec<String>),
}

/// How alike two texts are.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// A number, never NaN or infinite.
    Number(f64),
    /// The name of a class.
    Name(String),
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number, from 1.
    pub line: usize,
    /// What it says.
    pub sentences: Sentences,
}

/// A stream of records.
pub struct Records {
    lines: Lines,
    shape: Option<Shape>,
    done: bool,
}

enum Shape {
    Json,
    Columns(Columns),
    Lines,
}

const EXPECTED: &str =
    "{\"text_a\", \"text_b\", \"label\"}, {\"query\", \"pos\", \"neg\"}, {\"texts\"} or {\"text\"}";

/// Names of the first text, the second, the negative and the label, in JSON and in headers.
const FIRST: [&str; 9] =
    ["text_a", "text1", "sentence1", "sentence_a", "premise", "query", "anchor", "question1", "s1"];
const SECOND: [&str; 9] =
    ["text_b", "text2", "sentence2", "sentence_b", "hypothesis", "positive", "document", "question2", "s2"];
const NEGATIVE: [&str; 1] = ["negative"];
const LABEL: [&str; 6] = ["label", "score", "similarity", "is_duplicate", "gold_label", "relatedness"];

/// Reads a file of sentences.
pub fn read(path: &Path) -> Result<Records> {
    Ok(Records { lines: open(path)?, shape: None, done: false })
}

impl Iterator for Records {
    type Item = Result<Record>;

    /// Blank lines are skipped; ends after the first error. A file without any record is an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.record().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl Records {
    fn record(&mut self) -> Result<Option<Record>> {
        loop {
            let Some(line) = self.lines.next().transpose()? else {
                return match self.shape {
                    Some(Shape::Columns(ref columns)) if columns.is_unread() => {
                        Err(self.lines.file_error("there is a header, and no line after it"))
                    }
                    Some(_) => Ok(None),
                    None => Err(self.lines.file_error("the file is empty; expected sentences")),
                };
            };
            if line.trim().is_empty() {
                continue;
            }
            let named = |message: String| self.lines.error(message);
            if self.shape.is_none() {
                let (shape, is_header) = Shape::of(&line, self.lines.name()).map_err(named)?;
                self.shape = Some(shape);
                if is_header {
                    continue;
                }
            }
            let sentences = match self.shape.as_mut() {
                Some(Shape::Json) => json(&line),
                Some(Shape::Columns(columns)) => columns.parse(&line),
                Some(Shape::Lines) | None => text(line.trim(), "text").map(Sentences::Single),
            };
            let sentences = sentences.map_err(|message| self.lines.error(message))?;
            return Ok(Some(Record { line: self.lines.number(), sentences }));
        }
    }

    /// An error about the line read last.
    pub fn error(&self, message: impl Into<String>) -> Error {
        self.lines.error(message)
    }
}

impl Shape {
    /// The shape of a file by its first line, and whether that line is a header.
    fn of(line: &str, name: &str) -> std::result::Result<(Self, bool), String> {
        if line.trim_start().starts_with('{') {
            return Ok((Shape::Json, false));
        }
        let packed = name.trim_end_matches(".gz").trim_end_matches(".zst");
        let separator = if line.contains('\t') {
            '\t'
        } else if packed.ends_with(".csv") {
            ','
        } else {
            return Ok((Shape::Lines, false));
        };
        let (columns, is_header) = Columns::of(line, separator)?;
        Ok((Shape::Columns(columns), is_header))
    }
}

/// A text that says something.
fn text(text: &str, what: &str) -> std::result::Result<String, String> {
    if text.trim().is_empty() {
        return Err(format!("{what} is empty; a text needs at least one character that is no space"));
    }
    Ok(text.to_string())
}

/// A label from a cell or a string: a number, or a name that is no number.
fn label(cell: &str) -> std::result::Result<Label, String> {
    let cell = cell.trim();
    match cell.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Label::Number(number)),
        Ok(_) => Err(format!("label {cell} is not a number that can be compared; remove the line")),
        Err(_) if cell.is_empty() || cell == "-" || cell == "NULL" || cell == "NA" => {
            Err(format!("label {cell:?} is missing; give one, or remove the line"))
        }
        Err(_) => Ok(Label::Name(cell.to_string())),
    }
}

fn json(line: &str) -> std::result::Result<Sentences, String> {
    let object: Map<String, Value> = serde_json::from_str(line)
        .map_err(|e| format!("{}; expected lines like {EXPECTED}", super::jsonl::reason(&e)))?;
    let named = |names: &[&'static str]| names.iter().find_map(|n| Some((*n, object.get(*n)?)));
    let one = |(name, value): (&str, &Value)| match value {
        Value::String(value) => text(value, name),
        other => Err(format!("{name} is {other}; expected a text")),
    };
    let list = |name: &str| -> std::result::Result<Vec<String>, String> {
        match object.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| one((name, item))).collect(),
            Some(Value::String(item)) => Ok(vec![text(item, name)?]),
            Some(other) => Err(format!("{name} is {other}; expected a list of texts")),
        }
    };
    if object.contains_key("pos") {
        let query = named(&FIRST).ok_or("there are positives, but no query")?;
        let (query, positives, negatives) = (one(query)?, list("pos")?, list("neg")?);
        if positives.is_empty() {
            return Err("pos is an empty list; a query needs at least one text that answers it".into());
        }
        return Ok(Sentences::Query { query, positives, negatives });
    }
    for (first, rest) in [(None, "texts"), (Some("text"), "synonyms")] {
        if object.contains_key(rest) {
            let mut group = first
                .and_then(|f| object.get_key_value(f))
                .map_or(Ok(Vec::new()), |(n, v)| Ok::<_, String>(vec![one((n, v))?]))?;
            group.extend(list(rest)?);
            if group.len() < 2 {
                return Err(format!("{rest}: a group of {}; expected at least two texts", group.len()));
            }
            return Ok(Sentences::Group(group));
        }
    }
    match (named(&FIRST), named(&SECOND), named(&NEGATIVE)) {
        (Some(first), Some(second), None) => {
            let label = match named(&LABEL) {
                None => None,
                Some((_, Value::Number(n))) => n.as_f64().map(Label::Number),
                Some((_, Value::Bool(b))) => Some(Label::Number(f64::from(u8::from(*b)))),
                Some((_, Value::String(cell))) => Some(label(cell)?),
                Some((name, other)) => {
                    return Err(format!(
                        "{name} is {other}; expected a number or a name, or remove the line"
                    ));
                }
            };
            Ok(Sentences::Pair { first: one(first)?, second: one(second)?, label })
        }
        (Some(query), Some(positive), Some(negative)) => Ok(Sentences::Query {
            query: one(query)?,
            positives: vec![one(positive)?],
            negatives: vec![one(negative)?],
        }),
        (Some((name, _)), None, _) => {
            Err(format!("the pair has one side only: there is {name}, but none of {}", SECOND.join(", ")))
        }
        (None, Some((name, _)), _) => {
            Err(format!("the pair has one side only: there is {name}, but none of {}", FIRST.join(", ")))
        }
        (None, None, _) => match object.get_key_value("text") {
            Some((name, value)) => Ok(Sentences::Single(one((name, value))?)),
            None => Err(format!("expected lines like {EXPECTED}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(name: &str, content: &str) -> Result<Vec<Sentences>> {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("writable");
        read(&path)?.map(|r| r.map(|r| r.sentences)).collect()
    }

    fn pair(first: &str, second: &str, label: Option<f64>) -> Sentences {
        Sentences::Pair { first: first.into(), second: second.into(), label: label.map(Label::Number) }
    }

    fn query(query: &str, positives: &[&str], negatives: &[&str]) -> Sentences {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        Sentences::Query { query: query.into(), positives: own(positives), negatives: own(negatives) }
    }

    #[test]
    fn json_lines_of_every_kind() {
        let content = r#"{"text_a":"a","text_b":"b","label":1}
{"sentence1":"a","sentence2":"b","score":"2.5"}

{"premise":"a","hypothesis":"b","label":"entailment"}
{"anchor":"a","positive":"b","negative":"c"}
{"query":"q","pos":["a","b"],"neg":["c"],"prompt":"x"}
{"query":"q","document":"d"}
{"texts":["a","b","c"]}
{"text":"a","synonyms":["b"]}
{"text":"a"}"#;
        let entailed = Some(Label::Name("entailment".into()));
        assert_eq!(
            all("x.jsonl", content).expect("valid"),
            [
                pair("a", "b", Some(1.0)),
                pair("a", "b", Some(2.5)),
                Sentences::Pair { first: "a".into(), second: "b".into(), label: entailed },
                query("a", &["b"], &["c"]),
                query("q", &["a", "b"], &["c"]),
                pair("q", "d", None),
                Sentences::Group(["a", "b", "c"].map(String::from).to_vec()),
                Sentences::Group(["a", "b"].map(String::from).to_vec()),
                Sentences::Single("a".into()),
            ]
        );
    }

    #[test]
    fn columns_with_and_without_a_header() {
        let two = [pair("a, b", "c", Some(1.0)), pair("d", "e\"f", Some(0.0))];
        assert_eq!(all("x.csv", "text1,text2,label\n\"a, b\",c,1\nd,\"e\"\"f\",0\n").expect("valid"), two);
        assert_eq!(all("x.tsv", "label\ttext_b\ttext_a\n1\tc\ta, b\n0\te\"f\td\n").expect("valid"), two);
        assert_eq!(all("x.txt", "a, b\tc\t1\nd\te\"f\t0\n").expect("valid"), two);
        assert_eq!(all("x.txt", "a\tb\n").expect("valid"), [pair("a", "b", None)]);
        let sts = "main-captions\tMSRvid\t2012test\t0001\t5.000\tA plane.\tAn air plane.\n";
        assert_eq!(all("sts-train.csv", sts).expect("valid"), [pair("A plane.", "An air plane.", Some(5.0))]);
        let triplets = "anchor\tpositive\tnegative\na\tb\tc\n";
        assert_eq!(all("x.tsv", triplets).expect("valid"), [query("a", &["b"], &["c"])]);
        let lines = ["a, b", "c"].map(|s| Sentences::Single(s.into()));
        assert_eq!(all("x.txt", "a, b\n\n c \n").expect("valid"), lines);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        let error = |name: &str, content: &str| all(name, content).expect_err("wrong").to_string();
        let json = |line: &str| error("x.jsonl", &format!("{{\"text\":\"a\"}}\n{line}\n"));
        assert!(json(r#"{"text_a":"a","text_b":" \t","label":1}"#).contains("x.jsonl:2: text_b is empty"));
        assert!(json(r#"{"text_a":"a","label":1}"#).contains(":2: the pair has one side only"));
        assert!(
            json(r#"{"text_a":"a","text_b":"b","label":"nan"}"#).contains(":2: label nan is not a number")
        );
        assert!(json(r#"{"text_a":"a","text_b":"b","label":null}"#).contains(":2: label is null"));
        assert!(json(r#"{"text_a":"a","text_b":7}"#).contains(":2: text_b is 7; expected a text"));
        assert!(json(r#"{"query":"a","pos":[]}"#).contains("at least one text that answers"));
        assert!(json(r#"{"texts":["a"]}"#).contains("a group of 1"));
        assert!(json(r#"{"id":1}"#).contains(":2: expected lines like"));
        assert!(json("{").contains(":2: EOF"));
        assert!(error("x.tsv", "a\tb\t1\na\t\t1\n").contains("x.tsv:2: the second text is empty"));
        assert!(error("x.tsv", "a\tb\t1\na\tb\n").contains(":2: 2 columns, expected 3"));
        assert!(error("x.tsv", "a\tb\tinf\n").contains(":1: label inf is not a number"));
        assert!(error("x.csv", "text1,text2,label\na,\"b,1\n").contains(":2: a quote is not closed"));
        assert!(error("x.csv", "foo,bar\na,b\n").contains("a header with names such as text1, text2"));
        assert!(error("x.csv", "text1,text2\n").contains("no line after it"));
        assert!(error("x.txt", " \n").contains("the file is empty"));
    }
}

//! Where texts come from: arguments, a file, or standard input.
//!
//! A file whose first line begins with `{` is JSON Lines with `text` (and, if given, `id`); any other
//! file is one text per line, where a blank line is an empty text, so that lines and answers match.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, stdin};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::command::usage;

/// Read at once: enough for a full batch of texts, little for the memory.
const BUFFER: usize = 1 << 20;

/// One text to answer.
pub struct Text {
    /// Where it stands, for errors: `file:line`.
    pub place: String,
    /// What it is called in the answer, if its record has a name.
    pub id: Option<Value>,
    pub text: String,
    /// Its line, where texts are records of JSON.
    pub record: Option<String>,
}

/// Texts in their order, of any number.
pub enum Texts {
    Arguments(std::vec::IntoIter<Text>),
    Lines(Lines),
}

pub struct Lines {
    reader: BufReader<Box<dyn std::io::Read>>,
    name: String,
    number: usize,
    /// Whether lines are JSON; the first line decides.
    json: Option<bool>,
}

/// The texts that the arguments name: themselves, the lines of one file, or of standard input (`-`
/// or nothing).
pub fn texts(arguments: &[String]) -> Result<Texts> {
    match arguments {
        [] if stdin().is_terminal() => Err(usage("no text; give texts, a file, or - for standard input")),
        [] => Ok(Texts::lines(Box::new(stdin()), "standard input")),
        [one] if one == "-" => Ok(Texts::lines(Box::new(stdin()), "standard input")),
        [one] if Path::new(one).is_file() => {
            let file = File::open(one).with_context(|| format!("{one}: cannot be opened"))?;
            Ok(Texts::lines(Box::new(file), one))
        }
        [one] if Path::new(one).is_dir() => bail!("{one}: is a folder; expected a file of texts, or a text"),
        [one] if looks_like_a_file(one) => {
            bail!("{one}: there is no such file; a text that looks like this can be piped: echo TEXT | .. -")
        }
        many => {
            if let Some(file) = many.iter().find(|a| Path::new(a.as_str()).is_file()) {
                return Err(usage(&format!(
                    "{file} is a file among other arguments; give one file, or pipe several: cat FILE.. | .. -"
                )));
            }
            let text = |(i, text): (usize, &String)| Text {
                place: format!("text {}", i + 1),
                id: None,
                text: text.clone(),
                record: None,
            };
            let texts: Vec<Text> = many.iter().enumerate().map(text).collect();
            Ok(Texts::Arguments(texts.into_iter()))
        }
    }
}

fn looks_like_a_file(argument: &str) -> bool {
    let ends = [".txt", ".jsonl", ".json", ".csv", ".tsv", ".gz", ".zst"];
    !argument.contains(char::is_whitespace) && ends.iter().any(|end| argument.ends_with(end))
}

impl Texts {
    fn lines(reader: Box<dyn std::io::Read>, name: &str) -> Self {
        let reader = BufReader::with_capacity(BUFFER, reader);
        Texts::Lines(Lines { reader, name: name.to_string(), number: 0, json: None })
    }

    /// The next texts, at most `most`; empty at the end. Takes what is there and waits only for the
    /// first, so that whoever types or streams lines gets answers at once.
    pub fn chunk(&mut self, most: usize) -> Result<Vec<Text>> {
        let lines = match self {
            Texts::Arguments(texts) => return Ok(texts.by_ref().take(most).collect()),
            Texts::Lines(lines) => lines,
        };
        let mut chunk = Vec::new();
        while chunk.len() < most && (chunk.is_empty() || lines.has_whole_line()) {
            match lines.next()? {
                Some(text) => chunk.push(text),
                None => break,
            }
        }
        Ok(chunk)
    }
}

#[derive(Deserialize)]
struct Record {
    id: Option<Value>,
    text: String,
}

impl Lines {
    fn has_whole_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    fn next(&mut self) -> Result<Option<Text>> {
        loop {
            let mut bytes = Vec::new();
            let name = &self.name;
            let read = self.reader.read_until(b'\n', &mut bytes);
            if read.with_context(|| format!("{name}: cannot be read"))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let place = format!("{name}:{}", self.number);
            if self.number == 1
                && (bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))
            {
                bail!(
                    "{name}: is compressed; unpack it on the way: zcat or zstdcat FILE | bert4rs predict MODEL -"
                );
            }
            let Ok(line) = String::from_utf8(bytes) else {
                bail!(
                    "{place}: is not UTF-8; convert the file first (GB18030: iconv -f GB18030 -t UTF-8 FILE)"
                );
            };
            let line = if self.number == 1 { line.trim_start_matches('\u{feff}') } else { &line };
            let line = line.trim_end_matches(['\n', '\r']);
            let json = *self.json.get_or_insert_with(|| line.trim_start().starts_with('{'));
            if !json {
                return Ok(Some(Text { place, id: None, text: line.to_string(), record: None }));
            }
            if line.trim().is_empty() {
                continue;
            }
            let record: Record = serde_json::from_str(line).map_err(|e| {
                let message = e.to_string();
                let reason = message.split(" at line ").next().unwrap_or_default();
                anyhow::anyhow!(
                    "{place}: {reason} (column {}); expected lines like {{\"text\": \"...\"}}",
                    e.column()
                )
            })?;
            let line = Some(line.to_string());
            return Ok(Some(Text { place, id: record.id, text: record.text, record: line }));
        }
    }
}

//! Where texts come from: arguments, a file, or standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, stdin};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

type Texts = Box<dyn Iterator<Item = Result<String>>>;

/// The texts that the arguments name: themselves, the lines of one file, or of standard input (`-`
/// or nothing).
#[allow(clippy::unnecessary_to_owned)] // the iterator outlives the arguments
pub fn texts(arguments: &[String]) -> Result<Texts> {
    match arguments {
        [] if stdin().is_terminal() => bail!("no text; give texts, a file, or - for standard input"),
        [] => Ok(lines(BufReader::new(stdin()), "standard input".into())),
        [one] if one == "-" => Ok(lines(BufReader::new(stdin()), "standard input".into())),
        [one] if Path::new(one).is_file() => {
            let file = File::open(one).with_context(|| format!("{one}: cannot be opened"))?;
            Ok(lines(BufReader::new(file), one.clone()))
        }
        many => Ok(Box::new(many.to_vec().into_iter().map(Ok))),
    }
}

#[derive(Deserialize)]
struct Record {
    text: String,
}

/// One text per line; lines that are JSON objects give their `text`.
fn lines(mut reader: impl BufRead + 'static, name: String) -> Texts {
    let mut number = 0;
    let mut next = move || -> Result<Option<String>> {
        let mut bytes = Vec::new();
        if reader.read_until(b'\n', &mut bytes).with_context(|| format!("{name}: cannot be read"))? == 0 {
            return Ok(None);
        }
        number += 1;
        let Ok(line) = String::from_utf8(bytes) else {
            bail!("{name}:{number}: not valid UTF-8; convert the file, for example with iconv");
        };
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.trim_start().starts_with('{') {
            return Ok(Some(line.to_string()));
        }
        let record: Record = serde_json::from_str(line)
            .with_context(|| format!("{name}:{number}: expected a JSON object with a string \"text\""))?;
        Ok(Some(record.text))
    };
    Box::new(std::iter::from_fn(move || next().transpose()))
}

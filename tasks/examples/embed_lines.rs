//! One vector per line of text, as JSON:
//!
//!     cargo run --release -p bert4rs-tasks --example embed_lines -- FOLDER < lines
//!
//! With `--ids` after the folder, token ids instead of vectors.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use bert4rs_tasks::sentence::{Options, SentenceEncoder};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder: PathBuf = args.next().ok_or("usage: embed_lines FOLDER [--ids] < lines")?.into();
    let ids = args.next().is_some_and(|arg| arg == "--ids");
    let lines = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if ids {
        let tokenizer = bert4rs_text::Tokenizer::from_dir(&folder)?;
        for line in &lines {
            writeln!(out, "{:?}", tokenizer.encode(line, None)?.ids)?;
        }
        return Ok(out.flush()?);
    }
    let model = SentenceEncoder::open(&folder)?;
    let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
    let start = std::time::Instant::now();
    let found = model.encode(&texts, &Options::default())?;
    for vector in &found.vectors {
        serde_json::to_writer(&mut out, vector)?;
        writeln!(out)?;
    }
    let (n, cut) = (texts.len(), found.truncated.len());
    eprintln!("{n} vectors of {} in {:.2?}; {cut} texts cut to fit", model.width(), start.elapsed());
    Ok(out.flush()?)
}

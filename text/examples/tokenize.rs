//! Tokenizes the lines of a file, beside the `tokenizers` crate.
//!
//! `tokenize MODEL TEXT check` compares ids and spans of every line with the crate's, as they are
//! and with all line ends inside one text. `tokenize MODEL TEXT` reads commands from its standard
//! input, `ours` or `crate`, and answers each with the seconds and tokens of one pass over the text;
//! `benches/peers/tokenization.py` drives it. RAYON_NUM_THREADS sets the threads of `ours`.

use bert4rs_text::{TokenSpans, Tokenizer};
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, text, check) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [model, text] => (model, text, false),
        [model, text, "check"] => (model, text, true),
        _ => {
            return Err("expected MODEL TEXT [check]: a folder with a tokenizer.json, and a text file".into());
        }
    };
    let folder = Path::new(model);
    let begin = Instant::now();
    let ours = Tokenizer::from_dir(folder)?;
    eprintln!("opened in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    let mut theirs = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json"))?;
    theirs.with_padding(None).with_truncation(None)?;
    let whole = std::fs::read_to_string(text)?;
    let lines: Vec<&str> = whole.lines().collect();
    if check {
        let tokens: usize = lines.iter().map(|line| same(&ours, &theirs, line)).sum::<Result<_, _>>()?;
        println!("{} lines, {tokens} tokens: equal", lines.len());
        println!("as one text, {} tokens: equal", same(&ours, &theirs, &whole)?);
        return Ok(());
    }
    for command in std::io::stdin().lock().lines() {
        let begin = Instant::now();
        let (seconds, tokens) = match command?.as_str() {
            "ours" => {
                let encodings = ours.encode_batch(&lines, None)?;
                (begin.elapsed(), encodings.iter().map(|e| e.len()).sum::<usize>())
            }
            "crate" => {
                let encode = |line: &&str| theirs.encode_char_offsets(*line, true);
                let encodings = lines.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
                (begin.elapsed(), encodings.iter().map(|e| e.len()).sum::<usize>())
            }
            other => return Err(format!("{other:?}: expected ours or crate").into()),
        };
        println!("{} {tokens}", seconds.as_secs_f64());
    }
    Ok(())
}

/// The number of tokens, when both give the same.
fn same(ours: &Tokenizer, theirs: &tokenizers::Tokenizer, text: &str) -> Result<usize, Failed> {
    let (a, b) = (ours.encode_plain(text)?, theirs.encode_char_offsets(text, false)?);
    let spans = TokenSpans::new(b.get_offsets().iter().map(|&(start, end)| Some(start..end)));
    if a.ids != b.get_ids() || a.spans != spans {
        let start: String = text.chars().take(200).collect();
        return Err(format!("not the same for {start:?}\n{:?}\n{:?} {:?}", a, b.get_ids(), spans).into());
    }
    Ok(a.len())
}

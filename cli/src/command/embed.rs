//! `bert4rs embed MODEL [TEXT…|FILE|-] [-o FILE]`

use std::fs::File;
use std::io::{BufWriter, stdout};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use bert4rs_tasks::calibration;
use bert4rs_tasks::sentence::{Options, SentenceEncoder};
use bert4rs_tasks::vectors::{self, JsonLines, Npy, Row, VectorWriter};
use serde_json::json;

use super::predict::{CHUNK, named};
use super::usage;
use crate::args::{Embed, Number, Precision};
use crate::input::{self, Texts};
use crate::output::{self, say};

/// What becomes of texts and vectors before they are written.
#[derive(Default)]
pub struct Take {
    /// Numbers of each vector that are kept.
    pub dimensions: Option<usize>,
    /// What happens to texts without a character.
    pub empty: Empty,
}

/// What happens to texts without a character that is no space.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Empty {
    /// They have vectors, those of special tokens.
    #[default]
    Encode,
    Refuse,
    Skip,
}

pub fn run(args: &Embed, json: bool) -> Result<()> {
    let number = match args.dtype {
        Number::F32 => vectors::Number::F32,
        Number::F16 => vectors::Number::F16,
    };
    let texts = input::texts(&args.input)?;
    let extension =
        args.output.as_deref().and_then(Path::extension).map(|e| e.to_string_lossy().into_owned());
    let mut writer: Box<dyn VectorWriter> = match (&args.output, extension.as_deref()) {
        (Some(path), Some("npy")) => Box::new(Npy::create(path, number)?),
        (_, _) if number != vectors::Number::F32 => {
            return Err(usage("--dtype is for arrays; write one with -o FILE.npy"));
        }
        (None, _) => Box::new(JsonLines::new(BufWriter::new(stdout().lock()))),
        (Some(path), Some("jsonl")) => {
            let file = File::create(path).map_err(|e| anyhow!("{}: {e}", path.display()))?;
            Box::new(JsonLines::new(BufWriter::new(file)))
        }
        (Some(path), _) => {
            return Err(usage(&format!("{}: expected a name that ends in .npy or .jsonl", path.display())));
        }
    };
    let options = Options { batch_tokens: args.batch_tokens as usize };
    let empty = if args.skip_empty { Empty::Skip } else { Empty::Refuse };
    let take = Take { dimensions: args.dimensions, empty };
    let written = vectors(&args.model, args.precision, &options, texts, writer.as_mut(), &take)?;
    writer.finish()?;
    if let Some(path) = &args.output {
        let facts = [("file", json!(path.display().to_string())), ("vectors", json!(written))];
        output::facts(&facts, json)?;
    }
    Ok(())
}

/// Writes the vectors of texts; says how many.
pub fn vectors(
    model: &Path,
    precision: Precision,
    options: &Options,
    mut texts: Texts,
    writer: &mut dyn VectorWriter,
    take: &Take,
) -> Result<usize> {
    let precision = calibration::resolve(model, precision.into())?;
    let model = SentenceEncoder::open(model)?.prepare(precision)?;
    let (mut written, mut skipped, mut cut) = (0, 0, 0);
    loop {
        let mut chunk = texts.chunk(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        let blank = |text: &str| text.trim().is_empty();
        match take.empty {
            Empty::Encode => {}
            Empty::Refuse => {
                if let Some(text) = chunk.iter().find(|t| blank(&t.text)) {
                    bail!(
                        "{}: the text is empty; remove it, or leave such texts out with --skip-empty",
                        text.place
                    );
                }
            }
            Empty::Skip => {
                let before = chunk.len();
                chunk.retain(|t| !blank(&t.text));
                skipped += before - chunk.len();
            }
        }
        let views: Vec<&str> = chunk.iter().map(|t| t.text.as_str()).collect();
        let mut found = model.encode(&views, options).map_err(|e| named(e, &chunk))?;
        for (i, (text, vector)) in chunk.iter().zip(&mut found.vectors).enumerate() {
            if let Some(width) = take.dimensions {
                vectors::cut(vector, width)?;
            }
            let truncated = found.truncated.binary_search(&i).is_ok();
            writer.write(&Row { id: text.id.as_ref(), text: &text.text, vector, truncated })?;
        }
        written += chunk.len();
        cut += found.truncated.len();
        writer.flush()?;
    }
    if skipped > 0 {
        say(&format!("note: {skipped} empty texts were left out"));
    }
    if cut > 0 && take.empty != Empty::Encode {
        let most = model.max_tokens().unwrap_or_default();
        say(&format!("note: {cut} texts have more than {most} tokens; their ends were not read"));
    }
    Ok(written)
}

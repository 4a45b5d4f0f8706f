//! `bert4rs doctor MODEL|CONFIG|PRESET`

mod picture;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use bert4rs_tasks::doctor::{Data, Subject};
use bert4rs_tasks::read_examples;

use super::usage;
use crate::args::Doctor;
use crate::{input, output};

/// Texts that are read; the doctor looks at the first of them.
const TEXTS: usize = 512;

pub fn run(args: &Doctor, json: bool) -> Result<()> {
    if let Some(path) = args.plot.as_deref().filter(|path| path.extension().is_none_or(|end| end != "svg")) {
        return Err(usage(&format!("--plot {}: expected a file .svg", path.display())));
    }
    let subject = Subject::open(&args.model)?;
    let data = match &args.data {
        None => Data::Random,
        Some(path) => read(path, subject.has_task())?,
    };
    let diagnosis = subject.diagnose(&data)?;
    if let Some(path) = &args.plot {
        fs::write(path, picture::svg(&diagnosis))
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    match json {
        true => output::line(&serde_json::to_string(&diagnosis)?),
        false => output::line(table::text(&diagnosis).trim_end()),
    }
}

/// Annotated texts for a model with a task, unless the file says that it has lines only.
fn read(path: &Path, annotated: bool) -> Result<Data> {
    let name = path.display().to_string();
    if annotated && path.extension().is_none_or(|end| end != "txt") {
        return Ok(Data::Examples(name, read_examples(path)?));
    }
    let texts = input::texts(std::slice::from_ref(&name))?.chunk(TEXTS)?;
    Ok(Data::Texts(name, texts.into_iter().map(|text| text.text).collect()))
}

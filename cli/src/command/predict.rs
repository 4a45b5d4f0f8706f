//! `bert4rs predict MODEL [TEXT…|FILE|-]`

use anyhow::{Result, anyhow};
use bert4rs_tasks::ner::NerModel;
use bert4rs_tasks::sentence::{self, SentenceEncoder};
use bert4rs_tasks::{Error, calibration};

use crate::args::Predict;
use crate::input::{Text, Texts};
use crate::{input, output};

/// Texts that are read, answered and written together, so that a stream of any length runs in flat
/// memory.
const CHUNK: usize = 4096;

pub fn run(args: &Predict, json: bool) -> Result<()> {
    let texts = input::texts(&args.input)?;
    if SentenceEncoder::is_folder(&args.model) {
        return vectors(args, texts);
    }
    entities(args, texts, json)
}

/// One line of JSON a text: its vector.
fn vectors(args: &Predict, mut texts: Texts) -> Result<()> {
    let precision = calibration::resolve(&args.model, args.reading.precision.into())?;
    let model = SentenceEncoder::open(&args.model)?.prepare(precision)?;
    let options = sentence::Options { batch_tokens: args.reading.batch_tokens as usize };
    let mut writer = output::Vectors::new();
    loop {
        let chunk = texts.chunk(CHUNK)?;
        if chunk.is_empty() {
            return Ok(());
        }
        let views: Vec<&str> = chunk.iter().map(|t| t.text.as_str()).collect();
        let found = model.encode(&views, &options).map_err(|e| named(e, &chunk))?;
        for (i, (text, vector)) in chunk.iter().zip(&found.vectors).enumerate() {
            writer.write(text, vector, found.truncated.binary_search(&i).is_ok())?;
        }
        writer.flush()?;
    }
}

fn entities(args: &Predict, mut texts: Texts, json: bool) -> Result<()> {
    let precision = calibration::resolve(&args.model, args.reading.precision.into())?;
    let model = NerModel::open(&args.model)?.prepare(precision)?;
    let options = args.reading.options();
    let mut writer = output::Entities::new(json);
    loop {
        let chunk = texts.chunk(CHUNK)?;
        if chunk.is_empty() {
            return Ok(());
        }
        let views: Vec<&str> = chunk.iter().map(|t| t.text.as_str()).collect();
        let answers = model.predict(&views, &options).map_err(|e| named(e, &chunk))?;
        for (text, answer) in chunk.iter().zip(&answers) {
            writer.write(text, answer)?;
        }
        writer.flush()?;
    }
}

/// An error by the place of its text instead of its number in the chunk.
fn named(error: Error, chunk: &[Text]) -> anyhow::Error {
    match error {
        Error::Text { index, message } if index < chunk.len() => anyhow!("{}: {message}", chunk[index].place),
        other => other.into(),
    }
}

//! `bert4rs predict MODEL [TEXT…|FILE|-]`

use std::io::{BufWriter, Write, stdout};
use std::path::Path;

use anyhow::{Result, anyhow};
use bert4rs_tasks::matching::{self, MatchingModel};
use bert4rs_tasks::ner::NerModel;
use bert4rs_tasks::sentence::{self, SentenceEncoder};
use bert4rs_tasks::vectors::JsonLines;
use bert4rs_tasks::{Error, calibration};
use serde_json::json;

use super::embed::{self, Take};
use crate::args::Predict;
use crate::input::{Text, Texts};
use crate::{input, output};

/// Texts that are read, answered and written together, so that a stream of any length runs in flat
/// memory.
pub const CHUNK: usize = 4096;

pub fn run(args: &Predict, json: bool) -> Result<()> {
    if MatchingModel::is_folder(&args.model) {
        return pairs(args);
    }
    let texts = input::texts(&args.input)?;
    if SentenceEncoder::is_folder(&args.model) {
        let options = sentence::Options { batch_tokens: args.reading.batch_tokens as usize };
        let mut lines = JsonLines::new(BufWriter::new(stdout().lock()));
        embed::vectors(&args.model, args.reading.precision, &options, texts, &mut lines, &Take::default())?;
        return Ok(());
    }
    entities(args, texts, json)
}

/// One line of JSON a pair.
fn pairs(args: &Predict) -> Result<()> {
    let [file] = &args.input[..] else {
        return Err(super::usage("this model reads pairs; give one file of them: JSON Lines, CSV or TSV"));
    };
    let precision = calibration::resolve(&args.model, args.reading.precision.into())?;
    let model = MatchingModel::open(&args.model)?.prepare(precision)?;
    let options = sentence::Options { batch_tokens: args.reading.batch_tokens as usize };
    let pairs = matching::read_pairs(Path::new(file))?;
    let mut out = BufWriter::new(stdout().lock());
    for chunk in pairs.chunks(CHUNK) {
        let views: Vec<(&str, &str)> = chunk.iter().map(|p| (p.first.as_str(), p.second.as_str())).collect();
        for (pair, answer) in chunk.iter().zip(model.predict(&views, &options)?) {
            let mut line = json!({ "text_a": pair.first, "text_b": pair.second });
            if let (Some(line), serde_json::Value::Object(answer)) =
                (line.as_object_mut(), serde_json::to_value(&answer)?)
            {
                line.extend(answer);
            }
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
    Ok(())
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
pub fn named(error: Error, chunk: &[Text]) -> anyhow::Error {
    match error {
        Error::Text { index, message } if index < chunk.len() => anyhow!("{}: {message}", chunk[index].place),
        other => other.into(),
    }
}

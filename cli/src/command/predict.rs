//! `bert4rs predict MODEL [TEXT…|FILE|-]`

use anyhow::Result;
use bert4rs_tasks::ner::NerModel;

use crate::args::Predict;
use crate::{input, output};

/// Texts that are read, answered and written together, so that a stream of any length runs in flat
/// memory.
const CHUNK: usize = 4096;

pub fn run(args: &Predict, json: bool) -> Result<()> {
    let model = NerModel::open(&args.model)?;
    let options = args.reading.options();
    let mut texts = input::texts(&args.input)?;
    let mut writer = output::Entities::new(json);
    loop {
        let chunk: Vec<String> = texts.by_ref().take(CHUNK).collect::<Result<_>>()?;
        if chunk.is_empty() {
            return writer.finish();
        }
        let views: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let answers = model.predict(&views, &options)?;
        for (text, answer) in views.iter().zip(&answers) {
            writer.write(text, answer)?;
        }
    }
}

//! `bert4rs eval MODEL DATA`

use anyhow::{Result, anyhow};
use bert4rs_tasks::ner::{NerModel, evaluate_stream};
use bert4rs_tasks::{Error, calibration, stream_examples};

use crate::args::Eval;
use crate::output;

pub fn run(args: &Eval, json: bool) -> Result<()> {
    let precision = calibration::resolve(&args.model, args.reading.precision.into())?;
    let model = NerModel::open(&args.model)?.prepare(precision)?;
    let examples = stream_examples(&args.data)?;
    let evaluation = evaluate_stream(&model, examples, &args.reading.options()).map_err(|e| match e {
        Error::Text { index, message } => {
            anyhow!("{}: example {}: {message}", args.data.display(), index + 1)
        }
        other => other.into(),
    })?;
    if !evaluation.unknown_labels.is_empty() {
        let counts = evaluation.unknown_labels.iter().map(|(label, n)| format!("{label} ({n})"));
        output::say(&format!(
            "note: entities of labels that the model does not know count as missed: {}; it knows {}",
            counts.collect::<Vec<_>>().join(", "),
            model.labels().join(", ")
        ));
    }
    output::evaluation(&evaluation, json)
}

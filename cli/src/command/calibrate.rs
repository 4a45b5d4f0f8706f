//! `bert4rs calibrate MODEL DATA`

use anyhow::{Result, anyhow};
use bert4rs_tasks::calibration::{self, Agreement, MOST_TEXTS};
use bert4rs_tasks::ner::PredictOptions;
use bert4rs_tasks::sentence::{Options, SentenceEncoder};
use bert4rs_tasks::{Error, stream_examples};
use serde_json::json;

use crate::args::Calibrate;
use crate::{input, output};

/// Points of the cosine that a pair of sentences may move by, on average.
const VECTORS: f64 = 1.0;
/// Points of F1.
const ENTITIES: f64 = 0.2;

pub fn run(args: &Calibrate, json: bool) -> Result<()> {
    let calibration = if SentenceEncoder::is_folder(&args.model) {
        let mut all = input::texts(&[args.data.display().to_string()])?;
        let mut texts = Vec::new();
        loop {
            let chunk = all.chunk(MOST_TEXTS - texts.len())?;
            if chunk.is_empty() {
                break;
            }
            texts.extend(chunk.into_iter().map(|text| text.text));
        }
        let views: Vec<&str> = texts.iter().map(String::as_str).collect();
        calibration::of_vectors(&args.model, &views, args.bound.unwrap_or(VECTORS), &Options::default())?
    } else {
        let examples = stream_examples(&args.data)?.take(MOST_TEXTS).collect::<Result<Vec<_>, _>>()?;
        let (bound, options) = (args.bound.unwrap_or(ENTITIES), PredictOptions::default());
        calibration::of_entities(&args.model, &examples, bound, &options).map_err(|e| match e {
            Error::Text { index, message } => {
                anyhow!("{}: example {}: {message}", args.data.display(), index + 1)
            }
            other => other.into(),
        })?
    };
    calibration.save(&args.model)?;
    let mut facts = vec![("texts", json!(calibration.texts))];
    facts.extend(match calibration.agreement {
        Agreement::Vectors { mean_cosine, worst_cosine, score_change } => [
            ("mean_cosine", json!(mean_cosine)),
            ("worst_cosine", json!(worst_cosine)),
            ("score_change", json!(score_change)),
        ],
        Agreement::Entities { f1_f32, f1_int8, same_answers } => {
            [("f1_f32", json!(f1_f32)), ("f1_int8", json!(f1_int8)), ("same_answers", json!(same_answers))]
        }
    });
    let permitted = calibration.permits_int8();
    facts.extend([
        ("cost", json!(calibration.agreement.cost())),
        ("bound", json!(calibration.bound)),
        ("speedup", json!(calibration.speedup)),
        ("int8", json!(permitted)),
    ]);
    output::facts(&facts, json)?;
    output::say(if permitted {
        "--precision auto answers in 8 bits from now on, where the CPU multiplies them"
    } else {
        "8 bits cost more than the bound: --precision auto stays f32; --bound POINTS allows more"
    });
    Ok(())
}

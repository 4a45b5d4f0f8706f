//! `bert4rs eval MODEL DATA [--against OTHER]`

use std::path::Path;

use anyhow::{Result, anyhow};
use bert4rs_tasks::matching::{self, MatchingModel};
use bert4rs_tasks::ner::{NerModel, evaluate_stream};
use bert4rs_tasks::sentence::{Options, SentenceEncoder};
use bert4rs_tasks::similarity::{self, Evaluation, LabelScale, Pair, Versus};
use bert4rs_tasks::{Error, calibration, stream_examples};
use serde_json::json;

use super::usage;
use crate::args::Eval;
use crate::output;

/// Of the bootstrap: another run gives the same numbers.
const SEED: u64 = 42;

pub fn run(args: &Eval, json: bool) -> Result<()> {
    if SentenceEncoder::is_folder(&args.model) {
        return sentences(args, json);
    }
    if args.against.is_some() {
        return Err(usage("--against compares models of sentence vectors; this one is none"));
    }
    if MatchingModel::is_folder(&args.model) {
        let precision = calibration::resolve(&args.model, args.reading.precision.into())?;
        let model = MatchingModel::open(&args.model)?.prepare(precision)?;
        let options = Options { batch_tokens: args.reading.batch_tokens as usize };
        let pairs = matching::read_pairs(&args.data)?;
        return show_matching(&matching::evaluate(&model, &pairs, &args.data, &options)?, json);
    }
    entities(args, json)
}

/// Writes the scores of a cross-encoder.
pub fn show_matching(e: &matching::Evaluation, json: bool) -> Result<()> {
    if json {
        return output::line(&e.to_json().to_string());
    }
    let rows = [
        ("accuracy", e.accuracy),
        ("Spearman", e.spearman),
        ("Pearson", e.pearson),
        ("average precision", e.average_precision),
    ];
    for (name, value) in rows.iter().filter_map(|(name, x)| Some((name, (*x)?))) {
        output::line(&format!("{name:<24} {:.2}", 100.0 * value))?;
    }
    if let Some(f1) = &e.f1 {
        let best = format!("{:.2} (best here, score above {:.4})", 100.0 * f1.metric, f1.value);
        output::line(&format!("{:<24} {best}", "F1"))?;
    }
    let rate = e.pairs as f64 / e.seconds.max(1e-9);
    output::line(&format!("{} pairs in {:.1} s ({rate:.0} pairs/s)", e.pairs, e.seconds))?;
    if e.truncated > 0 {
        output::line(&format!("{} pairs were too long and only their beginnings were read", e.truncated))?;
    }
    Ok(())
}

fn entities(args: &Eval, json: bool) -> Result<()> {
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

fn sentences(args: &Eval, json: bool) -> Result<()> {
    let pairs = similarity::read_pairs(&args.data, LabelScale::Auto)?;
    let (evaluation, scores) = score(&args.model, &pairs, args)?;
    let versus = match &args.against {
        None => None,
        Some(other) => {
            let (_, others) = score(other, &pairs, args)?;
            Some(similarity::compare([&others, &scores], &pairs, SEED))
        }
    };
    if json {
        let mut all = evaluation.to_json();
        if let (Some(versus), Some(other)) = (&versus, &args.against) {
            all["against"] = json!({ "model": other, "spearman": versus.spearman[0] });
            if let Some(d) = &versus.difference {
                all["against"]["difference"] = json!(d.difference);
                all["against"]["interval"] = json!([d.low, d.high]);
                all["against"]["p"] = json!(d.p);
            }
        }
        return output::line(&all.to_string());
    }
    table(&evaluation)?;
    if let (Some(versus), Some(other)) = (&versus, &args.against) {
        output::line(&verdict(versus, other))?;
    }
    Ok(())
}

fn score(folder: &Path, pairs: &[Pair], args: &Eval) -> Result<(Evaluation, Vec<f64>)> {
    let precision = calibration::resolve(folder, args.reading.precision.into())?;
    let model = SentenceEncoder::open(folder)?.prepare(precision)?;
    let options = Options { batch_tokens: args.reading.batch_tokens as usize };
    let start = std::time::Instant::now();
    let (scores, truncated) = similarity::cosines(&model, pairs, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    let evaluation = Evaluation { truncated, seconds, ..similarity::of_scores(&scores, pairs) };
    Ok((evaluation.with_thresholds_of(folder, &scores, pairs)?, scores))
}

/// Writes the scores of sentence vectors.
pub fn show(e: &Evaluation, json: bool) -> Result<()> {
    if json { output::line(&e.to_json().to_string()) } else { table(e) }
}

fn table(e: &Evaluation) -> Result<()> {
    let number = |x: Option<f64>| {
        x.map_or("none: all labels or all cosines are equal".into(), |x| format!("{:.2}", 100.0 * x))
    };
    output::line(&format!("{:<24} {}", "Spearman", number(e.spearman)))?;
    output::line(&format!("{:<24} {}", "Pearson", number(e.pearson)))?;
    if let Some(b) = &e.binary {
        for (name, t) in [("accuracy", &b.accuracy), ("F1", &b.f1)] {
            let best = format!("{:.2} (best here, cosine above {:.4})", 100.0 * t.metric, t.value);
            output::line(&format!("{name:<24} {best}"))?;
        }
        output::line(&format!("{:<24} {}", "average precision", number(b.average_precision)))?;
        if let Some((accuracy, f1)) = b.at_kept {
            let kept = format!("accuracy {:.2}, F1 {:.2}", 100.0 * accuracy, 100.0 * f1);
            output::line(&format!("{:<24} {kept}", "at the kept thresholds"))?;
        }
    }
    let rate = e.pairs as f64 / e.seconds.max(1e-9);
    output::line(&format!("{} pairs in {:.1} s ({rate:.0} pairs/s)", e.pairs, e.seconds))?;
    if e.truncated > 0 {
        output::line(&format!("{} texts were too long and only their beginning was read", e.truncated))?;
    }
    Ok(())
}

fn verdict(versus: &Versus, other: &Path) -> String {
    let Some(d) = &versus.difference else {
        return format!("against {}: no comparison, a model has no correlation", other.display());
    };
    let word = match (d.low > 0.0, d.high < 0.0) {
        (true, _) => "better",
        (_, true) => "worse",
        (false, false) => "not told apart",
    };
    format!(
        "against {}: Spearman {:+.2} points, 95 % interval {:+.2} to {:+.2}, p {:.3}: {word}",
        other.display(),
        100.0 * d.difference,
        100.0 * d.low,
        100.0 * d.high,
        d.p
    )
}

//! Accuracy of classes, correlation of scores, and for two classes decisions by threshold.

use std::path::Path;
use std::time::Instant;

use bert4rs_train::metric::{Goal, Threshold, average_precision, best_threshold, pearson, spearman};
use serde_json::{Value, json};

use super::config::Objective;
use super::data::{self, Pair};
use super::model::{Answer, MatchingModel};
use crate::Result;
use crate::sentence::Options;

/// Scores of a model on labelled pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Pairs that were scored.
    pub pairs: usize,
    /// The share of right classes; none for a model of scores.
    pub accuracy: Option<f64>,
    /// Spearman's correlation of scores and labels, when these have an order.
    pub spearman: Option<f64>,
    /// Pearson's.
    pub pearson: Option<f64>,
    /// For two classes: the threshold of the score with the best F1 on these very pairs.
    pub f1: Option<Threshold>,
    /// For two classes.
    pub average_precision: Option<f64>,
    /// Pairs whose ends were not looked at.
    pub truncated: usize,
    /// Wall-clock time of prediction.
    pub seconds: f64,
}

impl Evaluation {
    /// As `eval --json` prints it.
    pub fn to_json(&self) -> Value {
        let best = |t: &Threshold| json!({ "value": t.metric, "threshold": t.value });
        json!({
            "pairs": self.pairs, "accuracy": self.accuracy, "spearman": self.spearman, "pearson": self.pearson,
            "f1": self.f1.as_ref().map(best), "average_precision": self.average_precision,
            "truncated": self.truncated, "seconds": self.seconds,
        })
    }
}

/// Scores a model; `path` names the pairs' file in errors.
pub fn evaluate(model: &MatchingModel, pairs: &[Pair], path: &Path, options: &Options) -> Result<Evaluation> {
    let labels = &model.task.labels;
    let targets = data::targets(pairs, labels, path)?;
    let views: Vec<(&str, &str)> = pairs.iter().map(|p| (p.first.as_str(), p.second.as_str())).collect();
    let start = Instant::now();
    let answers = model.predict(&views, options)?;
    let seconds = start.elapsed().as_secs_f64();
    let scores: Option<Vec<f64>> = answers.iter().map(|a| a.score).collect();
    let numbers = match model.task.objective {
        Objective::Regression => Some(targets.clone()),
        Objective::Classification => {
            data::order(labels).map(|order| targets.iter().map(|&t| order[t as usize]).collect())
        }
    };
    let both = scores.as_ref().zip(numbers.as_ref());
    let accuracy = (model.task.objective == Objective::Classification).then(|| {
        let right = |(a, t): &(&Answer, &f64)| a.label.as_ref() == labels.get(**t as usize);
        answers.iter().zip(&targets).filter(right).count() as f64 / pairs.len().max(1) as f64
    });
    let highest = numbers.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let positive: Vec<bool> = numbers.iter().flatten().map(|n| *n == highest).collect();
    let two = scores.as_ref().filter(|_| labels.len() == 2);
    Ok(Evaluation {
        pairs: pairs.len(),
        accuracy,
        spearman: both.and_then(|(s, n)| spearman(s, n)),
        pearson: both.and_then(|(s, n)| pearson(s, n)),
        f1: two.and_then(|s| best_threshold(s, &positive, Goal::F1)),
        average_precision: two.and_then(|s| average_precision(s, &positive)),
        truncated: answers.iter().filter(|a| a.truncated).count(),
        seconds,
    })
}

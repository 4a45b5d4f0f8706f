//! The official measures: correlation of cosines with labels; with two labels also decisions.

use std::path::Path;
use std::time::Instant;

use bert4rs_train::metric::threshold::at_threshold;
use bert4rs_train::metric::{
    Comparison, Goal, Threshold, average_precision, best_threshold, paired_bootstrap, pearson, spearman,
};
use serde_json::{Value, json};

use super::data::{Pair, is_binary};
use super::folder;
use crate::Result;
use crate::sentence::{Options, SentenceEncoder};

/// Draws of the bootstrap.
const DRAWS: usize = 1000;

/// Scores of a model on labelled pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Pairs that were scored.
    pub pairs: usize,
    /// Spearman's correlation of cosines and labels; none when a side is constant.
    pub spearman: Option<f64>,
    /// Pearson's.
    pub pearson: Option<f64>,
    /// When labels are 0 and 1.
    pub binary: Option<Binary>,
    /// Texts whose end was not looked at.
    pub truncated: usize,
    /// Wall-clock time of encoding.
    pub seconds: f64,
}

/// Decisions between alike and not.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The threshold with the best accuracy on these very pairs, and that accuracy.
    pub accuracy: Threshold,
    /// The same for F1.
    pub f1: Threshold,
    /// Average precision: needs no threshold.
    pub average_precision: Option<f64>,
    /// Accuracy and F1 at the thresholds that the model's folder keeps.
    pub at_kept: Option<(f64, f64)>,
}

impl Evaluation {
    /// As `eval --json` prints it.
    pub fn to_json(&self) -> Value {
        let mut all = json!({
            "spearman": self.spearman, "pearson": self.pearson, "pairs": self.pairs,
            "truncated": self.truncated, "seconds": self.seconds,
        });
        if let Some(binary) = &self.binary {
            let best = |t: &Threshold| json!({ "value": t.metric, "threshold": t.value });
            all["accuracy"] = best(&binary.accuracy);
            all["f1"] = best(&binary.f1);
            all["average_precision"] = json!(binary.average_precision);
            if let Some((accuracy, f1)) = binary.at_kept {
                all["at_kept_thresholds"] = json!({ "accuracy": accuracy, "f1": f1 });
            }
        }
        all
    }

    /// Adds what the thresholds in a model's folder reach.
    pub fn with_thresholds_of(mut self, dir: &Path, scores: &[f64], pairs: &[Pair]) -> Result<Self> {
        if let (Some(kept), Some(binary)) = (folder::thresholds(dir)?, &mut self.binary) {
            let labels: Vec<bool> = pairs.iter().map(|p| p.label == 1.0).collect();
            let accuracy = at_threshold(scores, &labels, kept.accuracy).0;
            binary.at_kept = Some((accuracy, at_threshold(scores, &labels, kept.f1).1));
        }
        Ok(self)
    }
}

/// The cosine of each pair, and how many texts were cut.
pub fn cosines(model: &SentenceEncoder, pairs: &[Pair], options: &Options) -> Result<(Vec<f64>, usize)> {
    let texts: Vec<&str> = pairs.iter().flat_map(|p| [p.first.as_str(), &p.second]).collect();
    let all = model.encode(&texts, options)?;
    Ok((all.vectors.chunks_exact(2).map(|v| cosine(&v[0], &v[1])).collect(), all.truncated.len()))
}

/// A vector of zeros has cosine 0.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

/// Scores a model.
pub fn evaluate(model: &SentenceEncoder, pairs: &[Pair], options: &Options) -> Result<Evaluation> {
    let start = Instant::now();
    let (scores, truncated) = cosines(model, pairs, options)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Evaluation { truncated, seconds, ..of_scores(&scores, pairs) })
}

/// The scores of cosines that were computed before.
pub fn of_scores(scores: &[f64], pairs: &[Pair]) -> Evaluation {
    let labels: Vec<f64> = pairs.iter().map(|p| p.label).collect();
    let positive: Vec<bool> = labels.iter().map(|l| *l == 1.0).collect();
    let best = |goal| best_threshold(scores, &positive, goal);
    let binary = match (is_binary(pairs), best(Goal::Accuracy), best(Goal::F1)) {
        (true, Some(accuracy), Some(f1)) => Some(Binary {
            accuracy,
            f1,
            average_precision: average_precision(scores, &positive),
            at_kept: None,
        }),
        (_, _, _) => None,
    };
    Evaluation {
        pairs: pairs.len(),
        spearman: spearman(scores, &labels),
        pearson: pearson(scores, &labels),
        binary,
        truncated: 0,
        seconds: 0.0,
    }
}

/// Two models on the same pairs, the second against the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Versus {
    /// Spearman's correlation of each.
    pub spearman: [Option<f64>; 2],
    /// Their difference; none when a model has no correlation.
    pub difference: Option<Comparison>,
}

/// Compares the scores of two models by a paired bootstrap over pairs.
pub fn compare(scores: [&[f64]; 2], pairs: &[Pair], seed: u64) -> Versus {
    let labels: Vec<f64> = pairs.iter().map(|p| p.label).collect();
    let of = |model: usize, drawn: &[usize]| {
        let pick = |x: &[f64]| drawn.iter().map(|&i| x[i]).collect::<Vec<_>>();
        spearman(&pick(scores[model]), &pick(&labels))
    };
    Versus {
        spearman: [0, 1].map(|model| spearman(scores[model], &labels)),
        difference: paired_bootstrap(pairs.len(), DRAWS, seed, of),
    }
}

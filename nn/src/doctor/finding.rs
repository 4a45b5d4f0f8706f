//! What is out of the ordinary, in words: what was seen, why it matters, what to try.
//!
//! A bound is chosen so that new models of the presets, and published checkpoints, have no finding; each stands
//! beside its reason.

mod attention;
mod depth;
mod flow;
mod weights;

use serde::Serialize;

use super::Report;
use crate::encoder::EncoderConfig;

pub use depth::no_warm_up;

/// One thing out of the ordinary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which kind.
    pub kind: Kind,
    /// Where: a parameter, a layer, the config.
    pub place: String,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// What to do about it.
    #[serde(rename = "try")]
    pub remedy: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Parameters that are NaN or infinite.
    NotFinite,
    /// Parameters that are 0 and should not be.
    ZeroWeights,
    /// New parameters of another scale than the config says.
    StartScale,
    /// A layer unlike the others.
    OddLayer,
    /// Embedding rows far outside the rest.
    FarRows,
    /// Embedding rows of zeros, or equal ones.
    UntrainedRows,
    /// Activations of a new model unlike what is predicted.
    ActivationScale,
    /// Activations that grow or shrink in depth.
    ActivationGrowth,
    /// Tokens that became one.
    TokensAlike,
    /// A stack that forgets its input.
    InputLost,
    /// A part that adds nothing.
    DeadBranch,
    /// Gradients that grow or shrink in depth.
    GradientRatio,
    /// Gradients that are NaN or infinite.
    GradientNotFinite,
    /// Parameters that training cannot move.
    NoGradient,
    /// Heads that look at one key.
    EntropyCollapse,
    /// Layers that look at all keys alike.
    EntropyUniform,
    /// A recurrent layer that forgets at once.
    RecurrentVanishes,
    /// A recurrent layer whose gradients grow.
    RecurrentExplodes,
    /// A start that needs a warm-up, in a run that has none.
    NoWarmUp,
}

fn finding(
    kind: Kind,
    place: impl Into<String>,
    seen: impl Into<String>,
    why: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding { kind, place: place.into(), seen: seen.into(), why: why.into(), remedy: remedy.into() }
}

/// All findings of a report.
pub fn findings(config: &EncoderConfig, report: &Report) -> Vec<Finding> {
    let broken: Vec<Finding> =
        report.tensors.iter().filter(|t| t.not_finite > 0).map(weights::not_finite).collect();
    if !broken.is_empty() {
        return broken; // everything else follows from it
    }
    let mut all: Vec<Finding> = report.tensors.iter().filter_map(|t| weights::scale(t, report.new)).collect();
    for rows in &report.rows {
        let starts_at_zero = report.tensors.iter().any(|t| t.name == rows.table && t.start == Some(0.0));
        all.extend(weights::far_rows(rows));
        all.extend(if starts_at_zero { None } else { weights::untrained_rows(rows) });
    }
    all.extend(depth::activations(config, report));
    all.extend(flow::gradients(config, report));
    all.extend(attention::entropies(report));
    all.extend(report.recurrent.iter().filter_map(flow::recurrent));
    all
}

/// Places and values of the smallest and the largest number.
fn ends(values: impl Iterator<Item = f64>) -> Option<(usize, f64, usize, f64)> {
    let all: Vec<(usize, f64)> = values.enumerate().filter(|(_, v)| v.is_finite()).collect();
    let low = all.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let high = all.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((low.0, low.1, high.0, high.1))
}

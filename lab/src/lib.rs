//! Small experiments: each is a claim of an article with a program that tests it, numbers, a plot and a
//! verdict, in a few minutes on two cores. A claim that is not seen at this scale is reported as such.
//!
//! ```
//! use bert4rs_lab::{Report, Setup, find};
//! # fn main() -> anyhow::Result<()> {
//! let experiment = find("low_rank_heads").expect("stands in the list");
//! let done = experiment.finish(&Setup { seeds: 1, smoke: true }, Report::new(|_| ()))?;
//! println!("{}: {}", experiment.claim, done.verdict().outcome);
//! # Ok(()) }
//! ```

mod architecture;
mod experiment;
pub mod language;
mod length;
pub mod model;
pub mod plot;
pub mod report;
mod softmax;
pub mod train;
mod training;

pub use experiment::{Check, Experiment, Outcome, Setup, Verdict};
pub use report::{Cell, Finished, Report, Table};

/// All experiments, in the order in which to read them.
pub const EXPERIMENTS: &[Experiment] = &[
    length::extension::EXPERIMENT,
    softmax::entropy_invariant::EXPERIMENT,
    softmax::gradient_max_scale::EXPERIMENT,
    training::initial_deviation::EXPERIMENT,
    architecture::albert_unshared::EXPERIMENT,
    architecture::gated_attention::EXPERIMENT,
    architecture::low_rank_heads::EXPERIMENT,
    architecture::residual_scores::EXPERIMENT,
];

/// The experiment of a name.
pub fn find(name: &str) -> Option<&'static Experiment> {
    EXPERIMENTS.iter().find(|e| e.name == name)
}

/// The experiment that is spelt most like `name`, if one is.
pub fn nearest(name: &str) -> Option<&'static str> {
    let likeness = |e: &Experiment| strsim::jaro_winkler(e.name, name);
    let best = EXPERIMENTS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.7).then_some(best.name)
}

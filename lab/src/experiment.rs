//! An experiment: a claim of an article, a program that tests it, and a verdict.

use anyhow::Result;
use serde::Serialize;

use crate::Report;

/// A claim and the program that tests it.
pub struct Experiment {
    /// As in `bert4rs lab run NAME`.
    pub name: &'static str,
    /// The article's number in the index of methods.
    pub article: u32,
    /// What should be seen, in one sentence.
    pub claim: &'static str,
    /// Fills the report and judges the claim.
    pub run: fn(&Setup, &mut Report) -> Result<Verdict>,
}

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Repetitions from other random numbers.
    pub seeds: usize,
    /// A run of a second that shows that everything works; its verdict means nothing.
    pub smoke: bool,
}

impl Setup {
    /// The seeds.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.seeds as u64
    }

    /// `small` in a smoke run.
    pub fn pick<T>(&self, full: T, small: T) -> T {
        if self.smoke { small } else { full }
    }
}

/// Whether a claim was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every part of it.
    Holds,
    /// Parts of it.
    Mixed,
    /// No part of it.
    DoesNotHold,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.pad(match self {
            Outcome::Holds => "holds",
            Outcome::Mixed => "mixed",
            Outcome::DoesNotHold => "does not hold",
        })
    }
}

/// One part of a claim with the numbers that decide it.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was measured, and what it should be.
    pub what: String,
    /// Whether it is.
    pub holds: bool,
}

impl Check {
    /// A part of a claim.
    pub fn new(holds: bool, what: impl Into<String>) -> Self {
        Self { what: what.into(), holds }
    }
}

/// What became of a claim.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// In a word.
    pub outcome: Outcome,
    /// Why.
    pub checks: Vec<Check>,
}

impl Verdict {
    /// Holds when all checks hold, does not hold when none does, and is mixed otherwise.
    pub fn of(checks: Vec<Check>) -> Self {
        let outcome = match (checks.iter().any(|c| c.holds), checks.iter().all(|c| c.holds)) {
            (true, true) => Outcome::Holds,
            (true, false) => Outcome::Mixed,
            (false, _) => Outcome::DoesNotHold,
        };
        Self { outcome, checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_follows_its_checks() {
        let of =
            |holds: &[bool]| Verdict::of(holds.iter().map(|&h| Check::new(h, "a < b")).collect()).outcome;
        assert_eq!(of(&[true, true]), Outcome::Holds);
        assert_eq!(of(&[true, false]), Outcome::Mixed);
        assert_eq!(of(&[false, false]), Outcome::DoesNotHold);
        assert_eq!(of(&[]), Outcome::DoesNotHold, "nothing was shown");
    }
}

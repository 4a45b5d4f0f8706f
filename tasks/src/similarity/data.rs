//! Labelled pairs: the labels of a file on one scale, or an error that says why not.

use std::path::Path;

use bert4rs_text::format::sentences::{self, Label, Record, Sentences};

use super::config::LabelScale;
use crate::{Error, Result};

/// Two texts and how alike they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The first text.
    pub first: String,
    /// The second text.
    pub second: String,
    /// More is more alike; NLI's classes are 0 (contradiction), 1 (neutral) and 2 (entailment).
    pub label: f64,
    /// The line of its file.
    pub line: usize,
}

/// NLI's classes, from unlike to alike.
pub(crate) const NLI: [&str; 3] = ["contradiction", "neutral", "entailment"];

/// All records of a file.
pub(crate) fn records(path: &Path) -> Result<Vec<Record>> {
    Ok(sentences::read(path)?.collect::<std::result::Result<_, _>>()?)
}

/// The labelled pairs of a file; anything else in it is an error.
pub fn read_pairs(path: &Path, scale: LabelScale) -> Result<Vec<Pair>> {
    pairs(&records(path)?, path, scale)
}

/// The labelled pairs among records.
pub(super) fn pairs(records: &[Record], path: &Path, scale: LabelScale) -> Result<Vec<Pair>> {
    let mut pairs = Vec::with_capacity(records.len());
    let mut named: Option<bool> = None;
    for Record { line, sentences } in records {
        let fail = |message: String| Err(Error::Input(format!("{}:{line}: {message}", path.display())));
        let Sentences::Pair { first, second, label } = sentences else {
            return fail(format!(
                "{}; expected a pair of texts with a label",
                match sentences {
                    Sentences::Single(_) => "one text alone",
                    Sentences::Query { .. } => "a query with positives and negatives",
                    Sentences::Group(_) => "a group of texts",
                    Sentences::Pair { .. } => "a pair",
                }
            ));
        };
        let (label, is_named) = match label {
            None => return fail("the pair has no label; expected 0 or 1, or how alike its texts are".into()),
            Some(Label::Number(number)) => (*number, false),
            Some(Label::Name(name)) => match NLI.iter().position(|n| *n == name.to_lowercase()) {
                Some(class) => (class as f64, true),
                None => {
                    return fail(format!(
                        "label {name:?} has no order; expected a number, or one of {}",
                        NLI.join(", ")
                    ));
                }
            },
        };
        if *named.get_or_insert(is_named) != is_named {
            return fail(format!(
                "label {label} is a {}, those before it are not; use one scale in a file",
                if is_named { "name" } else { "number" }
            ));
        }
        pairs.push(Pair { first: first.clone(), second: second.clone(), label, line: *line });
    }
    check_scale(&pairs, path, scale)?;
    Ok(pairs)
}

/// Whether all labels are 0 or 1.
pub(super) fn is_binary(pairs: &[Pair]) -> bool {
    pairs.iter().all(|p| p.label == 0.0 || p.label == 1.0)
}

/// Labels that look like two scales in one file: some other number among very many 0 and 1, or a stretch
/// of 0..1 so long that chance does not make it.
fn check_scale(pairs: &[Pair], path: &Path, scale: LabelScale) -> Result<()> {
    let fail = |line: usize, message: String| {
        let hint = "use one scale in a file, or set labels = \"graded\" in [task] if this is right";
        Err(Error::Input(format!("{}:{line}: {message}; {hint}", path.display())))
    };
    let other = |p: &&Pair| p.label != 0.0 && p.label != 1.0;
    let others = pairs.iter().filter(other).count();
    match (scale, pairs.iter().find(other)) {
        (LabelScale::Graded, _) | (_, None) => return Ok(()),
        (LabelScale::Binary, Some(pair)) => {
            return fail(pair.line, format!("label {}, but labels = \"binary\"", pair.label));
        }
        (LabelScale::Auto, Some(pair)) if pairs.len() >= 50 && others * 20 < pairs.len() => {
            let share = 100.0 * (pairs.len() - others) as f64 / pairs.len() as f64;
            return fail(
                pair.line,
                format!("label {}, while {share:.0} % of the labels are 0 or 1", pair.label),
            );
        }
        (LabelScale::Auto, Some(_)) => {}
    }
    let small = |p: &&Pair| (0.0..=1.0).contains(&p.label);
    let large = pairs.iter().filter(|p| !small(p)).count() as f64 / pairs.len() as f64;
    let mut from = 0;
    for run in pairs.chunk_by(|a, b| small(&a) == small(&b)) {
        // One chance in a million that labels in random order make a stretch this long. Sorted files
        // are told apart by their many values.
        let chance = pairs.len() as f64 * (1.0 - large).powi(run.len() as i32);
        let values: std::collections::BTreeSet<u64> = run.iter().map(|p| p.label.to_bits()).collect();
        if large > 0.0 && small(&&run[0]) && run.len() >= 20 && chance < 1e-6 && values.len() <= 2 {
            let last = run.last().map_or(0, |p| p.line);
            let message = format!("labels up to line {last} are 0 or 1, others are up to {}", largest(pairs));
            return fail(pairs[from].line, message);
        }
        from += run.len();
    }
    Ok(())
}

fn largest(pairs: &[Pair]) -> f64 {
    pairs.iter().map(|p| p.label).fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(labels: &[f64]) -> Vec<Record> {
        let record = |(i, &label): (usize, &f64)| Record {
            line: i + 1,
            sentences: Sentences::Pair {
                first: "a".into(),
                second: "b".into(),
                label: Some(Label::Number(label)),
            },
        };
        labels.iter().enumerate().map(record).collect()
    }

    fn check(labels: &[f64], scale: LabelScale) -> std::result::Result<usize, String> {
        pairs(&records(labels), Path::new("x.tsv"), scale).map(|p| p.len()).map_err(|e| e.to_string())
    }

    #[test]
    fn one_scale_is_fine() {
        let graded: Vec<f64> = (0..200).map(|i| f64::from((i * 7) % 26) / 5.0).collect();
        let binary: Vec<f64> = (0..200).map(|i| f64::from(i % 2)).collect();
        for labels in [&graded, &binary] {
            assert_eq!(check(labels, LabelScale::Auto), Ok(200));
        }
    }

    #[test]
    fn two_scales_are_told_by_their_lines() {
        let mut slip: Vec<f64> = (0..200).map(|i| f64::from(i % 2)).collect();
        slip[122] = 4.0;
        let error = check(&slip, LabelScale::Auto).unwrap_err();
        assert!(error.starts_with("x.tsv:123: label 4, while 100 % of the labels are 0 or 1"), "{error}");
        assert_eq!(check(&slip, LabelScale::Graded), Ok(200));
        assert!(check(&slip, LabelScale::Binary).unwrap_err().contains(":123: label 4, but labels"));
        let joined: Vec<f64> =
            (0..200).map(|i| if i < 80 { f64::from(i % 2) } else { f64::from(i % 6) }).collect();
        let error = check(&joined, LabelScale::Auto).unwrap_err();
        assert!(error.contains("x.tsv:1: labels up to line 80 are 0 or 1, others are up to 5"), "{error}");
    }

    #[test]
    fn names_have_nlis_order_and_do_not_mix_with_numbers() {
        let mut all = records(&[0.0, 1.0]);
        let name = |all: &mut Vec<Record>, i: usize, name: &str| {
            if let Sentences::Pair { label, .. } = &mut all[i].sentences {
                *label = Some(Label::Name(name.into()));
            }
        };
        name(&mut all, 1, "Neutral");
        let read = |all: &[Record]| pairs(all, Path::new("x"), LabelScale::Auto).map_err(|e| e.to_string());
        assert!(read(&all).unwrap_err().contains("x:2: label 1 is a name, those before it are not"));
        name(&mut all, 0, "entailment");
        assert_eq!(read(&all).unwrap().iter().map(|p| p.label).collect::<Vec<_>>(), [2.0, 1.0]);
        name(&mut all, 0, "perhaps");
        assert!(read(&all).unwrap_err().contains("x:1: label \"perhaps\" has no order"));
    }
}

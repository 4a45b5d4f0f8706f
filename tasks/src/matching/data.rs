//! Pairs with labels for matching.

use std::collections::BTreeSet;
use std::path::Path;

use bert4rs_text::format::sentences::{Label, Sentences};

use crate::similarity::NLI;
use crate::similarity::records;
use crate::{Error, Result, settings};

/// A pair and its label, as the file names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The first text.
    pub first: String,
    /// The second text.
    pub second: String,
    /// Its label; none where the file has none.
    pub label: Option<Label>,
    /// The line of its file.
    pub line: usize,
}

/// The pairs of a file; anything else in it is an error.
pub fn read_pairs(path: &Path) -> Result<Vec<Pair>> {
    let pair = |record: bert4rs_text::format::sentences::Record| match record.sentences {
        Sentences::Pair { first, second, label } => Ok(Pair { first, second, label, line: record.line }),
        Sentences::Single(_) | Sentences::Query { .. } | Sentences::Group(_) => Err(Error::Input(format!(
            "{}:{}: expected a pair of texts, as in {{\"text_a\", \"text_b\", \"label\"}}",
            path.display(),
            record.line
        ))),
    };
    records(path)?.into_iter().map(pair).collect()
}

/// A label as a class is named: whole numbers without a point.
pub(super) fn name(label: &Label) -> String {
    match label {
        Label::Number(n) => format!("{n}"),
        Label::Name(name) => name.clone(),
    }
}

/// The classes of pairs in order.
pub(super) fn classes(pairs: &[Pair]) -> Vec<String> {
    let mut names: Vec<String> = pairs
        .iter()
        .filter_map(|p| p.label.as_ref())
        .map(name)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if let Some(order) = order(&names) {
        let mut sorted: Vec<(f64, String)> = order.into_iter().zip(names).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        names = sorted.into_iter().map(|(_, name)| name).collect();
    }
    names
}

/// How alike a pair of each class is, when classes have an order: numbers, and NLI's names.
pub(super) fn order(names: &[String]) -> Option<Vec<f64>> {
    let numbers: Option<Vec<f64>> = names.iter().map(|n| n.parse().ok()).collect();
    let of_nli = |n: &String| NLI.iter().position(|known| *known == n.to_lowercase()).map(|i| i as f64);
    numbers.or_else(|| names.iter().map(of_nli).collect())
}

/// Each label as a class (its position) or a number.
pub(super) fn targets(pairs: &[Pair], labels: &[String], path: &Path) -> Result<Vec<f64>> {
    let fail = |p: &Pair, message: String| Error::Input(format!("{}:{}: {message}", path.display(), p.line));
    let target = |p: &Pair| match (&p.label, labels) {
        (None, _) => Err(fail(p, "the pair has no label".into())),
        (Some(Label::Number(n)), []) => Ok(*n),
        (Some(Label::Name(n)), []) => {
            Err(fail(p, format!("label {n:?} is no number; objective = \"regression\" learns numbers")))
        }
        (Some(label), labels) => {
            let label = name(label);
            labels.iter().position(|l| *l == label).map(|i| i as f64).ok_or_else(|| {
                let near = settings::nearest(&label, labels.iter().map(String::as_str));
                let hint = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
                fail(p, format!("label `{label}` is not one of the model's: {}{hint}", labels.join(", ")))
            })
        }
    };
    pairs.iter().map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_order_of_their_meaning() {
        let pair = |label: Label| Pair { first: "a".into(), second: "b".into(), label: Some(label), line: 1 };
        let of = |labels: &[Label]| classes(&labels.iter().cloned().map(pair).collect::<Vec<_>>());
        let named = |names: &[&str]| names.iter().map(|n| Label::Name(n.to_string())).collect::<Vec<_>>();
        assert_eq!(of(&[10.0, 2.0, 0.0, 2.0].map(Label::Number)), ["0", "2", "10"]);
        assert_eq!(of(&named(&["entailment", "neutral", "contradiction"])), NLI);
        assert_eq!(of(&named(&["yes", "no"])), ["no", "yes"]);
        assert_eq!(order(&["no".into(), "yes".into()]), None);
        let unknown =
            targets(&[pair(Label::Name("yse".into()))], &["no".into(), "yes".into()], Path::new("x"));
        assert!(
            unknown
                .unwrap_err()
                .to_string()
                .contains("x:1: label `yse` is not one of the model's: no, yes; did")
        );
    }
}

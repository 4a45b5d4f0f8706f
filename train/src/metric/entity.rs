//! Entity scores: exact spans with their label.
//! Definition:  correct = spans (start, end, label) in both the gold and the predicted set of a text;
//!              P = correct / predicted, R = correct / gold, F1 = 2 correct / (gold + predicted)
//! Micro:       counts are summed over texts (and types) before the division; 0 / 0 = 0
//! Reference:   Tjong Kim Sang, De Meulder, CoNLL-2003 shared task, 2003

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Numbers of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// In the gold answers.
    pub gold: usize,
    /// In the predictions.
    pub predicted: usize,
    /// In both.
    pub correct: usize,
}

impl Counts {
    /// The share of predictions that are right.
    pub fn precision(&self) -> f64 {
        ratio(self.correct, self.predicted)
    }

    /// The share of gold answers that were found.
    pub fn recall(&self) -> f64 {
        ratio(self.correct, self.gold)
    }

    /// The harmonic mean of both.
    pub fn f1(&self) -> f64 {
        ratio(2 * self.correct, self.gold + self.predicted)
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Counts of all types together and of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityScore {
    /// Micro counts.
    pub total: Counts,
    /// By label.
    pub types: BTreeMap<String, Counts>,
}

/// A span with its label: `(start, end, label)`.
pub type Labelled<'a> = (usize, usize, &'a str);

impl EntityScore {
    /// Adds the answers of one text. Both sides are sets: a repeated span counts once.
    pub fn add(&mut self, gold: &[Labelled], predicted: &[Labelled]) {
        let gold: BTreeSet<Labelled> = gold.iter().copied().collect();
        let predicted: BTreeSet<Labelled> = predicted.iter().copied().collect();
        for span in &gold {
            self.count(span.2, |c| c.gold += 1);
        }
        for span in &predicted {
            self.count(span.2, |c| c.predicted += 1);
            if gold.contains(span) {
                self.count(span.2, |c| c.correct += 1);
            }
        }
    }

    /// The numbers by name: `precision`, `recall`, `f1`, the counts, and the same for each type.
    pub fn to_json(&self) -> serde_json::Value {
        let numbers = |c: &Counts| {
            serde_json::json!({
                "precision": c.precision(), "recall": c.recall(), "f1": c.f1(),
                "gold": c.gold, "predicted": c.predicted, "correct": c.correct,
            })
        };
        let mut all = numbers(&self.total);
        all["types"] = self.types.iter().map(|(label, c)| (label.clone(), numbers(c))).collect();
        all
    }

    fn count(&mut self, label: &str, change: impl Fn(&mut Counts)) {
        change(&mut self.total);
        match self.types.get_mut(label) {
            Some(counts) => change(counts),
            None => change(self.types.entry(label.to_string()).or_default()),
        }
    }
}

/// The score of many texts, given as (gold, predicted).
pub fn entity_score<'a>(
    texts: impl IntoIterator<Item = (&'a [Labelled<'a>], &'a [Labelled<'a>])>,
) -> EntityScore {
    let mut score = EntityScore::default();
    texts.into_iter().for_each(|(gold, predicted)| score.add(gold, predicted));
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_scores_by_hand() {
        let first = ([(0, 2, "PER"), (3, 5, "LOC")], [(0, 2, "PER"), (3, 5, "ORG"), (3, 4, "LOC")]);
        let second = ([(0, 2, "LOC")], [(0, 2, "LOC")]);
        let score =
            entity_score([(&first.0[..], &first.1[..]), (&second.0[..], &second.1[..]), (&[][..], &[][..])]);
        assert_eq!(score.total, Counts { gold: 3, predicted: 4, correct: 2 });
        assert_eq!(score.types["LOC"], Counts { gold: 2, predicted: 2, correct: 1 });
        assert_eq!(score.types["ORG"], Counts { gold: 0, predicted: 1, correct: 0 });
        let total = score.total;
        assert_eq!((total.precision(), total.recall()), (0.5, 2.0 / 3.0));
        assert!((total.f1() - 4.0 / 7.0).abs() < 1e-15);
        assert_eq!(score.to_json()["types"]["PER"]["f1"], 1.0);
    }

    #[test]
    fn the_same_span_in_two_texts_counts_twice_and_in_one_text_once() {
        let spans = [(0, 1, "A"), (0, 1, "A")];
        let score = entity_score([(&spans[..], &spans[..]), (&spans[..], &[][..])]);
        assert_eq!(score.total, Counts { gold: 2, predicted: 1, correct: 1 });
    }

    #[test]
    fn nothing_at_all_scores_zero() {
        let counts = EntityScore::default().total;
        assert_eq!((counts.precision(), counts.recall(), counts.f1()), (0.0, 0.0, 0.0));
    }

    #[test]
    fn scores_of_decoded_spans_are_those_of_the_golden_file() {
        let cases = bert4rs_testing::golden("globalpointer");
        let case = cases.iter().find(|c| c.name == "decode_nested_flat_ties").unwrap();
        let spans = |value: &serde_json::Value| -> Vec<(usize, usize, String)> {
            let rows: Vec<[usize; 3]> = serde_json::from_value(value.clone()).unwrap();
            rows.into_iter().map(|[kind, start, end]| (start, end, kind.to_string())).collect()
        };
        let gold = spans(&case.inputs["gold"]);
        for (found, expected) in
            [("spans", "f1_precision_recall"), ("spans_flat", "f1_precision_recall_flat")]
        {
            let found = spans(&case.expected[found]);
            let mut score = EntityScore::default();
            let gold: Vec<Labelled> = gold.iter().map(|(s, e, l)| (*s, *e, l.as_str())).collect();
            let found: Vec<Labelled> = found.iter().map(|(s, e, l)| (*s, *e, l.as_str())).collect();
            score.add(&gold, &found);
            let c = score.total;
            let got = bert4rs_tensor::Tensor::new(vec![c.f1(), c.precision(), c.recall()], &[3]).unwrap();
            case.assert(expected, &got);
        }
    }
}

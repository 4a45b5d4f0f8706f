//! What makes scores and labels doubtful: pairs that training and development share, and pairs that
//! are labelled twice, differently.

use std::collections::HashMap;

use bert4rs_text::format::sentences::{Label, Record, Sentences};

use super::data::Pair;

/// Notes for the user; none when all is well. A pair is the same in either order.
pub(super) fn notes(train: &[Record], dev: &[Pair]) -> Vec<String> {
    let mut seen: HashMap<(&str, &str), (usize, Option<&Label>)> = HashMap::new();
    let (mut conflicts, mut first_conflict) = (0, None);
    for Record { line, sentences } in train {
        let Sentences::Pair { first, second, label } = sentences else { continue };
        let (before, known) = *seen.entry(key(first, second)).or_insert((*line, label.as_ref()));
        if known != label.as_ref() {
            conflicts += 1;
            first_conflict.get_or_insert((before, *line));
        }
    }
    let mut notes = Vec::new();
    if let Some((one, other)) = first_conflict {
        notes.push(format!(
            "{conflicts} training pairs repeat an earlier one with another label, as lines {one} and {other} do; one of \
             them is wrong"
        ));
    }
    let shared = dev.iter().filter(|p| seen.contains_key(&key(&p.first, &p.second))).collect::<Vec<_>>();
    if let Some(first) = shared.first() {
        let (line, _) = seen[&key(&first.first, &first.second)];
        notes.push(format!(
            "{} of {} development pairs are training pairs, too, as lines {} and {line} show; their score is not that \
             of new texts",
            shared.len(),
            dev.len(),
            first.line,
        ));
    }
    notes
}

fn key<'a>(first: &'a str, second: &'a str) -> (&'a str, &'a str) {
    if first <= second { (first, second) } else { (second, first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_and_leaks_are_counted_with_an_example() {
        let record = |line, first: &str, second: &str, label| Record {
            line,
            sentences: Sentences::Pair {
                first: first.into(),
                second: second.into(),
                label: Some(Label::Number(label)),
            },
        };
        let dev = |line, first: &str, second: &str| Pair {
            first: first.into(),
            second: second.into(),
            label: 1.0,
            line,
        };
        let train = [record(1, "a", "b", 1.0), record(2, "c", "d", 0.0), record(3, "b", "a", 0.0)];
        let found = notes(&train, &[dev(1, "x", "y"), dev(2, "d", "c")]);
        assert!(
            found[0].starts_with("1 training pairs repeat") && found[0].contains("lines 1 and 3"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("1 of 2 development pairs") && found[1].contains("lines 2 and 2"),
            "{found:?}"
        );
        assert_eq!(notes(&train[..2], &[dev(1, "x", "y")]), Vec::<String>::new());
    }
}

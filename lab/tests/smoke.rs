//! Every experiment in a second: it runs, and its report has what a reader expects.
#![allow(clippy::unwrap_used)]

use bert4rs_lab::{EXPERIMENTS, Outcome, Report, Setup, find, nearest};
use serde_json::Value;

const SETUP: Setup = Setup { seeds: 2, smoke: true };

/// A report with tables, plots and reasons, the same when it runs again.
fn runs(name: &str) {
    let experiment = find(name).unwrap();
    let done = experiment.finish(&SETUP, Report::new(|_| ())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    done.write(folder.path()).unwrap();
    let read = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap();

    let report = done.report();
    assert!(!report.tables().is_empty() && !report.plots().is_empty());
    for table in report.tables() {
        assert!(!table.rows.is_empty(), "{}", table.title);
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{}", table.title);
    }
    let text = read("report.md");
    assert!(text.contains(experiment.claim) && text.contains(&format!("lab run {name}")));
    for (plot, _) in report.plots() {
        assert!(text.contains(&format!("({plot}.svg)")));
        let svg = read(&format!("{plot}.svg"));
        assert!(svg.contains("<polyline") || svg.contains("class=\"bar\""), "{plot} shows nothing");
    }

    let checks = &done.verdict().checks;
    let holding = checks.iter().filter(|check| check.holds).count();
    let outcome = match holding {
        0 => Outcome::DoesNotHold,
        n if n == checks.len() => Outcome::Holds,
        _ => Outcome::Mixed,
    };
    assert!(!checks.is_empty() && done.verdict().outcome == outcome);

    let json: Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!((json["experiment"].as_str(), json["smoke"].as_bool()), (Some(name), Some(true)));
    assert_eq!(json["tables"].as_array().unwrap().len(), report.tables().len());
    assert_eq!(json["plots"].as_array().unwrap().len(), report.plots().len());
}

macro_rules! experiments {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            runs(stringify!($name));
        })*

        #[test]
        fn every_experiment_has_its_test() {
            let names: Vec<&str> = EXPERIMENTS.iter().map(|e| e.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

experiments! {
    length_extension
    entropy_invariant
    gradient_max_scale
    initial_deviation
    albert_unshared
    gated_attention
    low_rank_heads
    residual_scores
}

#[test]
fn the_same_seeds_give_the_same_numbers() {
    let numbers = || {
        let done = find("albert_unshared").unwrap().finish(&SETUP, Report::new(|_| ())).unwrap();
        done.report().tables().iter().map(|table| table.to_markdown()).collect::<String>()
    };
    assert_eq!(numbers(), numbers());
}

#[test]
fn a_misspelt_name_has_a_neighbour() {
    assert_eq!(nearest("lenght_extension"), Some("length_extension"));
    assert!(nearest("zzz").is_none() && find("zzz").is_none());
}

/// `docs/lab.md` has a section for each experiment with its claim, and `docs/methods.md` names each.
#[test]
fn the_documents_know_every_experiment() {
    let read = |path: &str| {
        std::fs::read_to_string(format!("{}/../docs/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (lab, methods) = (words(&read("lab.md")), read("methods.md"));
    for e in EXPERIMENTS {
        assert!(lab.contains(&format!("## {} ", e.name)), "docs/lab.md: no section {}", e.name);
        assert!(
            lab.contains(&words(e.claim)),
            "docs/lab.md: {}: the claim is not that of the program",
            e.name
        );
        assert!(methods.contains(&format!("`lab run {}`", e.name)), "docs/methods.md: no row of {}", e.name);
    }
}

//! Whole runs on an invented language: train, keep the best, open, predict.

mod toy;

use bert4rs_tasks::ner::{self, OverflowKind, PredictOptions};
use bert4rs_tasks::read_examples;
use bert4rs_tensor::Rng;
use bert4rs_train::Silent;
use toy::train;

#[test]
fn every_decoder_learns_flat_entities() {
    for decoder in ["global_pointer", "efficient_global_pointer", "crf", "memm", "softmax"] {
        let dir = tempfile::tempdir().unwrap();
        let (report, _) = train(dir.path(), false, &[&format!("head.decoder={decoder}")]);
        let f1 = report.evaluation.scores.total.f1();
        assert!(f1 > 0.9, "{decoder}: F1 {f1}");
    }
}

#[test]
fn spans_find_nested_entities_that_tags_cannot_express() {
    let dir = tempfile::tempdir().unwrap();
    let (report, model) = train(dir.path(), true, &[]);
    let pointer = report.evaluation.scores.total.f1();
    assert!(pointer > 0.9, "GlobalPointer: F1 {pointer}");
    let answer = &model.predict(&["白沙气象站今天3度，"], &PredictOptions::default()).unwrap()[0];
    let found: Vec<_> = answer.entities.iter().map(|e| (e.start, e.end, e.text.as_str())).collect();
    assert_eq!(found, [(0, 2, "白沙"), (0, 5, "白沙气象站")]);
    let other = tempfile::tempdir().unwrap();
    let (report, _) = train(other.path(), true, &["head.decoder=crf"]);
    let crf = report.evaluation.scores.total.f1();
    assert!(crf < pointer - 0.1, "CRF {crf}, GlobalPointer {pointer}");
}

#[test]
fn a_limit_of_width_keeps_what_fits_and_refuses_wider_training_entities() {
    let dir = tempfile::tempdir().unwrap();
    let narrow = toy::config(dir.path(), false, &["head.max_span_width=2"]);
    let error = ner::train(&narrow, false, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("max_span_width = 2, but "), "{error}");
    assert!(error.contains("the widest has 3 tokens: set max_span_width = 3"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let (report, _) = train(dir.path(), false, &["head.max_span_width=3"]);
    assert_eq!(report.lost_entities, 0);
    let f1 = report.evaluation.scores.total.f1();
    assert!(f1 > 0.9, "F1 {f1}");
}

#[test]
fn answers_do_not_depend_on_neighbours_batches_or_threads() {
    let dir = tempfile::tempdir().unwrap();
    let (_, model) = train(dir.path(), true, &[]);
    let mut rng = Rng::new(9);
    let texts: Vec<String> = (0..30).map(|_| toy::report(&mut rng, true).0).collect();
    let views: Vec<&str> = texts.iter().map(String::as_str).collect();
    let together = model.predict(&views, &PredictOptions::default()).unwrap();
    for (text, answer) in views.iter().zip(&together) {
        assert_eq!(model.predict(&[text], &PredictOptions::default()).unwrap(), std::slice::from_ref(answer));
    }
    let small = PredictOptions { batch_tokens: 40, ..PredictOptions::default() };
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| model.predict(&views, &small)).unwrap(), together);
    }
}

#[test]
fn a_stream_of_examples_is_counted_as_one_set() {
    let dir = tempfile::tempdir().unwrap();
    let (_, model) = train(dir.path(), false, &["train.epochs=3"]);
    let once = read_examples(&dir.path().join("dev.jsonl")).unwrap();
    let options = PredictOptions::default();
    let (one, times) = (ner::evaluate(&model, &once, &options).unwrap(), 120); // 4,800 texts: two chunks
    let many = (0..times).flat_map(|_| &once).map(Ok);
    let all = ner::evaluate_stream(&model, many, &options).unwrap();
    let counts = |e: &ner::Evaluation| {
        let s = &e.scores.total;
        [s.gold, s.predicted, s.correct, e.texts, e.tokens]
    };
    assert!(one.scores.total.correct > 0);
    assert_eq!(counts(&all), counts(&one).map(|n| n * times));

    let mut long = once[0].clone();
    long.text = long.text.repeat(20);
    let with_long = (0..4500).map(|i| Ok(if i == 4400 { &long } else { &once[0] }));
    let refuse = PredictOptions { overflow: Some(OverflowKind::Error), ..options };
    let error = ner::evaluate_stream(&model, with_long, &refuse).unwrap_err().to_string();
    assert!(error.contains("text 4401: "), "{error}");
}

#[test]
fn an_entity_at_character_50_000_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_, model) = train(dir.path(), false, &[]);
    let unit = "今天3度，";
    let text = unit.repeat(10_000) + "北山今天7度，" + &unit.repeat(10_000);
    let answer = &model.predict(&[&text], &PredictOptions::default()).unwrap()[0];
    let found: Vec<_> = answer.entities.iter().map(|e| (e.start, e.end, e.text.as_str())).collect();
    assert_eq!(found, [(50_000, 50_002, "北山")]);
    assert!(!answer.truncated);

    let cut = PredictOptions { overflow: Some(OverflowKind::Truncate), ..PredictOptions::default() };
    let answer = &model.predict(&[&text], &cut).unwrap()[0];
    assert!(answer.truncated && answer.entities.is_empty() && answer.tokens == 64);

    let refuse = PredictOptions { overflow: Some(OverflowKind::Error), ..PredictOptions::default() };
    let error = model.predict(&["短", &text], &refuse).unwrap_err().to_string();
    assert!(
        error.contains("text 2: ") && error.contains("100007 tokens") && error.contains("window"),
        "{error}"
    );
}

#[test]
fn texts_without_tokens_have_no_entities() {
    let dir = tempfile::tempdir().unwrap();
    let (_, model) = train(dir.path(), false, &["train.epochs=1"]);
    let answers = model.predict(&["", "   ", "\u{200b}\n"], &PredictOptions::default()).unwrap();
    assert!(answers.iter().all(|a| a.entities.is_empty() && !a.truncated), "{answers:?}");
    assert!(model.predict(&[], &PredictOptions::default()).unwrap().is_empty());
}

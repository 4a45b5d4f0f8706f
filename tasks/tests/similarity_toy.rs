//! Whole runs on an invented language: every loss learns, resumes, saves and opens.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bert4rs_tasks::RunConfig;
use bert4rs_tasks::sentence::{Options, SentenceEncoder};
use bert4rs_tasks::similarity::{self, LabelScale, TrainReport};
use bert4rs_tensor::Rng;
use bert4rs_train::{Silent, Watch};
use serde_json::json;

const TOPICS: [[&str; 4]; 6] = [
    ["天气", "下雨", "晴天", "温度"],
    ["火车", "车票", "站台", "出发"],
    ["苹果", "水果", "香蕉", "好吃"],
    ["电脑", "键盘", "屏幕", "软件"],
    ["足球", "比赛", "进球", "球队"],
    ["医院", "医生", "药品", "看病"],
];

/// A text about a topic: two of its words among filling.
fn text(rng: &mut Rng, topic: usize) -> String {
    let word = |rng: &mut Rng| TOPICS[topic][rng.below(4)];
    let filling = ["今天", "请问", "我想", "怎么"][rng.below(4)];
    format!("{filling}{}{}吗", word(rng), word(rng))
}

/// Pairs with labels 0 and 1, or 0, 1 and 2 where a third of the positives is word for word the same.
fn pairs(count: usize, seed: u64, graded: bool) -> String {
    let (mut rng, mut out) = (Rng::new(seed), String::new());
    for i in 0..count {
        let topic = rng.below(6);
        let first = text(&mut rng, topic);
        let (second, label) = match i % 3 {
            0 => {
                let other = (topic + 1 + rng.below(5)) % 6;
                (text(&mut rng, other), 0)
            }
            1 if graded => (first.clone(), 2),
            _ => (text(&mut rng, topic), 1),
        };
        writeln!(out, "{}", json!({"text_a": first, "text_b": second, "label": label})).unwrap();
    }
    out
}

fn triplets(count: usize, seed: u64) -> String {
    let (mut rng, mut out) = (Rng::new(seed), String::new());
    for _ in 0..count {
        let topic = rng.below(6);
        let (query, positive) = (text(&mut rng, topic), text(&mut rng, topic));
        let negative = text(&mut rng, (topic + 1) % 6);
        writeln!(out, "{}", json!({"query": query, "pos": [positive], "neg": [negative]})).unwrap();
    }
    out
}

fn config(dir: &Path, train: &str, extra: &[&str]) -> RunConfig {
    fs::write(dir.join("train.jsonl"), train).unwrap();
    fs::write(dir.join("dev.jsonl"), pairs(90, 77, false)).unwrap();
    let text = format!(
        "[task]\ntype = \"similarity\"\n[data]\ntrain = {:?}\ndev = {:?}\n[tokenizer]\nmin_count = 1\n\
         [encoder]\npreset = \"bert\"\nhidden_size = 32\nlayers = 1\nmixer = {{ attention = {{ heads = 2 }} }}\n\
         feed_forward = {{ dense = {{ size = 64 }} }}\n\
         [train]\nepochs = 4\nlr = 0.003\nbatch_tokens = 512\nseed = 3\n[output]\ndir = {:?}\n",
        dir.join("train.jsonl"),
        dir.join("dev.jsonl"),
        dir.join("run")
    );
    let path = dir.join("config.toml");
    fs::write(&path, text).unwrap();
    RunConfig::load(&path, &extra.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap()
}

fn train(dir: &Path, data: &str, extra: &[&str]) -> TrainReport {
    similarity::train(&config(dir, data, extra), false, &mut Silent).unwrap()
}

fn refusal(data: &str, extra: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    similarity::train(&config(dir.path(), data, extra), false, &mut Silent).unwrap_err().to_string()
}

/// Keeps what the user is told.
#[derive(Default)]
struct Notes(Vec<String>);

impl Watch for Notes {
    fn note(&mut self, message: &str) {
        self.0.push(message.to_string());
    }
}

#[test]
fn losses_on_labelled_pairs_learn_to_rank() {
    // A classifier of pairs is trained, cosines only follow: Sentence-BERT ranks less well.
    for (loss, least) in [("cosent", 0.7), ("softmax", 0.5), ("cosine", 0.7)] {
        let dir = tempfile::tempdir().unwrap();
        let report = train(dir.path(), &pairs(300, 1, true), &[&format!("loss.type={loss}")]);
        let spearman = report.evaluation.spearman.unwrap();
        assert!(spearman > least, "{loss}: {spearman}");
        let binary = report.evaluation.binary.unwrap();
        assert!(binary.accuracy.metric > 0.8 && binary.average_precision.unwrap() > 0.8, "{loss}");
    }
}

#[test]
fn losses_on_triplets_learn_to_rank() {
    for loss in ["multiple_negatives", "triplet"] {
        let dir = tempfile::tempdir().unwrap();
        let report = train(dir.path(), &triplets(250, 1), &[&format!("loss.type={loss}")]);
        assert!(report.evaluation.spearman.unwrap() > 0.7, "{loss}: {:?}", report.evaluation);
    }
}

#[test]
fn a_student_without_labels_learns_its_teachers_similarities() {
    let dir = tempfile::tempdir().unwrap();
    let teacher = train(dir.path(), &pairs(300, 1, true), &["loss.matryoshka=[32,8]"]);
    let other = tempfile::tempdir().unwrap();
    let extra = [
        "loss.type=distillation".to_string(),
        format!("loss.teacher={:?}", teacher.model),
        "encoder.hidden_size=16".into(),
        "train.epochs=8".into(),
    ];
    let student = train(other.path(), &pairs(300, 5, true), &extra.each_ref().map(String::as_str));
    assert!(student.evaluation.spearman.unwrap() > 0.6, "{:?}", student.evaluation);
    let cut = tempfile::tempdir().unwrap();
    let vectors = format!("loss.teacher={:?}", teacher.model);
    let error = refusal(
        &pairs(30, 5, true),
        &["loss.type=distillation", "loss.distill=vectors", &vectors, "encoder.hidden_size=16"],
    );
    assert!(error.contains("teacher's vectors have 32 numbers, the student's 16"), "{error}");
    drop(cut);
}

#[test]
fn simcse_trains_on_plain_lines_and_every_pooling_is_kept() {
    let mut rng = Rng::new(8);
    let lines: String = (0..120).map(|i| text(&mut rng, i % 6) + "\n").collect();
    for pooling in ["cls", "mean", "max", "mean_sqrt_len", "weighted_mean", "last", "first_last_mean"] {
        let dir = tempfile::tempdir().unwrap();
        let pool = format!("task.pooling={pooling}");
        let extra = ["loss.type=simcse", &pool, "encoder.layers=2", "train.epochs=1", "task.normalize=true"];
        let report = train(dir.path(), &lines, &extra);
        let model = SentenceEncoder::open(&report.model).unwrap();
        let vector = &model.encode(&["今天下雨吗"], &Options::default()).unwrap().vectors[0];
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{pooling}");
        // What is opened scores as what was trained: the best evaluation is in the log.
        let log = fs::read_to_string(dir.path().join("run/log.jsonl")).unwrap();
        let logged = log.lines().rev().find(|l| l.contains("spearman")).unwrap();
        let logged: serde_json::Value = serde_json::from_str(logged).unwrap();
        let text = logged.to_string();
        let spearman = report.evaluation.spearman.unwrap();
        assert!(text.contains(&format!("{spearman:?}")), "{pooling}: {spearman} in {text}");
    }
}

#[test]
fn cached_gradients_are_those_of_one_large_batch() {
    // Without dropout both runs are the same function; sums of gradients differ in their order alone.
    let still = ["encoder.dropout=0", "encoder.embedding.dropout=0", "encoder.mixer.attention.dropout=0"];
    let scores = [None, Some("loss.cache_tokens=40")].map(|cache| {
        let dir = tempfile::tempdir().unwrap();
        let mut extra = vec!["loss.type=multiple_negatives", "train.epochs=1", "train.batch_tokens=4096"];
        extra.extend(still);
        extra.extend(cache);
        let report = train(dir.path(), &triplets(120, 1), &extra);
        let model = SentenceEncoder::open(&report.model).unwrap();
        model.encode(&["今天下雨吗", "请问车票站台"], &Options::default()).unwrap().vectors.concat()
    });
    for (a, b) in scores[0].iter().zip(&scores[1]) {
        assert!((a - b).abs() < 2e-4, "{a} and {b}");
    }
}

#[test]
fn a_folder_is_fine_tuned_and_keeps_its_thresholds() {
    let dir = tempfile::tempdir().unwrap();
    let first = train(dir.path(), &pairs(200, 1, false), &["task.normalize=true", "task.pooling=cls"]);
    let again = tempfile::tempdir().unwrap();
    let mut config = config(again.path(), &pairs(200, 2, false), &["train.epochs=1", "train.lr=0.0001"]);
    config.encoder = format!("path = {:?}", first.model).parse().unwrap();
    config.tokenizer = None;
    let report = similarity::train(&config, false, &mut Silent).unwrap();
    let before = first.evaluation.spearman.unwrap();
    assert!(report.evaluation.spearman.unwrap() > before - 0.05, "{before} and {:?}", report.evaluation);
    let modules = fs::read_to_string(report.model.join("modules.json")).unwrap();
    assert!(modules.contains("2_Normalize"), "{modules}");
    assert!(
        fs::read_to_string(report.model.join("1_Pooling/config.json"))
            .unwrap()
            .contains("\"pooling_mode_cls_token\": true")
    );

    let dev = similarity::read_pairs(&again.path().join("dev.jsonl"), LabelScale::Auto).unwrap();
    let model = SentenceEncoder::open(&report.model).unwrap();
    let (scores, _) = similarity::cosines(&model, &dev, &Options::default()).unwrap();
    let found =
        similarity::of_scores(&scores, &dev).with_thresholds_of(&report.model, &scores, &dev).unwrap();
    let binary = found.binary.unwrap();
    assert_eq!(binary.at_kept, Some((binary.accuracy.metric, binary.f1.metric)));
    let other = SentenceEncoder::open(&first.model).unwrap();
    let (others, _) = similarity::cosines(&other, &dev, &Options::default()).unwrap();
    let versus = similarity::compare([&others, &scores], &dev, 1);
    assert!(versus.difference.unwrap().p > 0.0);
}

#[test]
fn a_stopped_run_goes_on_to_the_same_model() {
    struct Stop(u32);
    impl Watch for Stop {
        fn should_stop(&mut self) -> bool {
            self.0 += 1;
            self.0 == 5
        }
    }
    let data = pairs(150, 1, false);
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = train(whole.path(), &data, &["train.epochs=2"]);
    let config = config(parts.path(), &data, &["train.epochs=2"]);
    similarity::train(&config, false, &mut Stop(0)).unwrap_err();
    let second = similarity::train(&config, true, &mut Silent).unwrap();
    let weights = |r: &TrainReport| fs::read(r.model.join("model.safetensors")).unwrap();
    assert_eq!(weights(&first), weights(&second));
}

#[test]
fn batches_without_an_order_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut notes = Notes::default();
    let config = config(dir.path(), &pairs(60, 1, false), &["train.batch_size=1", "train.epochs=1"]);
    // Nothing moves the weights but decay; the first evaluation still counts.
    similarity::train(&config, false, &mut notes).unwrap();
    assert!(notes.0.iter().any(|n| n.starts_with("60 batches had one label only")), "{:?}", notes.0);
}

#[test]
fn data_that_a_loss_cannot_use_is_refused() {
    let same = |label: f64| {
        let line = json!({"text_a": "天气", "text_b": "下雨", "label": label}).to_string() + "\n";
        line.repeat(10)
    };
    assert!(refusal(&same(1.0), &[]).contains("all 10 labels are 1; a loss needs pairs that differ"));
    let graded: String =
        (0..20).map(|i| same(f64::from(i) / 4.0).lines().next().unwrap().to_string() + "\n").collect();
    assert!(refusal(&graded, &["loss.type=softmax"]).contains("set positive_above = 2.375"));
    assert!(refusal("天气\n下雨\n", &[]).contains("train.jsonl:1: one text alone; expected a pair"));
    assert!(refusal("天气\n下雨\n", &["loss.type=multiple_negatives"]).contains("has texts alone"));
    assert!(refusal(&same(1.0), &["loss.type=triplet"]).contains(":1: there are no negatives"));
    let error = refusal(&pairs(30, 1, false), &["loss.matryoshka=[64]"]);
    assert!(error.contains("matryoshka has 64, but the vectors have 32"), "{error}");
    let error = RunConfig::load(Path::new("no.toml"), &[]).unwrap_err().to_string();
    assert!(error.contains("no.toml"));
}

#[test]
fn sections_of_other_tasks_are_refused() {
    let read = |text: &str| RunConfig::from_table(text.parse().unwrap()).unwrap_err().to_string();
    let rest = "[data]\ntrain = \"a\"\ndev = \"b\"\n[encoder]\npreset = \"bert\"\n[output]\ndir = \"c\"\n";
    let error = read(&format!("[task]\ntype = \"similarity\"\n[head]\n{rest}"));
    assert!(error.contains("[head]: this task has no such section"), "{error}");
    let error = read(&format!("[task]\ntype = \"ner\"\n[loss]\n{rest}"));
    assert!(error.contains("[loss]: this task has no such section"), "{error}");
    let error = read(&format!("[task]\ntype = \"similarty\"\n{rest}"));
    assert!(error.contains("did you mean `similarity`?"), "{error}");
    let error = read(&format!("[task]\ntype = \"similarity\"\n[loss]\ntype = \"distillation\"\n{rest}"));
    assert!(error.contains("distillation needs a teacher"), "{error}");
}

//! A small invented language: "weather reports" with places, some of them inside names of stations.
#![allow(dead_code, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bert4rs_tasks::RunConfig;
use bert4rs_tasks::ner::{self, NerModel, TrainReport};
use bert4rs_tensor::Rng;
use bert4rs_train::Silent;

pub const PLACES: [&str; 12] =
    ["北山", "南河", "东湖村", "西城", "白沙", "青石镇", "红岩", "长滩", "小桥", "大河口", "石门", "云台"];

/// One report: its text and entities as (start, end, label).
pub fn report(rng: &mut Rng, nested: bool) -> (String, Vec<(usize, usize, &'static str)>) {
    let (mut text, mut entities) = (String::new(), Vec::new());
    for _ in 0..2 + rng.below(3) {
        let start = text.chars().count();
        let place = PLACES[rng.below(PLACES.len())];
        text.push_str(place);
        entities.push((start, start + place.chars().count(), "place"));
        if nested && rng.below(2) == 0 {
            text.push_str("气象站");
            entities.push((start, text.chars().count(), "station"));
        }
        write!(text, "今天{}度，", rng.below(40)).unwrap();
    }
    (text, entities)
}

pub fn write_data(path: &Path, count: usize, seed: u64, nested: bool) {
    let mut rng = Rng::new(seed);
    let mut out = String::new();
    for _ in 0..count {
        let (text, entities) = report(&mut rng, nested);
        let entities: Vec<_> =
            entities.iter().map(|(s, e, l)| serde_json::json!({"start": s, "end": e, "label": l})).collect();
        writeln!(out, "{}", serde_json::json!({"text": text, "entities": entities})).unwrap();
    }
    std::fs::write(path, out).unwrap();
}

/// A run of a few seconds in `dir`; `extra` are `--set` assignments.
pub fn config(dir: &Path, nested: bool, extra: &[&str]) -> RunConfig {
    write_data(&dir.join("train.jsonl"), 160, 1, nested);
    write_data(&dir.join("dev.jsonl"), 40, 2, nested);
    let text = format!(
        "[task]\ntype = \"ner\"\nmax_tokens = 64\noverlap = 16\n[data]\ntrain = {:?}\ndev = {:?}\n[tokenizer]\nmin_count = 1\n\
         [encoder]\npreset = \"lstm\"\nhidden_size = 32\n[head]\nkey_size = 16\n\
         [train]\nepochs = 6\nlr = 0.01\nbatch_tokens = 256\nseed = 3\n[output]\ndir = {:?}\n",
        dir.join("train.jsonl"),
        dir.join("dev.jsonl"),
        dir.join("run")
    );
    let path = dir.join("config.toml");
    std::fs::write(&path, text).unwrap();
    RunConfig::load(&path, &extra.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap()
}

pub fn train(dir: &Path, nested: bool, extra: &[&str]) -> (TrainReport, NerModel) {
    let report = ner::train(&config(dir, nested, extra), false, &mut Silent).unwrap();
    let model = NerModel::open(&report.model).unwrap();
    (report, model)
}

pub fn best(dir: &Path) -> PathBuf {
    dir.join("run").join("best")
}

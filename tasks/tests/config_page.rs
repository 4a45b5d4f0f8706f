//! `docs/config.md` names every key, with its default, and no other.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use bert4rs_nn::encoder::{EmbeddingConfig, EncoderConfig};
use bert4rs_tasks::config::{DataConfig, OutputConfig, TokenizerConfig};
use bert4rs_tasks::matching::MatchingConfig;
use bert4rs_tasks::ner::{HeadConfig, NerConfig};
use bert4rs_tasks::similarity::{LossConfig, SimilarityConfig};
use bert4rs_train::TrainConfig;
use serde_json::Value;

/// Section -> key -> text of the default.
fn page() -> BTreeMap<String, BTreeMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut sections, mut section) = (BTreeMap::<String, BTreeMap<String, String>>::new(), String::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## `[") {
            section = name.replacen("]`", "", 1);
        } else if let Some(row) = line.strip_prefix("| `") {
            let (key, rest) = row.split_once('`').unwrap();
            let default = rest.trim_start_matches(" | ").split(" | ").next().unwrap().trim_matches('`');
            sections.entry(section.clone()).or_default().insert(key.into(), default.into());
        }
    }
    sections
}

fn same(page: &str, value: &Value) -> bool {
    let Ok(page) = serde_json::from_str::<Value>(page) else {
        return ["required", "see below"].contains(&page) || (page == "–" && value.is_null());
    };
    match (page.as_f64(), value.as_f64()) {
        (Some(page), Some(value)) => page == value,
        _ => page == *value,
    }
}

#[test]
fn the_page_names_every_key_with_its_default() {
    let ner: NerConfig = toml::from_str("type = \"ner\"").unwrap();
    let matching: MatchingConfig = toml::from_str("type = \"matching\"").unwrap();
    let similarity: SimilarityConfig = toml::from_str("type = \"similarity\"").unwrap();
    let sections = [
        ("task of entities", serde_json::to_value(ner)),
        ("task of sentence vectors", serde_json::to_value(similarity)),
        ("task of matching", serde_json::to_value(matching)),
        ("loss", serde_json::to_value(LossConfig::default())),
        ("data", serde_json::to_value(DataConfig { train: "a".into(), dev: "b".into() })),
        ("tokenizer", serde_json::to_value(TokenizerConfig::default())),
        ("encoder", serde_json::to_value(EncoderConfig::default())),
        ("encoder.embedding", serde_json::to_value(EmbeddingConfig::default())),
        ("head", serde_json::to_value(HeadConfig::default())),
        ("train", serde_json::to_value(TrainConfig::default())),
        ("output", serde_json::to_value(OutputConfig { dir: "c".into() })),
    ];
    let page = page();
    for (section, value) in sections {
        let value = value.unwrap();
        let keys = value.as_object().unwrap();
        let rows = &page[section];
        assert!(rows.keys().eq(keys.keys()), "[{section}]: {:?}, {:?}", rows.keys(), keys.keys());
        for (key, value) in keys {
            assert!(
                same(&rows[key], value),
                "[{section}] {key}: {} in the page, {value} in the code",
                rows[key]
            );
        }
    }
}

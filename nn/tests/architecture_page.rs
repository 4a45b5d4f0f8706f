//! `docs/concepts/architectures.md` says of every preset what the code says.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bert4rs_nn::encoder::{preset, preset_names};
use serde_json::Value;

/// The variant that an axis has.
fn variant(axis: &Value) -> String {
    match axis {
        Value::String(name) => name.clone(),
        Value::Object(fields) => fields.keys().next().unwrap().clone(),
        other => other.to_string(),
    }
}

/// What attention has besides heads: the settings that are not BERT's.
fn attention(mixer: &Value) -> String {
    let plain = serde_json::to_value(preset("bert").unwrap().mixer).unwrap();
    let Some(own) = mixer.get("attention") else { return variant(mixer) };
    let fields = own.as_object().unwrap().iter();
    let other: Vec<String> = fields
        .filter(|(key, value)| {
            !["heads", "dropout"].contains(&key.as_str()) && **value != plain["attention"][key]
        })
        .map(|(key, value)| if value.is_object() { key.clone() } else { format!("{key} {}", variant(value)) })
        .collect();
    if other.is_empty() { "attention".into() } else { format!("attention, {}", other.join(", ")) }
}

fn table() -> String {
    let mut rows = String::new();
    for name in preset_names() {
        let config = serde_json::to_value(preset(name).unwrap()).unwrap();
        let feed = &config["feed_forward"];
        let activation = feed.as_object().and_then(|f| f.values().next()).map(|f| variant(&f["activation"]));
        let feed = [Some(variant(feed)), activation].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let cells = [
            format!("`{name}`"),
            format!("{} x {}", config["layers"], config["hidden_size"]),
            variant(&config["position"]),
            match variant(&config["mask"]).as_str() {
                "full" => attention(&config["mixer"]),
                mask => format!("{}, mask {mask}", attention(&config["mixer"])),
            },
            feed,
            variant(&config["norm"]),
            variant(&config["wiring"]),
            variant(&config["sharing"]),
            variant(&config["init"]),
        ];
        rows += &format!("| {} |\n", cells.join(" | "));
    }
    rows
}

#[test]
fn the_page_has_a_true_row_for_every_preset() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/concepts/architectures.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows: String = page.lines().filter(|l| l.starts_with("| `")).map(|l| format!("{l}\n")).collect();
    assert!(rows == table(), "the rows should be:\n{}", table());
}

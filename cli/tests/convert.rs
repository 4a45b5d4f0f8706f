//! convert and verify as a user runs them.
#![allow(clippy::unwrap_used)]

mod toy;

use std::path::Path;

use serde_json::Value;
use toy::Toy;

fn published(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/published").join(name);
    folder.to_str().unwrap().to_string()
}

#[test]
fn a_tensorflow_checkpoint_is_converted_and_verified() {
    let toy = Toy::new();
    let (tensorflow, torch) = (published("bert-tensorflow"), published("bert-torch"));
    let said = toy.run(&["convert", &tensorflow, "new"]).ok();
    assert!(
        said.out.contains("new: 46 tensors\n") && said.err.contains("hint: bert4rs verify"),
        "{}",
        said.out
    );
    let said = toy.run(&["verify", "new", &torch]).ok();
    assert!(said.out.contains("46 tensors in both, 0 of them differ\n"), "{}", said.out);
    assert!(said.out.contains("embeddings ") && said.out.contains("layer 1 "), "{}", said.out);
    let said = toy.run(&["verify", "new", &torch, "--json"]).ok();
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&found["first_diverging"], &found["layers"][2]["largest"]),
        (&Value::Null, &Value::from(0.0))
    );
    toy.run(&["convert", &tensorflow, "new"]).fails(&["new: is there already"]);
    toy.run(&["convert", &torch, "other", "--keep-tokens", "none"]).fails(&["has no vocab.txt"]);
    let said = toy.run(&["convert", &torch, "other", "--keep-tokens", "a", "--simplify"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
}

#[test]
fn models_that_differ_fail_by_the_name_of_the_layer() {
    let toy = Toy::new();
    let (from, to) = (published("bert-torch"), "changed");
    std::fs::create_dir(toy.path(to)).unwrap();
    let config = std::fs::read_to_string(Path::new(&from).join("config.json")).unwrap();
    toy.write("changed/config.json", config.replace("\"gelu\"", "\"relu\""));
    toy.write(
        "changed/pytorch_model.bin",
        std::fs::read(Path::new(&from).join("pytorch_model.bin")).unwrap(),
    );
    let said = toy.run(&["verify", &from, to]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("differ from layer 0 on"), "{}", said.err);
    assert!(said.out.contains("config feed_forward.dense.activation"), "{}", said.out);
}

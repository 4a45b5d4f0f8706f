//! `doctor` as a user runs it: presets, configurations, trained folders, and what it says of names it does not know.
#![allow(clippy::unwrap_used)]

mod toy;

use std::sync::LazyLock;

use serde_json::Value;
use toy::Toy;

static TOY: LazyLock<Toy> = LazyLock::new(Toy::trained);

fn json(out: &str) -> Value {
    serde_json::from_str(out.trim()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_trained_entity_model_is_looked_at_with_its_own_loss() {
    let said = TOY.run(&["doctor", "run/best", "--data", "dev.jsonl"]).ok();
    assert!(said.out.contains("trained weights") && said.out.contains("(ner)"), "{}", said.out);
    assert!(said.out.contains("left by distance") && said.out.contains("backward"), "{}", said.out);
    assert_eq!(said.err, "");
    let one = json(&TOY.run(&["doctor", "run/best", "--data", "dev.jsonl", "--json"]).ok().out);
    assert_eq!((&one["kind"], &one["gradients"]["loss_kind"]), (&"folder".into(), &"ner".into()));
    assert_eq!(one["recurrent"].as_array().unwrap().len(), 2);
    // Lines of text have no labels, so that the probe is the loss.
    TOY.write("lines.txt", "北山今天3度，\n南河今天4度，\n");
    let one = json(&TOY.run(&["doctor", "run/best", "--data", "lines.txt", "--json"]).ok().out);
    assert_eq!(one["gradients"]["loss_kind"], "probe");
    assert!(one["batch"].as_str().unwrap().starts_with("2 texts of lines.txt"), "{}", one["batch"]);
}

#[test]
fn a_configuration_knows_whether_there_is_a_warm_up() {
    let toy = Toy::new();
    let config = String::from_utf8(toy.read("config.toml")).unwrap();
    // A deep post-norm stack of LeCun's start forgets its input.
    let encoder = "preset = \"roformer_small\"\nhidden_size = 32\nlayers = 8\ninit = \"le_cun\"\n\
                   mixer = { attention = { heads = 2 } }\nfeed_forward = { dense = { size = 128 } }";
    let config = config.replace("preset = \"lstm\"\nhidden_size = 32\nembedding = { size = 32 }", encoder);
    toy.write("deep.toml", config.replace("epochs = 8", "epochs = 8\nwarmup_ratio = 0.0"));
    toy.write("warm.toml", &config);
    let said = toy.run(&["doctor", "deep.toml"]).ok();
    assert!(said.out.contains("configuration") && said.out.contains("new weights"), "{}", said.out);
    assert!(said.out.contains("post-norm, 8 layers, no warm-up"), "{}", said.out);
    assert!(!toy.run(&["doctor", "warm.toml"]).ok().out.contains("no warm-up"));
}

#[test]
fn the_object_has_the_same_keys_for_every_model_and_the_plot_is_one_file() {
    let said = TOY.run(&["doctor", "config.toml", "--json", "--plot", "doctor.svg"]).ok();
    let one = json(&said.out);
    let expected = [
        "activations",
        "batch",
        "entropy",
        "findings",
        "gradients",
        "kind",
        "model",
        "new",
        "parameters",
        "recurrent",
        "rows",
        "tensors",
    ];
    let mut found = keys(&one);
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(one["findings"], Value::Array(Vec::new()));
    let mut found = keys(&one["activations"]["layers"][0]);
    found.sort_unstable();
    assert_eq!(found, ["alike", "feed_forward", "hidden", "left", "mixer", "predicted"]);
    let mut found = keys(&one["gradients"]);
    found.sort_unstable();
    assert_eq!(found, ["all", "embedding", "hidden", "layers", "loss", "loss_kind", "not_finite", "without"]);
    let svg = String::from_utf8(TOY.read("doctor.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    assert!(svg.contains("what is left of the gradient"));
}

#[test]
fn what_cannot_be_looked_at_is_told() {
    TOY.run(&["doctor", "bret"]).fails(&["bret: there is no such folder", "did you mean bert?", "RUN/best"]);
    TOY.write("none.toml", "[task]\ntype = \"ner\"\n");
    TOY.run(&["doctor", "none.toml"]).fails(&["none.toml", "no section [data]"]);
    TOY.run(&["doctor", "run/best", "--data", "missing.jsonl"]).fails(&["missing.jsonl"]);
    TOY.write("empty.txt", "\n\n");
    TOY.run(&["doctor", "run/best", "--data", "empty.txt"]).fails(&["empty.txt: has no text with tokens"]);
    TOY.run(&["doctor", "lstm", "--data", "empty.txt"])
        .fails(&["a preset has no vocabulary", "leave --data out"]);
    let said = TOY.run(&["doctor", "lstm", "--plot", "picture.png"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{}", said.err);
    assert!(said.err.contains("expected a file .svg"), "{}", said.err);
    assert_eq!(TOY.run(&["doctor"]).code, Some(2));
}

//! What users get wrong, and what they are told: what, where, what was expected, what to try.
#![allow(clippy::unwrap_used)]

mod toy;

use std::sync::LazyLock;

use toy::Toy;

static TOY: LazyLock<Toy> = LazyLock::new(Toy::trained);

/// A toy of its own whose training fails like this; nothing is left that looks like a model.
fn train_fails(change: impl Fn(&Toy), set: &[&str], parts: &[&str]) {
    let toy = Toy::new();
    change(&toy);
    let mut args = vec!["train", "config.toml"];
    set.iter().for_each(|set| args.extend(["--set", set]));
    toy.run(&args).fails(parts);
    assert!(!toy.path("run/best").exists());
}

#[test]
fn broken_data_is_told_with_file_and_line() {
    let good = r#"{"text": "北山今天", "entities": [{"start": 0, "end": 2, "label": "place"}]}"#;
    let broken = |line: &str, parts: &[&str]| {
        let content = format!("{good}\n{line}\n");
        train_fails(|toy| toy.write("train.jsonl", &content), &[], &[&["train.jsonl:2: "], parts].concat());
        TOY.write("broken.jsonl", &content);
        TOY.run(&["eval", "run/best", "broken.jsonl"]).fails(&[&["broken.jsonl:2: "], parts].concat());
    };
    broken(r#"{"text": "北山", "entities": ["#, &["EOF", "expected lines like"]);
    broken(
        r#"{"text": "北山", "entities": [{"start": 5, "end": 9, "label": "place"}]}"#,
        &["span 5..9 (place) ends after the text (2 characters)", "the end is not included"],
    );
    broken(
        r#"{"text": "北山", "entities": [{"start": 1, "end": 3, "label": "place"}]}"#,
        &["span 1..3 (place) ends after the text (2 characters)"],
    );
    broken(r#"{"text": "北山", "entities": [{"start": 1, "end": 1, "label": "place"}]}"#, &["is empty"]);
    broken(r#"{"text": "北山"}"#, &["there is no `entities`"]);
}

#[test]
fn empty_data_is_told() {
    for content in ["", "\n\n"] {
        train_fails(
            |toy| toy.write("train.jsonl", content),
            &[],
            &["train.jsonl: the file is empty; expected"],
        );
        train_fails(|toy| toy.write("dev.jsonl", content), &[], &["dev.jsonl: the file is empty; expected"]);
    }
    let no_text = r#"{"text": "  ", "entities": []}"#;
    train_fails(|toy| toy.write("train.jsonl", no_text), &["task.labels=[\"place\"]"], &["nothing to learn"]);
    let no_entity = r#"{"text": "北山", "entities": []}"#;
    train_fails(|toy| toy.write("train.jsonl", no_entity), &[], &["[task]: no labels"]);
    train_fails(|_| (), &["data.train=none.jsonl"], &["none.jsonl: No such file"]);
}

#[test]
fn an_unknown_label_is_an_error_in_training_and_a_note_in_evaluation() {
    let odd = r#"{"text": "北山今天", "entities": [{"start": 0, "end": 2, "label": "plaec"}]}"#;
    train_fails(
        |toy| toy.write("dev.jsonl", odd),
        &[],
        &["dev.jsonl: example 1: label `plaec` is not one of the model's: place; did you mean `place`?"],
    );
    train_fails(|_| (), &["task.labels=[\"palce\"]"], &["train.jsonl: example 1: label `place`"]);
    TOY.write("odd.jsonl", odd);
    let said = TOY.run(&["eval", "run/best", "odd.jsonl"]).ok();
    assert!(said.err.contains("count as missed: plaec (1); it knows place"), "{}", said.err);
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line() {
    TOY.write("gb.txt", b"\xe5\x8c\x97\n\xb1\xb1\xc9\xbd\n");
    TOY.run(&["predict", "run/best", "gb.txt"]).fails_after(1, &["gb.txt:2: is not UTF-8", "iconv"]);
    TOY.write("packed.gz", b"\x1f\x8b\x08\x00");
    TOY.run(&["predict", "run/best", "packed.gz"]).fails(&["packed.gz: is compressed", "zcat"]);
    TOY.run(&["predict", "run/best", "none.jsonl"]).fails(&["none.jsonl: there is no such file"]);
    TOY.run(&["predict", "run/best", "run"]).fails(&["run: is a folder"]);
    let said = TOY.pipe(&["predict", "run/best", "-"], b"{\"text\": \"a\"}\n{\"txt\": 3}\n");
    said.fails_after(1, &["standard input:2: missing field `text`", "expected lines like"]);
}

#[test]
fn a_damaged_model_folder_is_told() {
    let toy = Toy::trained();
    toy.run(&["predict", "none", "a"]).fails(&["none: there is no such folder", "RUN/best"]);
    toy.run(&["predict", "run", "a"]).fails(&["run: has no bert4rs.toml"]);
    let weights = toy.read("run/best/model.safetensors");
    toy.write("run/best/model.safetensors", &weights[..weights.len() / 2]);
    toy.run(&["info", "run/best"]).fails(&["model.safetensors", "copy or download it again"]);
    std::fs::remove_file(toy.path("run/best/model.safetensors")).unwrap();
    toy.run(&["predict", "run/best", "a"]).fails(&["run/best: has no model.safetensors"]);
    toy.write("run/best/model.safetensors", &weights);
    let settings = String::from_utf8(toy.read("run/best/bert4rs.toml")).unwrap();
    toy.write("run/best/bert4rs.toml", settings.replace("key_size = 16", "key_size = 8"));
    toy.run(&["eval", "run/best", "dev.jsonl"]).fails(&["head.", "has shape", "the model expects"]);
    toy.write("run/best/bert4rs.toml", settings.replace("labels = [", "lables = ["));
    toy.run(&["eval", "run/best", "dev.jsonl"]).fails(&["run/best/bert4rs.toml", "did you mean `labels`?"]);
}

#[test]
fn a_wrong_configuration_is_told_with_section_and_nearest_name() {
    let cases: [(&[&str], &[&str]); 14] = [
        (&["train.epoch=3"], &["config.toml: [train]: unknown key `epoch`; did you mean `epochs`?"]),
        (&["trian.epochs=3"], &["top level: unknown key `trian`; did you mean `train`?"]),
        (&["encoder.layer=3"], &["[encoder]: unknown key `layer`; did you mean `layers`?"]),
        (&["head.decoder=cfr"], &["[head]: unknown choice `cfr`; did you mean `crf`?"]),
        (&["encoder.preset=lstmm"], &["lstmm is none of bert, ", "did you mean lstm?"]),
        (&["encoder.path=somewhere"], &["[tokenizer]: an encoder with a path brings its own tokenizer"]),
        (&["encoder.vocab_size=9"], &["[encoder]: vocab_size follows from the learned vocabulary"]),
        (&["train.epochs=0"], &["train.epochs: is 0, expected at least 1"]),
        (&["train.epochs=many"], &["[train]: invalid type: string", "in epochs"]),
        (&["head.dropout=1.5"], &["[head]: dropout = 1.5: expected 0 or more and less than 1"]),
        (&["task.max_tokens=20", "task.overlap=20"], &["[task]: max_tokens = 20, overlap = 20"]),
        (&["task.labels=[\"a\", \"a\"]"], &["\"a\" twice"]),
        (&["encoder.preset=bert", "encoder.hidden_size=30"], &["heads do not divide hidden_size 30"]),
        (&["output.dir=train.jsonl/run"], &["train.jsonl/run: cannot be written", "output.dir"]),
    ];
    for (set, parts) in cases {
        train_fails(|_| (), set, parts);
    }
    let config = String::from_utf8(Toy::new().read("config.toml")).unwrap();
    let with = |change: &str, parts: &[&str]| {
        train_fails(
            |toy| {
                toy.write(
                    "config.toml",
                    config.replace("preset = \"lstm\"\nhidden_size = 32\nembedding = { size = 32 }", change),
                )
            },
            &[],
            parts,
        );
    };
    with("", &["expected preset", "roformer_small", "or path"]);
    train_fails(
        |toy| toy.write("config.toml", config.replace("[tokenizer]\nmin_count = 1\n", "")),
        &["encoder.path=somewhere"],
        &["preset and path are both given"],
    );
    train_fails(
        |toy| {
            toy.write(
                "config.toml",
                config.replace("[tokenizer]\nmin_count = 1\n", "").replace("preset =", "path ="),
            )
        },
        &[],
        &["lstm: (encoder.path) there is no such folder"],
    );
    train_fails(|toy| toy.write("config.toml", "[task\n"), &[], &["config.toml: ", "line 1"]);
    train_fails(|toy| toy.write("config.toml", "[task]\ntype = \"ner\"\n"), &[], &["no section [data]"]);
    Toy::new().run(&["train", "none.toml"]).fails(&["none.toml: No such file"]);
}

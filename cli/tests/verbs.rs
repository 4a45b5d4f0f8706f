//! train, eval, predict, info and bench as a user runs them; data on standard output, the rest on standard
//! error.
#![allow(clippy::unwrap_used)]

mod toy;

use std::process::Stdio;
use std::sync::LazyLock;

use serde_json::{Value, json};
use toy::Toy;

/// One trained model for all tests of this file that only read it.
static TOY: LazyLock<Toy> = LazyLock::new(Toy::trained);

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_trained_model_is_evaluated_applied_and_described() {
    let toy = Toy::new();
    let said = toy.run(&["train", "config.toml"]).ok();
    assert!(said.out.contains("precision") && said.out.contains("place"), "{}", said.out);
    assert!(
        said.err.contains("epoch 8 step") && said.err.contains("next: bert4rs predict run/best"),
        "{}",
        said.err
    );
    assert!(String::from_utf8(toy.read("run/config.toml")).unwrap().contains("preset = \"lstm\""));

    let said = toy.run(&["eval", "run/best", "dev.jsonl", "--json"]).ok();
    let scores = &lines(&said.out)[0];
    assert!(scores["f1"].as_f64().unwrap() > 0.9, "{scores}");
    assert_eq!((&scores["texts"], said.err.as_str()), (&json!(20), ""));

    let said = toy.run(&["predict", "run/best", "西城今天3度，"]).ok();
    let answer = &lines(&said.out)[0];
    assert_eq!(answer["text"], "西城今天3度，");
    assert_eq!(answer["truncated"], false);
    let entity = &answer["entities"][0];
    assert_eq!(
        (&entity["start"], &entity["end"], &entity["label"], &entity["text"]),
        (&json!(0), &json!(2), &json!("place"), &json!("西城"))
    );
    assert_eq!(said.err, "");

    let said = toy.run(&["info", "run/best"]).ok();
    assert!(said.out.contains("labels       place\n") && said.out.contains("global_pointer"), "{}", said.out);
}

#[test]
fn texts_come_from_arguments_files_and_standard_input() {
    let (first, second) = ("北山今天3度，", "南河今天4度，");
    let arguments = TOY.run(&["predict", "run/best", first, second]).ok().out;
    assert_eq!(lines(&arguments).len(), 2);
    TOY.write("two.txt", format!("\u{feff}{first}\r\n{second}"));
    assert_eq!(TOY.run(&["predict", "run/best", "two.txt"]).ok().out, arguments);
    let records = format!("{}\n\n{}\n", json!({"text": first}), json!({"text": second, "other": 1}));
    TOY.write("two.jsonl", &records);
    assert_eq!(TOY.run(&["predict", "run/best", "two.jsonl", "--json"]).ok().out, arguments);
    for args in [&["predict", "run/best", "-"][..], &["predict", "run/best"]] {
        assert_eq!(TOY.pipe(args, records.as_bytes()).ok().out, arguments);
    }
    let named =
        TOY.pipe(&["predict", "run/best", "-"], json!({"id": [7], "text": first}).to_string().as_bytes());
    assert_eq!(lines(&named.ok().out)[0]["id"], json!([7]));
}

#[test]
fn a_stream_keeps_its_order_on_several_threads() {
    let input: String = (0..6000).map(|i| format!("{i}{}\n", "北山今天，".repeat(i % 3))).collect();
    let said = TOY.pipe(&["predict", "run/best", "-", "--threads", "3"], input.as_bytes()).ok();
    let texts: Vec<String> =
        lines(&said.out).iter().map(|answer| answer["text"].as_str().unwrap().to_string()).collect();
    assert_eq!(texts, input.lines().collect::<Vec<_>>());
}

#[test]
fn odd_texts_have_answers() {
    let long = "今天3度，".repeat(20_000);
    let input = format!("\n   \n\u{200b}\n{long}\n");
    let answers = lines(&TOY.pipe(&["predict", "run/best", "-"], input.as_bytes()).ok().out);
    let tokens: Vec<u64> = answers.iter().map(|a| a["tokens"].as_u64().unwrap()).collect();
    assert_eq!((tokens[0], tokens[1], tokens[3]), (0, 0, 100_000));
    assert!(answers[..3].iter().all(|a| a["entities"] == json!([]) && a["truncated"] == json!(false)));

    let cut = TOY.pipe(&["predict", "run/best", "-", "--overflow", "truncate"], input.as_bytes()).ok();
    assert_eq!(lines(&cut.out)[3]["truncated"], true);
    let refused = TOY.pipe(&["predict", "run/best", "-", "--overflow", "error"], long.as_bytes());
    refused.fails(&["standard input:1: the text has 100000 tokens", "--overflow"]);
}

#[test]
fn fewer_bits_find_the_same_entities() {
    let text = "西城今天3度，";
    let exact = TOY.run(&["predict", "run/best", text]).ok().out;
    assert_eq!(TOY.run(&["predict", "run/best", text, "--precision", "f32"]).ok().out, exact);
    for precision in ["bf16", "int8"] {
        let said = TOY.run(&["predict", "run/best", text, "--precision", precision]).ok();
        let entity = &lines(&said.out)[0]["entities"][0];
        assert_eq!((&entity["text"], &entity["label"]), (&json!("西城"), &json!("place")), "{precision}");
        let scores = TOY.run(&["eval", "run/best", "dev.jsonl", "--json", "--precision", precision]).ok();
        assert!(lines(&scores.out)[0]["f1"].as_f64().unwrap() > 0.9, "{precision}: {}", scores.out);
    }
}

#[test]
fn bench_and_profile_tell_where_time_goes() {
    let args = ["bench", "run/best", "--workload", "b1s16", "--seconds", "0"];
    let said = TOY.run(&[&args[..], &["--json", "--precision", "int8"]].concat()).ok();
    let report = &lines(&said.out)[0];
    let workload = &report["workloads"][0];
    assert_eq!((&report["precision"], &workload["tokens"]), (&json!("int8"), &json!(16)));
    assert!(workload["texts_per_second"].as_f64().unwrap() > 0.0);
    let names = workload["operations"].as_array().unwrap();
    assert!(names.iter().any(|row| row["name"] == "linear int8"), "{names:?}");
    assert!(TOY.run(&args).ok().out.contains("b1s16: "));
    TOY.run(&["bench", "huge"]).fails(&["huge", "mini and base"]);

    let said = TOY.run(&["predict", "run/best", "西城今天3度，", "--profile"]).ok();
    assert!(said.err.contains("linear f32") && said.err.contains("lstm"), "{}", said.err);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let input = "北山今天3度，\n".repeat(20_000);
    TOY.write("many.txt", input);
    let mut child = TOY
        .command(&["predict", "run/best", "many.txt"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for args in [
        &["fly"][..],
        &["train"],
        &["train", "config.toml", "--set", "train.epochs"],
        &["train", "config.toml", "--set", "=3"],
        &["predict", "run/best", "a", "--batch-tokens", "0"],
        &["predict", "run/best", "a", "--threads", "0"],
        &["predict", "run/best", "dev.jsonl", "train.jsonl"],
    ] {
        let said = TOY.run(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
        assert!(said.err.starts_with("error: "), "{}", said.err);
    }
    assert_eq!(TOY.run(&["--help"]).ok().err, "");
}

#[test]
fn what_a_decoder_cannot_learn_is_counted() {
    let toy = Toy::new();
    let nested = r#"{"text": "北山气象站今天", "entities": [{"start": 0, "end": 2, "label": "place"}, {"start": 0, "end": 5, "label": "station"}]}"#;
    toy.write("train.jsonl", nested);
    let args = ["train", "config.toml", "--set", "train.epochs=1", "--set", "output.dir=tags", "--set"];
    let tags = toy.run(&[&args[..], &["head.decoder=crf"]].concat()).ok();
    assert!(tags.err.contains("note: 1 of 2 entities in train.jsonl cannot be learned"), "{}", tags.err);
    let spans = toy.run(&["train", "config.toml", "--set", "train.epochs=1"]).ok();
    assert!(!spans.err.contains("cannot be learned"), "{}", spans.err);
}

#[test]
fn a_run_outlives_the_reader_of_its_messages() {
    let toy = Toy::new();
    let mut child = toy.command(&["train", "config.toml"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    toy.run(&["info", "run/best"]).ok();
}

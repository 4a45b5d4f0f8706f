//! train, eval, embed, predict, rerank and info on sentences, as a user runs them.
#![allow(clippy::unwrap_used)]

mod toy;

use serde_json::{Value, json};
use toy::Toy;

const CONFIG: &str = "[data]\ntrain = \"pairs.tsv\"\ndev = \"pairs.tsv\"\n[tokenizer]\nmin_count = 1\n\
    [encoder]\npreset = \"bert\"\nhidden_size = 16\nlayers = 1\nmixer = { attention = { heads = 2 } }\n\
    feed_forward = { dense = { size = 32 } }\n[train]\nepochs = 6\nlr = 0.01\nbatch_size = 16\n\
    [output]\ndir = \"run\"\n";

/// Words of two topics, every pair of them, and what each pair is labelled by their topics.
fn toy(task: &str, label: fn(usize, usize) -> bool) -> Toy {
    let toy = Toy::new();
    let topics = [["雨天", "晴天", "多云", "下雪"], ["火车", "汽车", "飞机", "轮船"]];
    let mut pairs = String::from("text1\ttext2\tlabel\n");
    for (a, first) in topics.iter().flatten().enumerate() {
        for (b, second) in topics.iter().flatten().enumerate() {
            pairs += &format!("{first}\t{second}\t{}\n", u8::from(label(a / 4, b / 4)));
        }
    }
    toy.write("pairs.tsv", &pairs);
    toy.write("config.toml", format!("[task]\ntype = \"{task}\"\n{CONFIG}"));
    toy.run(&["train", "config.toml"]).ok();
    toy
}

fn value(text: &str) -> Value {
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn vectors_are_trained_scored_compared_and_written() {
    let toy = toy("similarity", |a, b| a == b);
    let scores = value(&toy.run(&["eval", "run/best", "pairs.tsv", "--json"]).ok().out);
    assert!(scores["spearman"].as_f64().unwrap() > 0.8, "{scores}");
    assert_eq!(scores["accuracy"]["value"], scores["at_kept_thresholds"]["accuracy"]);
    let said = toy.run(&["eval", "run/best", "pairs.tsv", "--against", "run/best"]).ok().out;
    assert!(said.contains("Spearman +0.00 points") && said.contains("not told apart"), "{said}");

    toy.write("texts.txt", "雨天\n火车\n");
    let lines = toy.run(&["embed", "run/best", "texts.txt", "--dimensions", "8"]).ok().out;
    assert_eq!(value(&lines)["vector"].as_array().unwrap().len(), 8);
    let said = toy.run(&["embed", "run/best", "texts.txt", "-o", "v.npy", "--dtype", "f16"]).ok().out;
    assert!(said.contains("vectors      2"), "{said}");
    assert_eq!(toy.read("v.npy").len(), 128 + 2 * 16 * 2);
    toy.write("blank.txt", "雨天\n \n火车\n");
    toy.run(&["embed", "run/best", "blank.txt"]).fails(&["blank.txt:2: the text is empty", "--skip-empty"]);
    let said = toy.run(&["embed", "run/best", "blank.txt", "--skip-empty"]).ok();
    assert!(
        said.out.lines().count() == 2 && said.err.contains("1 empty texts were left out"),
        "{}",
        said.err
    );
    toy.run(&["embed", "run/best", "texts.txt", "--dimensions", "17"]).fails(&["expected 1 to 16"]);
    assert!(toy.run(&["info", "run/best"]).ok().out.contains("dimensions   16"));
    toy.write("bad.tsv", "a\tb\t1\nc\t\t0\n");
    toy.run(&["eval", "run/best", "bad.tsv"]).fails(&["bad.tsv:2: the second text is empty"]);
}

#[test]
fn a_cross_encoder_is_trained_scored_and_ranks() {
    // Whether the second is about traffic: learned in seconds from scratch.
    let toy = toy("matching", |_, b| b == 1);
    let scores = value(&toy.run(&["eval", "run/best", "pairs.tsv", "--json"]).ok().out);
    assert!(scores["accuracy"].as_f64().unwrap() > 0.9, "{scores}");
    let answer = value(&toy.run(&["predict", "run/best", "pairs.tsv"]).ok().out);
    assert_eq!((&answer["text_a"], &answer["text_b"]), (&json!("雨天"), &json!("雨天")));
    assert_eq!(answer["probabilities"].as_array().unwrap().len(), 2);
    toy.write("texts.txt", "晴天\n火车\n飞机\n");
    let said = toy.run(&["rerank", "run/best", "--query", "下雪", "texts.txt", "--top", "2"]).ok().out;
    let scores: Vec<f64> = said.lines().map(|l| l.split("  ").next().unwrap().parse().unwrap()).collect();
    assert!(scores.len() == 2 && scores[0] >= scores[1] && !said.contains("晴天"), "{said}");
    toy.run(&["rerank", "run/best", "--query", " ", "texts.txt"]).fails(&["the query is empty"]);
    assert!(toy.run(&["info", "run/best"]).ok().out.contains("classification"));
}

//! From raw text to an answer: whiten, index, search.
#![allow(clippy::unwrap_used)]

mod toy;

use std::fs;
use std::path::Path;

use serde_json::Value;
use toy::Toy;

/// A folder with the tiny sentence encoder and a corpus.
fn toy() -> Toy {
    let toy = Toy::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/checkpoints/sentence-bert-tiny");
    for name in ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "modules.json"]
        .into_iter()
        .chain(["sentence_bert_config.json", "1_Pooling/config.json"])
    {
        toy.write(&format!("model/{name}"), fs::read(from.join(name)).unwrap());
    }
    let line = |i: usize| {
        let lang = if i.is_multiple_of(2) { "zh" } else { "en" };
        format!("{{\"id\": \"d{i}\", \"text\": \"{}\", \"lang\": \"{lang}\"}}\n", text(i))
    };
    toy.write("corpus.jsonl", (0..80).map(line).collect::<String>());
    toy
}

fn text(i: usize) -> String {
    let words = ["公司", "今天", "北京", "天气", "上海", "数学", "语言", "模型", "广州", "美食"];
    format!("{}{}{} {i}", words[i % 10], words[i / 10 % 10], words[(i * 7 + 3) % 10])
}

/// The ids of the hits of each line.
fn ids(out: &str) -> Vec<Vec<String>> {
    let of = |line: &str| -> Vec<String> {
        let line: Value = serde_json::from_str(line).unwrap();
        line["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_string()).collect()
    };
    out.lines().map(of).collect()
}

#[test]
fn a_corpus_becomes_an_index_that_answers() {
    let toy = toy();
    toy.run(&["index", "--model", "model", "corpus.jsonl", "-o", "index"]).ok();
    let said = toy.run(&["search", "index", &text(7), &text(20), "--k", "3"]).ok();
    let found = ids(&said.out);
    assert_eq!((found[0][0].as_str(), found[1][0].as_str(), found[0].len()), ("d7", "d20", 3));
    let first: Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["hits"][0]["document"]["lang"], "en");
    let filtered = ids(&toy.run(&["search", "index", &text(7), "--filter", "lang=zh", "--k", "99"]).ok().out);
    assert_eq!(filtered[0].len(), 40);
    assert!(filtered[0].iter().all(|id| id[1..].parse::<usize>().unwrap() % 2 == 0));

    // More texts, one of them in place of another; then one less.
    let more = "{\"id\": \"d7\", \"text\": \"大中上\"}\n{\"text\": \"no id\"}\n";
    let said = toy.pipe(&["index", "-", "-o", "index", "--json"], more.as_bytes()).ok();
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&told["texts"], &told["added"], &told["replaced"]), (&81.into(), &2.into(), &1.into()));
    let said = toy.run(&["index", "-o", "index", "--delete", "d20", "--compact", "--json"]).ok();
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&told["texts"], &told["to free"]), (&80.into(), &0.into()));
    let found = ids(&toy.run(&["search", "index", &text(20), "--k", "99"]).ok().out);
    assert!(!found[0].contains(&"d20".to_string()) && found[0].len() == 80);
    toy.run(&["index", "-o", "index", "--check"]).ok();
}

#[test]
fn fewer_bytes_and_rescoring_find_the_same() {
    let toy = toy();
    let query = text(33);
    toy.run(&["index", "--model", "model", "corpus.jsonl", "-o", "f32"]).ok();
    let exact = ids(&toy.run(&["search", "f32", &query]).ok().out);
    for dtype in ["int8", "binary"] {
        let args = ["index", "--model", "model", "corpus.jsonl", "-o", dtype, "--dtype", dtype, "--keep-f32"];
        toy.run(&args).ok();
        let found = ids(&toy.run(&["search", dtype, &query, "--rescore", "8"]).ok().out);
        assert_eq!(found[0], exact[0], "{dtype}");
        assert_eq!(ids(&toy.run(&["search", dtype, &query]).ok().out)[0].len(), 10);
    }
    toy.run(&["search", "f32", &query, "--rescore"]).ok();
}

#[test]
fn whitened_models_are_models_and_their_vectors_others() {
    let toy = toy();
    toy.run(&["whiten", "model", "corpus.jsonl", "-o", "white", "--dimensions", "8"]).ok();
    let said = toy.run(&["predict", "white", "西城"]).ok();
    let line: Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    let vector: Vec<f64> = line["vector"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(vector.len(), 8);
    assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
    toy.run(&["index", "--model", "model", "corpus.jsonl", "-o", "index"]).ok();
    toy.run(&["search", "index", "--model", "white", "西城"]).fails(&["another model", "--model"]);
    toy.run(&["index", "--model", "white", "corpus.jsonl", "-o", "index"]).fails(&["another model"]);
    toy.run(&["whiten", "model", "corpus.jsonl", "-o", "white"]).fails(&["is there already"]);
    toy.run(&["whiten", "model", "corpus.jsonl", "-o", "w", "--dimensions", "99"])
        .fails(&["expected 1 to 32"]);
}

#[test]
fn bad_input_says_what_and_changes_nothing() {
    let toy = toy();
    toy.run(&["search", "none", "x"]).fails(&["there is no index"]);
    assert_eq!(toy.run(&["index", "corpus.jsonl", "-o", "index"]).code, Some(2));
    toy.write("empty.txt", "西城\n \n");
    let first = ["index", "--model", "model", "empty.txt", "-o", "index"];
    toy.run(&first).fails(&["empty.txt:2", "--skip-empty"]);
    let said = toy.run(&["index", "--model", "model", "empty.txt", "-o", "index", "--skip-empty"]).ok();
    assert!(said.err.contains("1 empty texts were left out"), "{}", said.err);
    toy.run(&["search", "index", " "]).fails(&["the query is empty"]);
    toy.run(&["search", "index", "西城", "--filter", "lang"]).fails(&["KEY=VALUE"]);
    toy.run(&["search", "index", "西城", "--k", "5"]).ok();
    let said = toy.run(&["search", "index", "西城", "--k", "5"]).ok();
    assert!(said.err.contains("5 texts were asked for; all 1"), "{}", said.err);
    toy.run(&["index", "corpus.jsonl", "-o", "index", "--dtype", "int8"]).fails(&["another --dtype"]);
    let rows = fs::read(toy.path("index/rows-1")).unwrap();
    let mut bad = rows.clone();
    bad[70] ^= 1;
    toy.write("index/rows-1", bad);
    toy.run(&["search", "index", "西城"]).fails(&["damaged"]);
    toy.write("index/rows-1", &rows[..rows.len() - 1]);
    toy.run(&["search", "index", "西城"]).fails(&["cut off"]);
}

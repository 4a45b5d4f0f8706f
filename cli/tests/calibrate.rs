//! Which precision answers: asked for, or permitted by a calibration.
#![allow(clippy::unwrap_used)]

mod toy;

use std::fs;
use std::path::Path;

use bert4rs_tensor::has_int8_products;
use toy::Toy;

/// A copy of the tiny sentence encoder.
fn sentence_encoder(toy: &Toy) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/checkpoints/sentence-bert-tiny");
    for name in ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "modules.json"]
        .into_iter()
        .chain(["sentence_bert_config.json", "1_Pooling/config.json"])
    {
        toy.write(&format!("encoder/{name}"), fs::read(from.join(name)).unwrap());
    }
}

/// Products by precision, as `--profile` counts them.
fn products(profile: &str) -> [bool; 4] {
    ["linear y", "linear f32", "linear bf16", "linear int8"].map(|name| profile.contains(name))
}

#[test]
fn auto_uses_8_bits_once_a_calibration_permits_them() {
    let toy = Toy::trained();
    let predict = |precision: &str| {
        let args = ["predict", "run/best", "西城今天3度，", "--profile", "--precision", precision];
        products(&toy.run(&args).ok().err)
    };
    let (f32_only, int8_only) = ([false, true, false, false], [false, false, false, true]);
    assert_eq!(predict("auto"), f32_only);
    let few = toy.run(&["calibrate", "run/best", "dev.jsonl"]);
    few.fails(&["annotated entities are too few", "give 100"]);

    let said = toy.run(&["calibrate", "run/best", "train.jsonl", "--bound", "100"]).ok();
    assert!(
        said.out.contains("f1_int8") && said.err.contains("answers in 8 bits from now on"),
        "{}",
        said.err
    );
    assert_eq!(predict("auto"), if has_int8_products() { int8_only } else { f32_only });
    assert_eq!((predict("f32"), predict("bf16")), (f32_only, [false, false, true, false]));

    let weights = toy.read("run/best/model.safetensors");
    let mut other = weights.clone();
    *other.last_mut().unwrap() ^= 1;
    toy.write("run/best/model.safetensors", other);
    for verb in ["eval", "predict", "bench"] {
        let mut args = vec![verb, "run/best"];
        args.extend(match verb {
            "eval" => &["dev.jsonl"][..],
            "predict" => &["西城"],
            _ => &["--workload", "b1s16"],
        });
        toy.run(&args).fails(&["calibration.json: was measured on other weights", "bert4rs calibrate"]);
    }
}

#[test]
fn sentence_vectors_are_calibrated_on_plain_texts() {
    let toy = Toy::new();
    sentence_encoder(&toy);
    let texts: String = (0..120).map(|i| format!("今天{i}度\n")).collect();
    toy.write("texts.txt", texts);
    let said = toy.run(&["calibrate", "encoder", "texts.txt", "--bound", "0", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&report["texts"], &report["int8"]), (&120.into(), &false.into()), "{report}");
    assert!(report["mean_cosine"].as_f64().unwrap() > 0.99 && said.err.contains("stays f32"), "{report}");
    let predict = || products(&toy.run(&["predict", "encoder", "今天", "--profile"]).ok().err);
    assert_eq!(predict(), [false, true, false, false]);
    toy.run(&["calibrate", "encoder", "texts.txt", "--bound", "50"]).ok();
    assert_eq!(predict()[3], has_int8_products());
}

#[test]
fn no_product_of_a_served_model_stays_unprepared() {
    let toy = Toy::new();
    for decoder in ["efficient_global_pointer", "crf", "memm", "softmax"] {
        let (dir, head) = (format!("output.dir={decoder}"), format!("head.decoder={decoder}"));
        toy.run(&["train", "config.toml", "--set", &dir, "--set", &head, "--set", "train.epochs=1"]).ok();
        let model = format!("{decoder}/best");
        let said = toy.run(&["predict", &model, "西城今天3度，", "--profile", "--precision", "int8"]).ok();
        assert_eq!(products(&said.err), [false, false, false, true], "{decoder}: {}", said.err);
    }
}

//! Reads a folder into a model, compares what it computes with the folder's `expected.json`, and writes the
//! model as a new folder: `cargo run -p bert4rs-nn --example rewrite -- FROM TO`. Called by
//! scripts/parity/folders.sh.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bert4rs_nn::Ctx;
use bert4rs_nn::decoder::Pairs;
use bert4rs_nn::encoder::{Encoder, EncoderInput, huggingface};
use bert4rs_tensor::{DType, Packed, Tensor};
use serde_json::Value;

/// Expected numbers have six digits after the point.
const NEAR: f64 = 5e-6;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = [0, 1].map(|i| Path::new(arguments.get(i).expect("FROM and TO")));
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(from.join("expected.json")).unwrap()).unwrap();
    std::fs::create_dir_all(to).unwrap();
    let apart = match expected.get("scores") {
        Some(scores) => {
            let (config, model, params, _) = huggingface::load_encoder_decoder(from, DType::F32).unwrap();
            huggingface::save_encoder_decoder(to, &config, &params).unwrap();
            let (source, target) = (ids(&expected["ids"]), ids(&expected["target"]));
            let [sources, targets] = [&source, &target].map(|ids| Packed::from_lengths(&[ids.len()]));
            let ctx = &mut Ctx::inference();
            let pairs = Pairs { source: &source, sources: &sources, target: &target, targets: &targets };
            let hidden = model.forward(ctx, pairs).unwrap();
            let got = model.head.forward(ctx, &hidden).unwrap();
            difference(&got, scores).max(layers(&model.encoder, &expected))
        }
        None => {
            let (config, encoder, params, _) = huggingface::load(from, DType::F32).unwrap();
            huggingface::save(to, &config, &params).unwrap();
            layers(&encoder, &expected)
        }
    };
    assert!(apart < NEAR, "{}: {apart:.1e} from what transformers computes", from.display());
}

fn ids(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The largest difference of any layer.
fn layers(encoder: &Encoder, expected: &Value) -> f64 {
    let (ids, segments) = (ids(&expected["ids"]), ids(&expected["segments"]));
    let batch = Packed::from_lengths(&[ids.len()]);
    let input = EncoderInput { ids: &ids, segments: Some(&segments), batch: &batch };
    let all = encoder.forward_all(&mut Ctx::inference(), input, &encoder.mask()).unwrap();
    let states = expected["hidden_states"].as_array().unwrap();
    assert_eq!(all.len(), states.len(), "layers");
    all.iter().zip(states).map(|(got, want)| difference(got, want)).fold(0.0, f64::max)
}

fn difference(got: &Tensor, want: &Value) -> f64 {
    let want: Vec<Vec<f64>> = serde_json::from_value(want.clone()).unwrap();
    let (got, want) = (got.to_f64_vec(), want.concat());
    assert_eq!(got.len(), want.len(), "numbers");
    got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

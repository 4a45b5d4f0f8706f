//! The vectors of a sentence-transformers folder in every precision; in f32 through its own files see
//! tasks/tests/sentence.rs.
#![allow(clippy::unwrap_used)]

mod published;

use std::fs;

use bert4rs_nn::Ctx;
use bert4rs_nn::block::pooling::{Pooling, pool};
use bert4rs_nn::encoder::{EncoderInput, Precision, huggingface};
use bert4rs_tensor::{DType, Packed, Tensor};
use published::{folder, numbers};
use serde_json::Value;

const NAME: &str = "sentence-bert-tiny";

/// Normalised means of the hidden states, and what is expected.
fn vectors(dtype: DType, precision: Option<Precision>) -> (Vec<f64>, Vec<f64>) {
    let text = fs::read_to_string(folder(NAME).join("expected.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let expected = &file["cases"][0]["expected"];
    let rows = |key: &str| expected[key].as_array().unwrap().iter().map(numbers).collect::<Vec<_>>();
    let (mut ids, mut lengths) = (vec![], vec![]);
    for (row, mask) in rows("input_ids").iter().zip(rows("attention_mask")) {
        lengths.push(mask.iter().filter(|m| **m == 1.0).count());
        ids.extend(row[..lengths[lengths.len() - 1]].iter().map(|id| *id as usize));
    }
    let batch = Packed::from_lengths(&lengths);
    let (_, mut encoder, params, _) = huggingface::load(&folder(NAME), dtype).unwrap();
    drop(params);
    precision.iter().for_each(|precision| encoder.prepare(*precision).unwrap());
    let input = EncoderInput { ids: &ids, segments: None, batch: &batch };
    let hidden = encoder.forward(&mut Ctx::inference(), input, &encoder.mask()).unwrap();
    let means = pool(&hidden, &batch, Pooling::Mean).unwrap(); // [B, D]
    let norms: Tensor = means.square().unwrap().sum(-1, true).unwrap().sqrt().unwrap();
    (means.div(&norms).unwrap().to_f64_vec(), rows("sentence_embedding").concat())
}

#[test]
fn vectors_stay_within_the_bound_of_their_precision() {
    let (f32, f64) = (DType::F32, DType::F64);
    for (dtype, precision, bound) in [
        (f64, None, 1e-8),
        (f32, None, 1e-6),
        (f32, Some(Precision::F32), 1e-6),
        (f32, Some(Precision::Bf16), 0.01),
        (f32, Some(Precision::Int8), 0.05),
    ] {
        let (got, expected) = vectors(dtype, precision);
        assert_eq!(got.len(), expected.len());
        let worst = got.iter().zip(&expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst <= bound, "{dtype:?} {precision:?}: {worst}");
        println!("{dtype:?} {precision:?}: {worst:.1e}");
    }
}

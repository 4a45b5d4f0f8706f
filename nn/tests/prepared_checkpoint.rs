//! Published checkpoints in the precisions of inference.
#![allow(clippy::unwrap_used)]

mod published;

use bert4rs_nn::Ctx;
use bert4rs_nn::encoder::{EncoderInput, Precision, huggingface};
use bert4rs_tensor::DType;
use published::{CHECKPOINTS, cases, folder, mask, numbers, states};

/// The largest difference of prepared hidden states from the expected ones, relative to the largest of
/// these.
fn prepared_error(name: &str, precision: Precision) -> f64 {
    let (_, mut encoder, params, _) = huggingface::load(&folder(name), DType::F32).unwrap();
    drop(params);
    encoder.prepare(precision).unwrap();
    let (mut worst, mut largest) = (0.0f64, 0.0f64);
    for case in cases(name) {
        let input = EncoderInput { ids: &case.ids, segments: Some(&case.segments), batch: &case.batch };
        let hidden = encoder.forward(&mut Ctx::inference(), input, &mask(name)).unwrap().to_f64_vec();
        let expected = states(name, &case.expected).pop().unwrap();
        let mut rows = hidden.chunks(encoder.output_size());
        for b in 0..case.batch.sequences() {
            for i in 0..case.batch.length(b) {
                for (got, want) in rows.next().unwrap().iter().zip(numbers(&expected[b][i])) {
                    worst = worst.max((got - want).abs());
                    largest = largest.max(want.abs());
                }
            }
        }
    }
    worst / largest
}

#[test]
fn prepared_checkpoints_stay_within_the_bound_of_their_precision() {
    for name in CHECKPOINTS {
        for (precision, bound) in [(Precision::F32, 1e-5), (Precision::Bf16, 0.02), (Precision::Int8, 0.12)] {
            let error = prepared_error(name, precision);
            assert!(error <= bound, "{name} {precision}: {error}");
            println!("{name} {precision}: {error:.1e}");
        }
    }
}

//! What encoders do with masks, dropout, wrong input and threads.
#![allow(clippy::unwrap_used)]

mod small;

use bert4rs_nn::Ctx;
use bert4rs_nn::encoder::{EncoderInput, Precision};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Rng};
use small::{IDS, LENGTHS, SEGMENTS, build, run, tiny};

#[test]
fn a_causal_mask_hides_what_follows() {
    let (encoder, _) = build(&tiny("bert"), DType::F32);
    let first = |ids: &[usize]| {
        let batch = Packed::from_lengths(&[ids.len()]);
        let input = EncoderInput { ids, segments: None, batch: &batch };
        encoder.forward(&mut Ctx::inference(), input, &Mask::Causal).unwrap().to_f64_vec()[..16].to_vec()
    };
    assert_eq!(first(&[3, 7]), first(&[3, 7, 1, 4]));
}

#[test]
fn dropout_acts_in_training_and_repeats_with_its_seed() {
    for name in ["bert", "lstm"] {
        let mut config = tiny(name);
        (config.dropout, config.embedding.dropout) = (0.3, 0.3);
        let (encoder, _) = build(&config, DType::F32);
        let with =
            |seed| run(&encoder, &mut Ctx::training(Rng::new(seed)), &IDS, &SEGMENTS, &LENGTHS).to_f64_vec();
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
        assert_ne!(with(1), run(&encoder, &mut Ctx::inference(), &IDS, &SEGMENTS, &LENGTHS).to_f64_vec());
    }
}

#[test]
fn dropped_tokens_are_read_as_unknown() {
    let mut config = tiny("lstm");
    config.embedding.token_dropout = 0.999_999;
    let (encoder, _) = build(&config, DType::F32);
    let dropped = run(&encoder, &mut Ctx::training(Rng::new(1)), &IDS, &SEGMENTS, &LENGTHS);
    let unknown = run(&encoder, &mut Ctx::inference(), &[1; 9], &SEGMENTS, &LENGTHS);
    assert_eq!(dropped.to_f64_vec(), unknown.to_f64_vec());
}

#[test]
fn pairs_of_tokens_stay_inside_their_text() {
    let mut config = tiny("lstm");
    (config.layers, config.embedding.bigram_buckets) = (0, Some(1000));
    config.embedding.size = None;
    let (encoder, _) = build(&config, DType::F32);
    let one = run(&encoder, &mut Ctx::inference(), &[3, 7, 5], &[0; 3], &[2, 1]).to_f64_vec();
    let other = run(&encoder, &mut Ctx::inference(), &[3, 7, 9], &[0; 3], &[2, 1]).to_f64_vec();
    let joined = run(&encoder, &mut Ctx::inference(), &[3, 7, 5], &[0; 3], &[3]).to_f64_vec();
    assert_eq!(one[..16], other[..16]);
    assert_eq!(one[..8], joined[..8]);
    assert_ne!(one[8..16], joined[8..16]);
}

#[test]
fn input_that_a_model_cannot_take_is_named() {
    let (encoder, _) = build(&tiny("bert"), DType::F32);
    let error = |ids: &[usize], segments: Option<&[usize]>, lengths: &[usize]| {
        let batch = Packed::from_lengths(lengths);
        let input = EncoderInput { ids, segments, batch: &batch };
        encoder.forward(&mut Ctx::inference(), input, &Mask::Full).err().unwrap().to_string()
    };
    assert_eq!(
        error(&[1, 2, 12], None, &[1, 2]),
        "encoder: token 1 of text 1 has id 12, the vocabulary has 12 ids; encode with the vocabulary of this model"
    );
    assert_eq!(
        error(&[1; 7], None, &[0, 7]),
        "encoder: text 1 has 7 tokens, the position table 6; truncate it, split it into windows, or use an \
         encoder with rotary positions"
    );
    assert_eq!(
        error(&[1, 2], Some(&[0, 2]), &[2]),
        "encoder: token 1 of text 0 has segment 2, the model has 2 segments"
    );
    assert!(error(&[1, 2], None, &[3]).contains("2 ids for 3 packed tokens"));
    assert!(error(&[1, 2], Some(&[0]), &[2]).contains("1 segments for 2 packed tokens"));
}

#[test]
fn only_position_tables_limit_the_length() {
    assert_eq!(build(&tiny("bert"), DType::F32).0.max_length(), Some(6));
    for name in ["roformer", "lstm", "dgcnn"] {
        let (encoder, _) = build(&tiny(name), DType::F32);
        assert_eq!(encoder.max_length(), None);
        let long = run(&encoder, &mut Ctx::inference(), &[2; 700], &[0; 700], &[700]);
        assert!(long.to_f64_vec().iter().all(|v| v.is_finite()));
    }
}

#[test]
fn threads_share_one_encoder() {
    let (encoder, _) = build(&tiny("roformer"), DType::F32);
    let once = run(&encoder, &mut Ctx::inference(), &IDS, &SEGMENTS, &LENGTHS).to_f64_vec();
    std::thread::scope(|scope| {
        for n in [1, 40, 5, 90] {
            let (encoder, once) = (&encoder, &once);
            scope.spawn(move || {
                run(encoder, &mut Ctx::inference(), &vec![2; n], &vec![0; n], &[n]);
                let again = run(encoder, &mut Ctx::inference(), &IDS, &SEGMENTS, &LENGTHS);
                assert_eq!(&again.to_f64_vec(), once);
            });
        }
    });
}

#[test]
fn a_prepared_encoder_cannot_be_trained_and_lets_its_matrices_go() {
    let (mut encoder, params) = build(&tiny("bert"), DType::F32);
    encoder.prepare(Precision::Int8).unwrap();
    let batch = Packed::from_lengths(&LENGTHS);
    let input = EncoderInput { ids: &IDS, segments: None, batch: &batch };
    let error = encoder.forward(&mut Ctx::training(Rng::new(1)), input, &Mask::Full).unwrap_err();
    assert!(error.to_string().contains("cannot be trained"), "{error}");
    let shared = |name: &str| params.get(name).unwrap().is_shared();
    assert!(!shared("encoder.layer.0.attention.self.query.weight"));
    assert!(shared("encoder.layer.0.attention.output.dense.bias"));
    let (mut double, _) = build(&tiny("bert"), DType::F64);
    assert!(double.prepare(Precision::F32).unwrap_err().to_string().contains("F64"));
}

//! What every encoder promises, preset by preset.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::encoder::{
    Encoder, EncoderConfig, EncoderInput, FeedForward, Mixer, Norm, Position, Precision, Wiring, preset,
    preset_names,
};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor, backward};

const IDS: [usize; 9] = [3, 7, 1, 4, 4, 2, 9, 5, 3];
const SEGMENTS: [usize; 9] = [0, 0, 1, 1, 1, 0, 0, 0, 1];
const LENGTHS: [usize; 3] = [5, 1, 3];

/// A preset made so small that finite differences over all of it are quick; nothing is dropped.
fn tiny(name: &str) -> EncoderConfig {
    let mut config = preset(name).unwrap();
    (config.vocab_size, config.hidden_size, config.layers, config.dropout) = (12, 8, 2, 0.0);
    config.embedding.dropout = 0.0;
    config.embedding.unk_id = 1;
    match &mut config.mixer {
        Mixer::Attention { heads, dropout, .. } => (*heads, *dropout) = (2, 0.0),
        Mixer::Lstm { .. } => {
            config.embedding.size = Some(6);
            config.embedding.bigram_buckets = Some(5);
        }
        Mixer::DilatedGatedConvolution { .. } => config.embedding.size = Some(6),
    }
    if let FeedForward::Dense { size, .. } = &mut config.feed_forward {
        *size = 12;
    }
    if let Position::Learned { max_positions } = &mut config.position {
        *max_positions = 6;
    }
    config
}

/// All presets and what no preset has yet: pre norm, RMS norm, partial rotation, key size.
fn configs() -> Vec<(String, EncoderConfig)> {
    let mut all: Vec<_> = preset_names().map(|name| (name.to_string(), tiny(name))).collect();
    let mut pre_norm = EncoderConfig { wiring: Wiring::PreNorm, bias: false, ..tiny("roformer") };
    pre_norm.norm = Norm::Rms { eps: 1e-6, gain: true };
    pre_norm.mixer = Mixer::Attention { heads: 2, key_size: Some(6), dropout: 0.0 };
    if let Position::Rotary { size, log_n, .. } = &mut pre_norm.position {
        (*size, *log_n) = (Some(4), Some(2));
    }
    all.push(("pre_norm".into(), pre_norm));
    all
}

fn build(config: &EncoderConfig, dtype: DType) -> (Encoder, Params) {
    let (mut params, mut rng) = (Params::new(), Rng::new(3));
    let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, dtype), config).unwrap();
    for p in params.iter() {
        // Larger than the usual start, so that no path through the model is negligible.
        let noise = rng.normal_tensor(p.value().shape(), 0.4, dtype).unwrap();
        p.set(&p.value().add(&noise).unwrap()).unwrap();
    }
    (encoder, params)
}

fn run(encoder: &Encoder, ctx: &mut Ctx, ids: &[usize], segments: &[usize], lengths: &[usize]) -> Tensor {
    let batch = Packed::from_lengths(lengths);
    let input = EncoderInput { ids, segments: Some(segments), batch: &batch };
    encoder.forward(ctx, input, &Mask::Full).unwrap()
}

/// A fixed weighted sum of the hidden states, so that no symmetry hides a gradient.
fn loss(encoder: &Encoder) -> Tensor {
    let hidden = run(encoder, &mut Ctx::training(Rng::new(1)), &IDS, &SEGMENTS, &LENGTHS);
    let weights = (0..hidden.elements()).map(|i| ((i * 37 % 19) as f64 - 9.0) / 9.0).collect();
    let weights = Tensor::new::<f64>(weights, hidden.shape()).unwrap().cast(hidden.dtype()).unwrap();
    hidden.mul(&weights).unwrap().sum_all().unwrap()
}

#[test]
fn a_text_alone_equals_its_rows_in_a_batch_bit_for_bit() {
    for (name, config) in configs() {
        let (encoder, _) = build(&config, DType::F32);
        let all = run(&encoder, &mut Ctx::inference(), &IDS, &SEGMENTS, &LENGTHS);
        let batch = Packed::from_lengths(&LENGTHS);
        for b in 0..3 {
            let range = batch.range(b);
            let (ids, segments) = (&IDS[range.clone()], &SEGMENTS[range.clone()]);
            let alone = run(&encoder, &mut Ctx::inference(), ids, segments, &[range.len()]);
            let rows = all.narrow(0, range.start, range.len()).unwrap();
            assert_eq!(alone.to_f64_vec(), rows.to_f64_vec(), "{name}, text {b}");
        }
    }
}

#[test]
fn the_order_of_texts_does_not_matter() {
    let turned = |xs: &[usize; 9]| [&xs[5..], &xs[..5]].concat();
    for (name, config) in configs() {
        let (encoder, _) = build(&config, DType::F32);
        let a = run(&encoder, &mut Ctx::inference(), &IDS, &SEGMENTS, &LENGTHS).to_f64_vec();
        let b =
            run(&encoder, &mut Ctx::inference(), &turned(&IDS), &turned(&SEGMENTS), &[1, 3, 5]).to_f64_vec();
        assert_eq!([&a[5 * 8..], &a[..5 * 8]].concat(), b, "{name}");
    }
}

#[test]
fn inference_equals_training_with_dropout_off() {
    for (name, config) in configs() {
        let (encoder, _) = build(&config, DType::F32);
        let inference = run(&encoder, &mut Ctx::inference(), &IDS, &SEGMENTS, &LENGTHS);
        let training = run(&encoder, &mut Ctx::training(Rng::new(8)), &IDS, &SEGMENTS, &LENGTHS);
        assert!(training.is_tracked() && !inference.is_tracked());
        assert_eq!(inference.to_f64_vec(), training.to_f64_vec(), "{name}");
    }
}

#[test]
fn every_parameter_has_a_gradient_and_it_is_the_central_difference() {
    for (name, config) in configs() {
        let (encoder, params) = build(&config, DType::F64);
        let gradients = backward(loss(&encoder)).unwrap();
        let all: Vec<_> = params
            .iter()
            .map(|p| gradients.of(&p.leaf()).unwrap_or_else(|| panic!("{name}: {}", p.name())).to_f64_vec())
            .collect();
        for (p, gradient) in params.iter().zip(&all) {
            let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
            // The same number added to all scores of a row does not move a softmax.
            let unused = config.position != Position::rotary() && p.name().ends_with("self.key.bias");
            assert_eq!(largest < 1e-9, unused, "{name}: {} has gradient {largest}", p.name());
            for i in (0..gradient.len()).step_by(1 + gradient.len() / 7) {
                let step = 1e-5;
                let at = |delta: f64| {
                    p.update::<f64>(|v| v[i] += delta).unwrap();
                    loss(&encoder).item().unwrap()
                };
                let difference = (at(step) - at(-2.0 * step)) / (2.0 * step);
                at(step);
                let error = (gradient[i] - difference).abs() / (1.0 + difference.abs());
                assert!(error < 1e-6, "{name}: {}[{i}] {} against {difference}", p.name(), gradient[i]);
            }
        }
    }
}

#[test]
fn layers_are_given_from_the_embedding_to_the_last() {
    let batch = Packed::from_lengths(&LENGTHS);
    let input = EncoderInput { ids: &IDS, segments: None, batch: &batch };
    for (name, config) in configs() {
        let (encoder, _) = build(&config, DType::F32);
        let all = encoder.forward_all(&mut Ctx::inference(), input, &Mask::Full).unwrap();
        let last = encoder.forward(&mut Ctx::inference(), input, &Mask::Full).unwrap();
        assert_eq!(all.len(), 3, "{name}");
        assert_eq!(all[2].to_f64_vec(), last.to_f64_vec(), "{name}");
        assert_eq!(last.shape(), [9, encoder.output_size()], "{name}");
    }
}

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
fn empty_texts_and_empty_batches_pass_through() {
    for (name, config) in configs() {
        let (encoder, _) = build(&config, DType::F32);
        let ctx = &mut Ctx::inference();
        assert_eq!(run(&encoder, ctx, &[], &[], &[]).shape(), [0, 8], "{name}");
        let alone = run(&encoder, ctx, &[3, 7], &[0, 1], &[2]).to_f64_vec();
        assert_eq!(run(&encoder, ctx, &[3, 7], &[0, 1], &[0, 2, 0]).to_f64_vec(), alone, "{name}");
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

/// The hidden states of texts of the same ids.
fn hidden(encoder: &Encoder, texts: &[&[usize]]) -> Vec<f32> {
    let ids = texts.concat();
    let batch = Packed::from_lengths(&texts.iter().map(|t| t.len()).collect::<Vec<_>>());
    let input = EncoderInput { ids: &ids, segments: None, batch: &batch };
    let hidden = encoder.forward(&mut Ctx::inference(), input, &Mask::Full).unwrap();
    hidden.values::<f32>().unwrap().to_vec()
}

#[test]
fn prepared_in_f32_every_encoder_gives_the_same_bits_and_stays_near_in_fewer() {
    for (name, config) in configs() {
        let texts: [&[usize]; 3] = [&IDS[..5], &IDS[5..6], &IDS[6..]];
        let want = hidden(&build(&config, DType::F32).0, &texts);
        let size = want.iter().map(|x| x.abs()).fold(0.0, f32::max);
        for (precision, bound) in
            [(Precision::F32, 0.0), (Precision::Auto, 0.0), (Precision::Bf16, 0.05), (Precision::Int8, 0.2)]
        {
            let (mut encoder, _) = build(&config, DType::F32);
            encoder.prepare(precision).unwrap();
            encoder.prepare(precision).unwrap(); // a second time changes nothing
            let got = hidden(&encoder, &texts);
            let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= bound * size, "{name} {precision}: {worst} of {size}");
            assert!(bound == 0.0 || worst > 0.0, "{name} {precision}: nothing was rounded");
            let alone = hidden(&encoder, &texts[..1]);
            assert_eq!(alone, got[..alone.len()], "{name} {precision}: neighbours changed a text");
        }
    }
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

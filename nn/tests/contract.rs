//! What every encoder promises, preset by preset; a new preset joins by being in the list of presets.
#![allow(clippy::unwrap_used)]

mod small;

use bert4rs_nn::Ctx;
use bert4rs_nn::doctor::gradient::never_has_one;
use bert4rs_nn::encoder::{EmbeddingConfig, Encoder, EncoderConfig, EncoderInput, Precision, huggingface};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Rng, Tensor, backward};
use small::{IDS, LENGTHS, SEGMENTS, build, configs, run};

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
            assert_eq!(
                largest < 1e-9,
                never_has_one(&config, p.name()),
                "{name}: {} has {largest}",
                p.name()
            );
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
        assert_eq!(all.len(), config.layers + 1, "{name}");
        assert_eq!(all[config.layers].to_f64_vec(), last.to_f64_vec(), "{name}");
        assert_eq!(last.shape(), [9, encoder.output_size()], "{name}");
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
fn a_saved_folder_gives_the_same_bits_again() {
    for (name, config) in configs() {
        let dir = tempfile::tempdir().unwrap();
        let (encoder, params) = build(&config, DType::F32);
        huggingface::save(dir.path(), &config, &params).unwrap();
        let (again, copy, copied, report) = huggingface::load(dir.path(), DType::F32).unwrap();
        // The id of unknown tokens is not kept where nothing uses it.
        let unk_id = config.embedding.unk_id;
        let embedding = EmbeddingConfig { unk_id, ..again.embedding.clone() };
        assert_eq!(EncoderConfig { embedding, ..again }, config, "{name}");
        assert_eq!((report.missing.len(), report.unexpected.len()), (0, 0), "{name}");
        for (a, b) in params.values().iter().zip(copied.values()) {
            assert_eq!((&a.0, a.1.to_f64_vec()), (&b.0, b.1.to_f64_vec()), "{name}");
        }
        let texts: [&[usize]; 2] = [&IDS[..5], &IDS[5..]];
        assert_eq!(hidden(&encoder, &texts), hidden(&copy, &texts), "{name}");
    }
}

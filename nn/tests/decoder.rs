//! Decoders: T5's published scores, and what every one of them promises.
#![allow(clippy::unwrap_used)]

mod published;
mod small;

use bert4rs_nn::block::attention::AttentionScale;
use bert4rs_nn::decoder::{EncoderDecoder, EncoderDecoderConfig, Pairs};
use bert4rs_nn::encoder::{
    Encoder, EncoderConfig, EncoderInput, Mixer, Position, Precision, TextMask, huggingface,
};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::io::safetensors::WeightFile;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor, backward};
use published::{assert_tokens, cases, compared, folder, numbers};
use small::tiny;

const T5: &str = "t5-tiny";

/// Sources and targets of different lengths; one source and one target are empty.
const SOURCE: [usize; 9] = [3, 7, 1, 4, 4, 2, 9, 5, 3];
const SOURCES: [usize; 5] = [4, 1, 3, 0, 1];
const TARGET: [usize; 9] = [0, 5, 8, 0, 2, 0, 6, 10, 2];
const TARGETS: [usize; 5] = [3, 2, 2, 2, 0];

fn pairs<'a>(source: (&'a [usize], &'a Packed), (target, targets): (&'a [usize], &'a Packed)) -> Pairs<'a> {
    Pairs { source: source.0, sources: source.1, target, targets }
}

fn targets_of(case: &published::Case) -> (Vec<usize>, Packed) {
    let rows = case.inputs["decoder_input_ids"].as_array().unwrap();
    let rows: Vec<Vec<usize>> =
        rows.iter().map(|row| numbers(row).iter().map(|id| *id as usize).collect()).collect();
    (rows.concat(), Packed::from_lengths(&rows.iter().map(Vec::len).collect::<Vec<_>>()))
}

fn load(dtype: DType) -> (EncoderDecoder, Params) {
    let (_, model, params, report) = huggingface::load_encoder_decoder(&folder(T5), dtype).unwrap();
    assert_eq!((report.loaded.len(), report.missing.len(), report.unexpected.len()), (params.len(), 0, 0));
    (model, params)
}

#[test]
fn t5_writes_with_the_published_states_and_scores() {
    for dtype in [DType::F32, DType::F64] {
        let (model, params) = load(dtype);
        let file = WeightFile::open(&folder(T5).join("model.safetensors")).unwrap();
        assert_eq!(params.len(), file.names().len(), "every tensor of the file");
        for case in cases(T5) {
            let (target, targets) = targets_of(&case);
            let ctx = &mut Ctx::inference();
            let hidden = model.forward(ctx, pairs((&case.ids, &case.batch), (&target, &targets))).unwrap();
            let logits = model.head.forward(ctx, &hidden).unwrap();
            let (expected, states) = (&case.expected, "decoder_last_hidden_state");
            assert_tokens("states", &compared(T5, &hidden), &expected[states], &targets, usize::MAX);
            assert_tokens("scores", &compared(T5, &logits), &expected["logits"], &targets, 3);
        }
    }
}

#[test]
fn t5_prepared_stays_within_the_bound_of_its_precision() {
    let case = &cases(T5)[0];
    let (target, targets) = targets_of(case);
    let pairs = pairs((&case.ids, &case.batch), (&target, &targets));
    let scores = |precision: Option<Precision>| {
        let (mut model, params) = load(DType::F32);
        drop(params);
        precision.iter().for_each(|precision| model.prepare(*precision).unwrap());
        let ctx = &mut Ctx::inference();
        let hidden = model.forward(ctx, pairs).unwrap();
        model.head.forward(ctx, &hidden).unwrap().to_f64_vec()
    };
    let trained = scores(None);
    let largest = trained.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    // This random model, without a scale of scores, multiplies any rounding: transformers with its weights
    // rounded to bf16 is 0.141 from itself.
    for (precision, bound) in [(Precision::F32, 0.0), (Precision::Bf16, 0.15), (Precision::Int8, 0.6)] {
        let got = scores(Some(precision));
        let worst = got.iter().zip(&trained).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / largest;
        assert!(worst <= bound, "{precision}: {worst}");
        println!("{precision}: {worst:.1e}");
    }
}

/// T5 and mT5, and a decoder of other choices: distances as in ALiBi, norms after parts, biases, scores of its
/// own and a scale that follows the number of keys.
fn configs() -> Vec<(&'static str, EncoderDecoderConfig)> {
    let mt5 =
        EncoderDecoderConfig { tied: false, output_scale: 1.0, ..EncoderDecoderConfig::t5(tiny("mt5")) };
    let mut other = EncoderDecoderConfig::t5(tiny("bert"));
    other.decoder.position = Position::Alibi;
    other.decoder.layers = 1;
    if let Mixer::Attention(attention) = &mut other.decoder.mixer {
        (attention.head_size, attention.key_size) = (Some(3), Some(6));
        attention.scale = AttentionScale::LogBase { train_length: 8, floor: 2 };
    }
    other.encoder.hidden_size = 12;
    other.encoder.embedding.size = Some(8);
    vec![("t5", EncoderDecoderConfig::t5(tiny("t5"))), ("mt5", mt5), ("other", other)]
}

fn build(config: &EncoderDecoderConfig, dtype: DType) -> (EncoderDecoder, Params) {
    let (mut params, mut rng) = (Params::new(), Rng::new(3));
    let model = EncoderDecoder::new(&mut Builder::new(&mut params, &mut rng, dtype), config).unwrap();
    for p in params.iter() {
        let noise = rng.normal_tensor(p.value().shape(), 0.4, dtype).unwrap();
        p.set(&p.value().add(&noise).unwrap()).unwrap();
    }
    (model, params)
}

/// Scores of all targets.
fn scores(
    model: &EncoderDecoder,
    ctx: &mut Ctx,
    source: (&[usize], &[usize]),
    target: (&[usize], &[usize]),
) -> Tensor {
    let (sources, targets) = (Packed::from_lengths(source.1), Packed::from_lengths(target.1));
    let hidden = model.forward(ctx, pairs((source.0, &sources), (target.0, &targets))).unwrap();
    model.head.forward(ctx, &hidden).unwrap()
}

#[test]
fn a_text_depends_on_its_own_source_alone_bit_for_bit() {
    for (name, config) in configs() {
        let (model, _) = build(&config, DType::F32);
        let ctx = &mut Ctx::inference();
        let all = scores(&model, ctx, (&SOURCE, &SOURCES), (&TARGET, &TARGETS));
        let (sources, targets) = (Packed::from_lengths(&SOURCES), Packed::from_lengths(&TARGETS));
        for b in 0..5 {
            let (s, t) = (sources.range(b), targets.range(b));
            let alone =
                scores(&model, ctx, (&SOURCE[s.clone()], &[s.len()]), (&TARGET[t.clone()], &[t.len()]));
            assert_eq!(
                alone.to_f64_vec(),
                all.narrow(0, t.start, t.len()).unwrap().to_f64_vec(),
                "{name} {b}"
            );
        }
        let turned = scores(
            &model,
            ctx,
            (&[&SOURCE[8..], &SOURCE[..8]].concat(), &[1, 4, 1, 3, 0]),
            (&TARGET, &[0, 3, 2, 2, 2]),
        );
        assert_eq!(turned.to_f64_vec(), all.to_f64_vec(), "{name}: in another order");
    }
}

#[test]
fn step_by_step_gives_the_bits_of_the_whole_text_in_every_precision() {
    for (name, config) in configs() {
        for precision in [None, Some(Precision::F32), Some(Precision::Bf16), Some(Precision::Int8)] {
            let (mut model, _) = build(&config, DType::F32);
            precision.iter().for_each(|precision| model.prepare(*precision).unwrap());
            let ctx = &mut Ctx::inference();
            let whole = scores(&model, ctx, (&SOURCE, &SOURCES), (&TARGET, &TARGETS));
            let (sources, targets) = (Packed::from_lengths(&SOURCES), Packed::from_lengths(&TARGETS));
            let source = model.read(ctx, &SOURCE, &sources).unwrap();
            let mut memory = model.decoder.start(ctx, &source, &sources).unwrap();
            let mut rows: Vec<Vec<Vec<f64>>> = vec![vec![]; 5];
            // Several tokens of some texts, one of others, then what is left.
            for (taken, lengths) in [([0; 5], [2, 1, 0, 1, 0]), ([2, 1, 0, 1, 0], [1, 1, 2, 1, 0])] {
                let ids: Vec<usize> = (0..5)
                    .flat_map(|b| TARGET[targets.range(b)][taken[b]..][..lengths[b]].to_vec())
                    .collect();
                let batch = Packed::from_lengths(&lengths);
                let hidden = model.decoder.step(ctx, &mut memory, &ids, &batch).unwrap();
                let step = model.head.forward(ctx, &hidden).unwrap().to_f64_vec();
                let texts = batch.sequence_of_tokens();
                step.chunks(12).zip(texts).for_each(|(row, b)| rows[b].push(row.to_vec()));
            }
            assert_eq!(memory.written(), &targets);
            assert_eq!(rows.concat().concat(), whole.to_f64_vec(), "{name} {precision:?}");
        }
    }
}

#[test]
fn texts_that_end_are_left_out_and_others_go_on_in_two_ways() {
    let (model, _) = build(&configs()[0].1, DType::F32);
    let ctx = &mut Ctx::inference();
    let (sources, first) = (Packed::from_lengths(&[4, 1, 4]), Packed::from_lengths(&[1, 1, 1]));
    let source = model.read(ctx, &SOURCE, &sources).unwrap();
    let mut memory = model.decoder.start(ctx, &source, &sources).unwrap();
    model.decoder.step(ctx, &mut memory, &[0, 0, 0], &first).unwrap();
    let mut chosen = memory.select(&[2, 0, 2]).unwrap();
    let hidden = model.decoder.step(ctx, &mut chosen, &[5, 6, 7], &first).unwrap();
    let got = model.head.forward(ctx, &hidden).unwrap().to_f64_vec();
    for (row, (source, id)) in [(&SOURCE[5..9], 5), (&SOURCE[..4], 6), (&SOURCE[5..9], 7)].iter().enumerate()
    {
        let want = scores(&model, ctx, (source, &[4]), (&[0, *id], &[2])).to_f64_vec();
        assert_eq!(got[row * 12..][..12], want[12..], "{row}");
    }
    assert!(memory.select(&[3]).is_err());
    let error = model.decoder.step(ctx, &mut memory, &[5], &Packed::from_lengths(&[1])).unwrap_err();
    assert!(error.to_string().contains("3 texts go on as 1"), "{error}");
    assert_eq!(memory.written(), &first, "an error changes nothing");
}

#[test]
fn training_with_dropout_off_gives_the_bits_of_inference() {
    for (name, config) in configs() {
        let (model, _) = build(&config, DType::F32);
        let run = |mut ctx: Ctx| scores(&model, &mut ctx, (&SOURCE, &SOURCES), (&TARGET, &TARGETS));
        let inference = run(Ctx::inference()).to_f64_vec();
        assert_eq!(run(Ctx::training(Rng::new(1))).to_f64_vec(), inference, "{name}");
        assert_eq!(run(Ctx::training(Rng::new(1)).recomputing()).to_f64_vec(), inference, "{name}");
    }
}

#[test]
fn every_parameter_has_a_gradient_and_it_is_the_central_difference() {
    for (name, config) in configs() {
        let (model, params) = build(&config, DType::F64);
        let (sources, targets) = (Packed::from_lengths(&SOURCES), Packed::from_lengths(&TARGETS));
        let wanted = [5, 8, 1, 2, 1, -1, 10, 2, 1];
        let loss = |ctx: Ctx| {
            let ctx = &mut ctx.clone();
            let hidden = model.forward(ctx, pairs((&SOURCE, &sources), (&TARGET, &targets))).unwrap();
            model.head.loss(ctx, &hidden, &wanted, 0.1).unwrap()
        };
        let training = || Ctx::training(Rng::new(1));
        let gradients = backward(loss(training())).unwrap();
        let again = backward(loss(training().recomputing())).unwrap();
        let all: Vec<Tensor> = params.iter().map(|p| gradients.of(&p.leaf()).unwrap().clone()).collect();
        for (p, gradient) in params.iter().zip(&all) {
            let recomputed = again.of(&p.leaf()).unwrap().to_f64_vec();
            let gradient = gradient.to_f64_vec();
            let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
            // The same number for all keys changes no softmax.
            assert_eq!(largest < 1e-9, p.name().ends_with("self.key.bias"), "{name}: {} {largest}", p.name());
            for i in (0..gradient.len()).step_by(1 + gradient.len() / 6) {
                assert!((recomputed[i] - gradient[i]).abs() < 1e-12, "{name}: {}", p.name());
                let at = |delta: f64| {
                    p.update::<f64>(|v| v[i] += delta).unwrap();
                    loss(Ctx::inference()).item().unwrap()
                };
                let difference = (at(1e-5) - at(-2e-5)) / 2e-5;
                at(1e-5);
                let error = (gradient[i] - difference).abs() / (1.0 + difference.abs());
                assert!(error < 1e-6, "{name}: {}[{i}] {} against {difference}", p.name(), gradient[i]);
            }
        }
    }
}

#[test]
fn a_saved_folder_gives_the_same_scores_again() {
    let mut all = configs();
    all.push(("tied mt5", EncoderDecoderConfig { output_scale: 1.0, ..all[0].1.clone() }));
    for ((name, mut config), kind) in all.into_iter().zip(["t5", "t5", "bert4rs", "mt5"]) {
        let dir = tempfile::tempdir().unwrap();
        // What foreign keys do not say, and nothing uses.
        (config.encoder.embedding.unk_id, config.decoder.embedding.unk_id) = (100, 100);
        let (model, params) = build(&config, DType::F32);
        huggingface::save_encoder_decoder(dir.path(), &config, &params).unwrap();
        let text = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        assert!(text.contains(&format!("\"model_type\": \"{kind}\"")), "{name}: {text}");
        let (again, copy, _, report) = huggingface::load_encoder_decoder(dir.path(), DType::F32).unwrap();
        assert_eq!((&again, report.loaded.len()), (&config, params.len()), "{name}");
        let run = |model: &EncoderDecoder| {
            scores(model, &mut Ctx::inference(), (&SOURCE, &SOURCES), (&TARGET, &TARGETS)).to_f64_vec()
        };
        assert_eq!(run(&model), run(&copy), "{name}");
        // The encoder alone opens too.
        let (_, encoder, _, _) = huggingface::load(dir.path(), DType::F32).unwrap();
        let sources = Packed::from_lengths(&SOURCES);
        let read = |encoder: &Encoder| {
            let input = EncoderInput { ids: &SOURCE, segments: None, batch: &sources };
            encoder.forward(&mut Ctx::inference(), input, &encoder.mask()).unwrap().to_f64_vec()
        };
        assert_eq!(read(&encoder), read(&model.encoder), "{name}");
    }
}

#[test]
fn what_is_written_is_read_one_token_later() {
    let config = &configs()[0].1;
    let batch = Packed::from_lengths(&[3, 0, 1]);
    assert_eq!(config.inputs_of(&[7, 8, 1, 1], &batch), [0, 7, 8, 0]);
}

#[test]
fn what_no_decoder_can_be_is_told_when_the_config_is_read() {
    type Change = fn(&mut EncoderDecoderConfig);
    let cases: [(Change, &str); 7] = [
        (|c| c.decoder.mask = TextMask::Full, "set mask = \"causal\""),
        (|c| c.decoder.position = Position::rotary(), "use buckets, alibi or none"),
        (|c| c.decoder.position = c.encoder.position.clone(), "set both_ways = false"),
        (|c| c.decoder.vocab_size = 13, "its table of tokens (13, 8) is that of the encoder, (12, 8)"),
        (
            |c| {
                c.decoder.mixer = Mixer::Lstm { bidirectional: false };
                c.decoder.position = Position::None;
            },
            "its mixer is not attention",
        ),
        (|c| c.output_scale = 0.0, "output_scale 0 is no factor above 0"),
        (|c| c.end_id = 12, "token 12 is outside the vocabulary of 12"),
    ];
    for (change, expected) in cases {
        let mut config = EncoderDecoderConfig::t5(EncoderConfig { hidden_size: 8, ..tiny("t5") });
        change(&mut config);
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let error = EncoderDecoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config);
        let error = error.err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = huggingface::read_encoder_decoder(&folder("bert-tiny")).unwrap_err().to_string();
    assert!(error.contains("model_type bert has no decoder"), "{error}");
}

//! BERT's small first weights: how much of the input a new stack lets through, and what warm-up is for.
//! Reference:   Su, why BERT's first deviation is 0.02, 2021 (article 34).

use anyhow::Result;
use bert4rs_nn::Builder;
use bert4rs_nn::Ctx;
use bert4rs_nn::encoder::{Encoder, EncoderConfig, EncoderInput};
use bert4rs_nn::signal::branch_variance;
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor};
use serde_json::json;

use crate::language::Language;
use crate::model::{Batch, LanguageModel, config};
use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Cell, Report, Table, mean};
use crate::train::{Recipe, last_tenth, smooth};
use crate::{Check, Experiment, Setup, Verdict};

pub const EXPERIMENT: Experiment = Experiment {
    name: "initial_deviation",
    article: 34,
    claim: "First weights of half of LeCun's deviation, as BERT's 0.02 is, let a deep post-norm encoder begin \
            near the identity; with LeCun's deviation and no warm-up it trains worst, either one rescues it, \
            and pre-norm needs neither.",
    run,
};

/// BERT's deviation over LeCun's at width 768: 0.02, cut at two sigma, times the root of 768.
const HALF: f64 = 0.4875;
const DEVIATIONS: [(&str, f64); 2] = [("half", HALF), ("LeCun", 1.0)];

fn run(setup: &Setup, report: &mut Report) -> Result<Verdict> {
    let mut checks = identity(setup, report)?;
    checks.extend(trained(setup, report)?);
    Ok(Verdict::of(checks))
}

fn shape(vocab: usize, width: usize, layers: usize, deviation: f64, wiring: &str) -> Result<EncoderConfig> {
    let changes = json!({
        "vocab_size": vocab, "hidden_size": width, "layers": layers, "wiring": wiring,
        "init": { "normal": { "deviation": deviation / (width as f64).sqrt() } },
        "mixer": { "attention": { "heads": 4, "dropout": 0.0 } },
        "feed_forward": { "dense": { "size": 4 * width } },
    });
    config("roformer", &changes)
}

/// How alike the output of each layer of a new post-norm stack is to the stack's input.
fn identity(setup: &Setup, report: &mut Report) -> Result<Vec<Check>> {
    let (width, layers, tokens) = (setup.pick(256, 16), setup.pick(12, 3), 32);
    report.progress("likeness to the input in depth");
    let xs: Vec<f64> = (0..=layers).map(|l| l as f64).collect();
    let (mut series, mut ends) = (Vec::new(), Vec::new());
    for (name, deviation) in DEVIATIONS {
        let mut likeness = vec![Vec::new(); layers + 1];
        for seed in setup.seeds() {
            let config = shape(tokens, width, layers, deviation, "post_norm")?;
            for (all, one) in likeness.iter_mut().zip(likeness_to_input(&config, seed)?) {
                all.push(one);
            }
        }
        let branch = branch_variance([width, 4 * width], deviation / (width as f64).sqrt(), tokens, 0.0);
        let kept = 1.0 / ((1.0 + branch.attention) * (1.0 + branch.feed_forward)).sqrt();
        series.push(Series::of_seeds(format!("{name}: measured"), &xs, &likeness));
        series.push(Series::new(format!("{name}: formula"), xs.iter().map(|&l| (l, kept.powf(l)))));
        ends.push((mean(&likeness[layers]), kept.powf(layers as f64)));
    }
    let (x, y) = (Axis::linear("layer"), Axis::linear("correlation with the input"));
    let title = format!("What is left of the input in a new post-norm stack of width {width}");
    report.plot("identity", Plot::Lines(Lines { title, x, y, series }));
    let ((half, half_formula), (full, full_formula)) = (ends[0], ends[1]);
    Ok(vec![
        Check::new(
            (half / half_formula - 1.0).abs() < 0.2,
            format!("half: {half:.3} of the input is left, the formula says {half_formula:.3}"),
        ),
        Check::new(
            full < half / 5.0,
            format!("LeCun: less than a fifth of that, {full:.3}; the formula says {full_formula:.4}"),
        ),
    ])
}

fn likeness_to_input(config: &EncoderConfig, seed: u64) -> Result<Vec<f64>> {
    let (mut params, mut rng) = (Params::new(), Rng::new(seed).fork("weights"));
    let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), config)?;
    let ids: Vec<usize> = (0..config.vocab_size).collect();
    let batch = Packed::from_lengths(&[ids.len()]);
    let input = EncoderInput { ids: &ids, segments: None, batch: &batch };
    let all = encoder.forward_all(&mut Ctx::inference(), input, &Mask::Full)?;
    all.iter().map(|x| likeness(x, &all[0])).collect()
}

/// The mean cosine of rows.
fn likeness(x: &Tensor, y: &Tensor) -> Result<f64> {
    let inner = |a: &Tensor, b: &Tensor| -> Result<Tensor> { Ok(a.mul(b)?.sum(-1, false)?) };
    let below = inner(x, x)?.mul(&inner(y, y)?)?.sqrt()?;
    Ok(inner(x, y)?.div(&below)?.mean_all()?.item()?)
}

/// Every combination of deviation, warm-up and wiring, trained for a while.
fn trained(setup: &Setup, report: &mut Report) -> Result<Vec<Check>> {
    let mut table = Table::new(
        "Loss of a masked language model at the end, nats",
        ["wiring", "deviation", "warm-up", "loss", "no better than letter frequencies"],
    );
    let (mut ends, mut series) = (Vec::new(), Vec::new());
    for wiring in ["post_norm", "pre_norm"] {
        for (name, deviation) in DEVIATIONS {
            for warmup in [0, 10] {
                let (mut curves, mut stuck) = (Vec::new(), 0);
                for seed in setup.seeds() {
                    report.progress(&format!("seed {seed}: {wiring}, {name}, warm-up {warmup} %"));
                    let (curve, entropy) = curve(setup, wiring, deviation, warmup, seed)?;
                    stuck +=
                        usize::from(!last_tenth(&curve).is_finite() || last_tenth(&curve) > 0.97 * entropy);
                    curves.push(curve);
                }
                let losses: Vec<f64> = curves.iter().map(|c| last_tenth(c)).collect();
                ends.push(mean(&losses));
                table.row([
                    Cell::text(wiring.replace('_', " ")),
                    Cell::text(name),
                    Cell::text(format!("{warmup} %")),
                    Cell::Seeds(losses, 3),
                    Cell::text(format!("{stuck} of {}", setup.seeds)),
                ]);
                let label = format!("{}, {name}, {warmup} %", wiring.replace("_norm", ""));
                series.push(Series::new(label, smooth(&curves[0], 30)));
            }
        }
    }
    report.table(table);
    let (x, y) = (Axis::linear("step"), Axis::linear("loss, nats"));
    let title = "Training under each beginning, first seed".to_owned();
    report.plot("loss", Plot::Lines(Lines { title, x, y, series }));
    report.note("AdamW without clipping; the learning rate is high, 2e-3, so that beginnings matter.");
    let &[half, half_warm, full, full_warm, ref pre @ ..] = ends.as_slice() else {
        return Ok(Vec::new());
    };
    let worse = |a: f64, b: f64| !a.is_finite() || a > b + 0.02;
    let (low, high) = pre.iter().fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    Ok(vec![
        Check::new(
            worse(full, half) && worse(full, full_warm) && worse(full, high),
            format!("post norm, LeCun, no warm-up is the worst of all: {full:.3}"),
        ),
        Check::new(
            worse(full, half),
            format!("half the deviation rescues it: {half:.3} (with warm-up {half_warm:.3})"),
        ),
        Check::new(worse(full, full_warm), format!("warm-up rescues it: {full_warm:.3}")),
        Check::new(
            high - low < (full - half_warm) / 2.0,
            format!(
                "pre norm differs less than half as much: {low:.3} to {high:.3}, post norm {half_warm:.3} to {full:.3}"
            ),
        ),
    ])
}

/// The curve of one training, and the entropy of letters: the loss of who knows how frequent they are.
fn curve(setup: &Setup, wiring: &str, deviation: f64, warmup: usize, seed: u64) -> Result<(Vec<f64>, f64)> {
    let language = Language::new(seed, 12, 8);
    let (width, layers) = (setup.pick(64, 16), setup.pick(8, 2));
    let model = LanguageModel::new(&shape(language.vocab_size(), width, layers, deviation, wiring)?, seed)?;
    let steps = setup.pick(300, 4);
    let recipe = Recipe { warmup: steps * warmup / 100, clip: None, ..Recipe::new(steps, 2e-3) };
    let curve = recipe.train(model.params(), seed, |ctx, rng| {
        let texts = language.texts(rng, setup.pick(24, 2), 32);
        model.loss(ctx, &Batch::masked(&texts, 0.2, rng))
    })?;
    Ok((curve, entropy_of(&language, seed)))
}

/// The entropy of a language's letters by their frequencies, in nats.
fn entropy_of(language: &Language, seed: u64) -> f64 {
    let texts = language.texts(&mut Rng::new(seed).fork("frequencies"), 64, 64).concat();
    let count = |id: usize| texts.iter().filter(|&&other| other == id).count() as f64 / texts.len() as f64;
    (0..language.vocab_size()).map(count).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}

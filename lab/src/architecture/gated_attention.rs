//! Gated attention units against attention with feed-forward parts, at the same number of parameters.
//! Reference:   Hua et al., Transformer quality in linear time, 2022; Su, GAU-alpha, 2022 (article 41).

use std::time::Instant;

use anyhow::Result;
use bert4rs_nn::Ctx;
use bert4rs_nn::encoder::EncoderConfig;
use bert4rs_tensor::{Rng, backward};
use serde_json::{Value, json};

use crate::language::Language;
use crate::model::{Batch, LanguageModel, config};
use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Cell, Report, Table, mean};
use crate::train::{Recipe, last_tenth, smooth};
use crate::{Check, Experiment, Setup, Verdict};

pub const EXPERIMENT: Experiment = Experiment {
    name: "gated_attention",
    article: 41,
    claim: "Twice as many gated attention units as layers of attention and feed-forward part, with as many \
            parameters, learn no worse in equal steps and take less time for each at 256 tokens and more; of \
            their weights, softmax_plus changes least with the length.",
    run,
};

const LAYERS: usize = 2;
/// Learning rates that both kinds are tried at.
const RATES: [f64; 2] = [1e-3, 4e-3];

fn run(setup: &Setup, report: &mut Report) -> Result<Verdict> {
    let (mut checks, plus, rate) = learning(setup, report)?;
    checks.extend(step_time(setup, report)?);
    checks.extend(lengths(setup, report, &plus, rate)?);
    Ok(Verdict::of(checks))
}

fn width(setup: &Setup) -> usize {
    setup.pick(128, 16)
}

/// Layers of attention and feed-forward part, with the norms of GAU-alpha.
fn pairs(width: usize) -> Result<EncoderConfig> {
    let changes = json!({
        "vocab_size": 14, "hidden_size": width, "layers": LAYERS, "bias": false,
        "norm": { "rms": { "eps": 1e-7, "gain": false } }, "init": { "depth_scaled": { "order": 3.0 } },
        "mixer": { "attention": { "heads": 4, "dropout": 0.0 } },
        "feed_forward": { "dense": { "size": 4 * width } },
    });
    config("roformer", &changes)
}

/// Gated attention units, twice as many, whose gates are as wide as makes their parameters equal.
fn units(width: usize, weights: &Value) -> Result<EncoderConfig> {
    let key_size = width / 2;
    let size = (12 * width * width / 2 - width * key_size) / (3 * width);
    let changes = json!({
        "vocab_size": 14, "hidden_size": width, "layers": 2 * LAYERS,
        "mixer": { "gated_attention": { "size": size, "key_size": key_size, "weights": weights } },
    });
    config("gau_alpha", &changes)
}

fn trained(setup: &Setup, config: &EncoderConfig, lr: f64, seed: u64) -> Result<(LanguageModel, Vec<f64>)> {
    let language = Language::new(seed, 12, 8);
    let model = LanguageModel::new(config, seed)?;
    let curve = Recipe::new(setup.pick(400, 3), lr).train(model.params(), seed, |ctx, rng| {
        let texts = language.texts(rng, setup.pick(16, 2), setup.pick(64, 16));
        model.loss(ctx, &Batch::masked(&texts, 0.2, rng))
    })?;
    Ok((model, curve))
}

/// Both kinds trained at each learning rate; also gives the gated models of the better one, and that.
fn learning(setup: &Setup, report: &mut Report) -> Result<(Vec<Check>, Vec<LanguageModel>, f64)> {
    let width = width(setup);
    let kinds = [
        ("attention and feed-forward", pairs(width)?),
        ("gated attention", units(width, &json!("softmax_plus"))?),
    ];
    let columns = ["layers", "parameters", "learning rate", "loss, nats"];
    let mut table = Table::new("Masked language models after equal steps", columns);
    let (mut series, mut ends, mut kept, mut kept_rate) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    for (name, config) in &kinds {
        let mut best = f64::INFINITY;
        for rate in RATES {
            let (mut losses, mut curves, mut models) = (Vec::new(), Vec::new(), Vec::new());
            for seed in setup.seeds() {
                report.progress(&format!("seed {seed}: {name} at learning rate {rate}"));
                let (model, curve) = trained(setup, config, rate, seed)?;
                losses.push(last_tenth(&curve));
                curves.push(smooth(&curve, 25));
                models.push(model);
            }
            let xs: Vec<f64> = curves[0].iter().map(|(x, _)| *x).collect();
            let ys: Vec<Vec<f64>> = (0..xs.len()).map(|i| curves.iter().map(|c| c[i].1).collect()).collect();
            series.push(Series::of_seeds(format!("{}, {rate}", name.replace(" and", ",")), &xs, &ys));
            if mean(&losses) < best {
                best = mean(&losses);
                (kept, kept_rate) = (models, rate);
            }
            let size = kept.first().map_or(0, encoder_size) as f64;
            let layers = format!("{} of {name}", config.layers);
            let (size, rate) = (Cell::Number(size, 0), Cell::Number(rate, 4));
            table.row([Cell::text(layers), size, rate, Cell::Seeds(losses, 3)]);
        }
        ends.push(best);
    }
    report.table(table);
    let (x, y) = (Axis::linear("step"), Axis::linear("loss, nats"));
    let title = "Learning to guess hidden letters".to_owned();
    report.plot("loss", Plot::Lines(Lines { title, x, y, series }));
    let [pairs, units] = [ends[0], ends[1]];
    let what = format!(
        "each at its better rate, the loss of gated attention is no worse: {units:.3}, attention and \
         feed-forward {pairs:.3}"
    );
    Ok((vec![Check::new(units < pairs + 0.02, what)], kept, kept_rate))
}

fn encoder_size(model: &LanguageModel) -> usize {
    let of_encoder = model.params().iter().filter(|p| p.name().starts_with("encoder."));
    of_encoder.map(|p| p.value().elements()).sum()
}

/// Milliseconds of a step by length, both models in turn.
fn step_time(setup: &Setup, report: &mut Report) -> Result<Vec<Check>> {
    let width = width(setup);
    let models = [
        LanguageModel::new(&pairs(width)?, 1)?,
        LanguageModel::new(&units(width, &json!("softmax_plus"))?, 1)?,
    ];
    let columns = ["tokens of a text", "attention and feed-forward", "gated attention"];
    let mut table = Table::new("Milliseconds of a training step over 1024 tokens, the median", columns);
    let mut checks = Vec::new();
    for length in setup.pick(vec![64, 256, 1024], vec![32]) {
        report.progress(&format!("time of a step at {length} tokens"));
        let texts = Language::new(1, 12, 8).texts(&mut Rng::new(1), setup.pick(1024, 64) / length, length);
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..setup.pick(9, 2) {
            for (model, times) in models.iter().zip(&mut times) {
                let batch = Batch::masked(&texts, 0.2, &mut Rng::new(2));
                let start = Instant::now();
                backward(model.loss(&mut Ctx::training(Rng::new(3)), &batch)?)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let [pairs, units] = times.map(|mut t| {
            t.sort_by(f64::total_cmp);
            t[t.len() / 2]
        });
        table.row([length as f64, pairs, units].map(|x| Cell::Number(x, usize::from(x < 60.0))));
        if length >= 256 {
            let what = format!("a step at {length} tokens takes less time: {units:.1} ms and {pairs:.1} ms");
            checks.push(Check::new(units < pairs, what));
        }
    }
    report.table(table);
    report.note(
        "Attention runs in one fused operation; the scores of gated attention are written out, step by step.",
    );
    Ok(checks)
}

/// Losses at other lengths than that of training, by the weights of gated attention.
fn lengths(setup: &Setup, report: &mut Report, plus: &[LanguageModel], rate: f64) -> Result<Vec<Check>> {
    let width = width(setup);
    let kinds = [
        ("relu² / l", json!("squared_relu")),
        ("relu² / 512", json!({ "squared_relu_fixed": { "length": 512 } })),
        ("softmax", json!("softmax")),
        ("softmax_plus", json!("softmax_plus")),
    ];
    let trained_length = setup.pick(64, 16);
    let lengths = [trained_length / 4, trained_length, 4 * trained_length];
    let mut table = Table::new(
        format!("Loss by length after training at {trained_length} tokens, nats"),
        ["weights".to_owned()].into_iter().chain(lengths.map(|l| format!("{l} tokens"))),
    );
    let xs = lengths.map(|l| l as f64);
    let (mut series, mut worst) = (Vec::new(), Vec::new());
    for (name, weights) in &kinds {
        let mut losses = vec![Vec::new(); lengths.len()];
        for (seed, plus) in setup.seeds().zip(plus) {
            let mut other = None;
            if *name != "softmax_plus" {
                report.progress(&format!("seed {seed}: {name}"));
                other = Some(trained(setup, &units(width, weights)?, rate, seed)?.0);
            }
            let model = other.as_ref().unwrap_or(plus);
            for (length, losses) in lengths.iter().zip(&mut losses) {
                let mut rng = Rng::new(seed).fork("held out");
                let texts =
                    Language::new(seed, 12, 8).texts(&mut rng, setup.pick(8192, 64) / length, *length);
                losses.push(model.guesses(&[Batch::masked(&texts, 0.2, &mut rng)])?.loss);
            }
        }
        let cells = losses.iter().map(|seeds| Cell::Seeds(seeds.clone(), 3));
        table.row([Cell::text(*name)].into_iter().chain(cells));
        worst.push(losses.iter().map(|l| mean(l)).fold(f64::MIN, f64::max) - mean(&losses[1]));
        series.push(Series::of_seeds(*name, &xs, &losses));
    }
    report.table(table);
    let (x, y) = (Axis::log("tokens of a text"), Axis::linear("loss, nats"));
    let title = format!("Gated attention trained at {trained_length} tokens");
    report.plot("length", Plot::Lines(Lines { title, x, y, series }));
    let others = worst[..3].iter().copied().fold(f64::MAX, f64::min);
    let plus = worst[3];
    let what = format!(
        "softmax_plus loses least at another length: {plus:.3} nats at the worst, the best other {others:.3}"
    );
    Ok(vec![Check::new(plus <= others, what)])
}

//! RealFormer: each layer adds the scores of the layers before to its own.
//! Reference:   He et al., RealFormer, 2021; Su, 2020-12-24 (article 11).

use anyhow::Result;
use serde_json::json;

use crate::language::Language;
use crate::model::{Batch, LanguageModel, config};
use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Cell, Report, Table, mean};
use crate::train::{Recipe, last_tenth, smooth};
use crate::{Check, Experiment, Setup, Verdict};

pub const EXPERIMENT: Experiment = Experiment {
    name: "residual_scores",
    article: 11,
    claim: "A deep post-norm encoder whose layers add the attention scores of the layers before to their own \
            learns no worse in equal steps, and better than the plain one at a high learning rate without \
            warm-up.",
    run,
};

const KINDS: [(&str, &str); 3] = [("plain", "off"), ("sum", "running_sum"), ("mean", "running_mean")];

/// A learning rate, and the share of steps that warm up to it.
const BEGINNINGS: [(&str, f64, f64); 2] = [("warm-up to 0.001", 1e-3, 0.1), ("0.003 at once", 3e-3, 0.0)];

fn run(setup: &Setup, report: &mut Report) -> Result<Verdict> {
    let mut table = Table::new(
        "Loss of a masked language model of 8 layers at the end, nats",
        ["beginning", "scores", "loss", "worst seed"],
    );
    let (mut ends, mut series) = (Vec::new(), Vec::new());
    for (beginning, lr, warmup) in BEGINNINGS {
        for (name, kind) in KINDS {
            let mut curves = Vec::new();
            for seed in setup.seeds() {
                report.progress(&format!("seed {seed}: {beginning}, {name}"));
                curves.push(curve(setup, kind, lr, warmup, seed)?);
            }
            let losses: Vec<f64> = curves.iter().map(|c| last_tenth(c)).collect();
            let worst = losses.iter().copied().fold(f64::MIN, f64::max);
            ends.push(mean(&losses));
            let cells =
                [Cell::text(beginning), Cell::text(name), Cell::Seeds(losses, 3), Cell::Number(worst, 3)];
            table.row(cells);
            series.push(Series::new(format!("{name}, {beginning}"), smooth(&curves[0], 25)));
        }
    }
    report.table(table);
    let (x, y) = (Axis::linear("step"), Axis::linear("loss, nats"));
    let title = "Learning to guess hidden letters, first seed".to_owned();
    report.plot("loss", Plot::Lines(Lines { title, x, y, series }));
    report.note("AdamW, gradients cut at length 1.");
    let check = |what: &str, first: usize, margin: f64| {
        let (plain, sum, by_mean) = (ends[first], ends[first + 1], ends[first + 2]);
        Check::new(
            sum < plain + margin,
            format!("{what}: sum {sum:.3} (mean {by_mean:.3}), plain {plain:.3}"),
        )
    };
    Ok(Verdict::of(vec![
        check("with warm-up the loss is no worse", 0, 0.02),
        check("without it, at three times the rate, the loss is lower", 3, -0.02),
    ]))
}

fn curve(setup: &Setup, kind: &str, lr: f64, warmup: f64, seed: u64) -> Result<Vec<f64>> {
    let language = Language::new(seed, 12, 8);
    let width = setup.pick(64, 16);
    let shape = json!({
        "vocab_size": language.vocab_size(), "hidden_size": width, "layers": setup.pick(8, 2),
        "init": "le_cun",
        "mixer": { "attention": { "heads": 4, "dropout": 0.0, "residual_scores": kind } },
        "feed_forward": { "dense": { "size": 4 * width } },
    });
    let model = LanguageModel::new(&config("roformer", &shape)?, seed)?;
    let steps = setup.pick(300, 4);
    let recipe = Recipe { warmup: (steps as f64 * warmup) as usize, ..Recipe::new(steps, lr) };
    recipe.train(model.params(), seed, |ctx, rng| {
        let texts = language.texts(rng, setup.pick(16, 2), 32);
        model.loss(ctx, &Batch::masked(&texts, 0.2, rng))
    })
}

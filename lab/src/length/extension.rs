//! How far beyond its training length a rotary model reads, under each way to extend it.
//! Reference:   RoFormer and its sequels, 2021-2023 (article 14).

use anyhow::Result;
use bert4rs_nn::block::position::Scaling;
use bert4rs_nn::encoder::{EncoderConfig, Position};
use bert4rs_tensor::Rng;
use serde_json::json;

use super::distances::{Distances, hidden_under};
use crate::language::Language;
use crate::model::{Batch, LanguageModel, config};
use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Cell, Report, Table, mean};
use crate::train::Recipe;
use crate::{Check, Experiment, Setup, Verdict};

pub const EXPERIMENT: Experiment = Experiment {
    name: "length_extension",
    article: 14,
    claim: "A rotary model reads texts far longer than those of its training when its attention is sharpened \
            by the logarithm of the length (log n), when distances stop growing beyond a window (ReRoPE), or \
            when its frequencies are slowed (NTK); left as it is, it does not.",
    run,
};

/// A way to read longer texts.
enum Kind {
    /// Other frequencies, by how many times longer the texts are.
    Frequencies(fn(f64, usize) -> Scaling),
    /// Other distances, by the lengths of training and reading.
    Distances(fn(usize, usize) -> Distances),
}

/// ReRoPE's window is half the training length; leaky ReRoPE's slope keeps the farthest token at the
/// largest distance of training.
const KINDS: [(&str, Kind); 7] = [
    ("none", Kind::Frequencies(|_, _| Scaling::None)),
    ("interpolation", Kind::Frequencies(|factor, _| Scaling::Linear { factor })),
    ("NTK-aware", Kind::Frequencies(|factor, _| Scaling::NtkAware { factor })),
    ("NTK-mixed", Kind::Frequencies(|factor, _| Scaling::NtkMixed { factor, exponent: 0.625 })),
    ("YaRN", Kind::Frequencies(|factor, trained_length| Scaling::Yarn { factor, trained_length })),
    ("ReRoPE", Kind::Distances(|trained, _| Distances { window: trained / 2, slope: None })),
    (
        "leaky ReRoPE",
        Kind::Distances(|trained, length| {
            let window = trained / 2;
            let slope = (length - 1 - window) as f64 / (trained - 1 - window) as f64;
            Distances { window, slope: Some(slope.max(1.0)) }
        }),
    ),
];

/// What the plot shows of all that the table says.
const PLOTTED: [&str; 10] = [
    "none",
    "interpolation",
    "NTK-aware",
    "NTK-mixed",
    "YaRN",
    "ReRoPE",
    "leaky ReRoPE",
    "none + log n",
    "ReRoPE + log n",
    "none, log n in training",
];

/// Log n in training counts from here: fewer tokens are not made less sharp, as in GAU-alpha.
const FLOOR: usize = 16;

fn run(setup: &Setup, report: &mut Report) -> Result<Verdict> {
    let trained = setup.pick(128, 16);
    let lengths: Vec<usize> = (0..setup.pick(4, 2)).map(|i| trained << i).collect();
    let ways = ["", " + log n", ", log n in training"];
    let names: Vec<String> =
        ways.iter().flat_map(|way| KINDS.iter().map(move |(name, _)| format!("{name}{way}"))).collect();
    // By kind, length and seed.
    let mut perplexities = vec![vec![Vec::new(); lengths.len()]; names.len()];
    for seed in setup.seeds() {
        let language = Language::new(seed, 26, 32);
        let plain = trained_model(setup, report, &language, trained, None, seed)?;
        let sharp = trained_model(setup, report, &language, trained, Some(FLOOR), seed)?;
        let models = [(&plain, None), (&plain, Some(trained)), (&sharp, Some(FLOOR))];
        for (l, &length) in lengths.iter().enumerate() {
            report.progress(&format!("seed {seed}: reading {length} tokens"));
            let mut rng = Rng::new(seed).fork("held out");
            let texts = language.texts(&mut rng, setup.pick(8 * 1024, 64) / length, length);
            let batches: Vec<Batch> = texts.chunks(4).map(Batch::causal).collect();
            for (m, (model, log_n)) in models.into_iter().enumerate() {
                for (k, (_, kind)) in KINDS.iter().enumerate() {
                    let perplexity = read(model, kind, log_n, trained, length, &batches)?;
                    perplexities[KINDS.len() * m + k][l].push(perplexity);
                }
            }
        }
    }
    tabulate(report, &names, &lengths, &perplexities);
    let last = lengths.len() - 1;
    let at = |name: &str| {
        let k = names.iter().position(|n| n == name).unwrap_or(0);
        mean(&perplexities[k][last])
    };
    let plain = at("none");
    let beats = |name: &str| {
        let (here, length) = (at(name), lengths[last]);
        Check::new(
            here < plain,
            format!("{name} at {length}: perplexity {here:.2}, without extension {plain:.2}"),
        )
    };
    let start = mean(&perplexities[0][0]);
    let best = at("ReRoPE").min(at("ReRoPE + log n"));
    let close = format!("ReRoPE at {}: {best:.2}, not above {start:.2} at {trained}", lengths[last]);
    Ok(Verdict::of(vec![
        beats("none + log n"),
        beats("none, log n in training"),
        beats("NTK-aware"),
        beats("YaRN"),
        beats("ReRoPE"),
        Check::new(best <= start, close),
        Check::new(
            at("ReRoPE, log n in training") < at("ReRoPE"),
            format!(
                "ReRoPE gains by log n: {:.2} afterwards, {:.2} in training, {:.2} without",
                at("ReRoPE + log n"),
                at("ReRoPE, log n in training"),
                at("ReRoPE")
            ),
        ),
    ]))
}

/// Two layers of RoFormer that guess the next letter.
fn trained_model(
    setup: &Setup,
    report: &mut Report,
    language: &Language,
    length: usize,
    log_n: Option<usize>,
    seed: u64,
) -> Result<LanguageModel> {
    let width = setup.pick(128, 16);
    let shape = json!({
        "vocab_size": language.vocab_size(), "hidden_size": width, "layers": 2,
        "init": { "normal": { "deviation": 0.04 } },
        "mixer": { "attention": { "heads": 4, "dropout": 0.0 } },
        "feed_forward": { "dense": { "size": 2 * width } },
    });
    let config = rotary(&config("roformer", &shape)?, Scaling::None, log_n);
    let model = LanguageModel::new(&config, seed)?;
    let recipe = Recipe::new(setup.pick(1000, 4), 2e-3);
    let mut done = 0;
    let curve = recipe.train(model.params(), seed, |ctx, rng| {
        if done % 100 == 0 {
            report.progress(&format!("seed {seed}: step {done} of {}", recipe.steps));
        }
        done += 1;
        let texts = language.texts(rng, setup.pick(12, 2), length);
        model.loss(ctx, &Batch::causal(&texts))
    })?;
    report.progress(&format!("seed {seed}: loss {:.3}", crate::train::last_tenth(&curve)));
    Ok(model)
}

/// The perplexity of the model under an extension.
fn read(
    model: &LanguageModel,
    kind: &Kind,
    log_n: Option<usize>,
    trained: usize,
    length: usize,
    batches: &[Batch],
) -> Result<f64> {
    let guesses = match kind {
        Kind::Frequencies(scaling) => {
            let scaling = scaling(length as f64 / trained as f64, trained);
            model.under(&rotary(model.encoder().config(), scaling, log_n))?.guesses(batches)?
        }
        Kind::Distances(distances) => {
            let distances = distances(trained, length);
            model.guesses_from(batches, |batch| hidden_under(model, &distances, log_n, batch))?
        }
    };
    Ok(guesses.perplexity())
}

fn rotary(config: &EncoderConfig, scaling: Scaling, log_n: Option<usize>) -> EncoderConfig {
    let mut config = config.clone();
    if let Position::Rotary { scaling: s, log_n: n, .. } = &mut config.position {
        (*s, *n) = (scaling, log_n);
    }
    config
}

fn tabulate(report: &mut Report, names: &[String], lengths: &[usize], perplexities: &[Vec<Vec<f64>>]) {
    let columns = lengths.iter().map(|l| format!("{l} tokens"));
    let mut table =
        Table::new("Perplexity by length", std::iter::once("extension".to_owned()).chain(columns));
    let xs: Vec<f64> = lengths.iter().map(|&l| l as f64).collect();
    let mut series = Vec::new();
    for (name, values) in names.iter().zip(perplexities) {
        let cells = values.iter().map(|seeds| Cell::Seeds(seeds.clone(), 2));
        table.row(std::iter::once(Cell::text(name.clone())).chain(cells));
        if PLOTTED.contains(&name.as_str()) {
            series.push(Series::of_seeds(name.clone(), &xs, values));
        }
    }
    report.table(table);
    let title = format!("Trained at {} tokens, read at more", lengths[0]);
    let (x, y) = (Axis::log("tokens of a text"), Axis::log("perplexity"));
    report.plot("perplexity", Plot::Lines(Lines { title, x, y, series }));
    report.note(
        "Texts have 32 words of their own each, so that letters are guessed from words far back; longer \
         texts repeat more and are easier for a model that still finds them.",
    );
    report.note("Frequencies are scaled for the length that is read; nothing is trained again.");
    report.note(
        "+ log n: queries beyond the training length are multiplied by ln n / ln 128, the model was trained \
         without. Log n in training: a model whose queries are multiplied by ln n / ln 16 beyond 16 tokens in \
         training too; the constant is absorbed by weights.",
    );
}

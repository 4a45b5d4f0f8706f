//! Attention that stays as sharp at any length: entropy of random scores, and a model read at other
//! lengths than it was trained at.
//! Reference:   Su, 2021-12-21 and 2022-04-11 (article 29).

use anyhow::Result;
use bert4rs_nn::block::attention::AttentionScale;
use bert4rs_tensor::Rng;
use serde_json::json;

use crate::language::Language;
use crate::model::{Batch, LanguageModel, config};
use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Cell, Report, Table, mean};
use crate::train::Recipe;
use crate::{Check, Experiment, Setup, Verdict};

pub const EXPERIMENT: Experiment = Experiment {
    name: "entropy_invariant",
    article: 29,
    claim: "Scores multiplied by ln(n) / ln(512) keep the entropy of attention over n tokens nearly the same, \
            where it grows with n otherwise; a masked language model trained at 64 tokens reads 256 clearly \
            better with them.",
    run,
};

/// Width of queries and keys, and by how much their products are larger than at random: trained
/// attention is peaked.
const SIZE: usize = 64;
const PEAKED: f64 = 4.0;
const NAMES: [&str; 2] = ["standard", "ln n / ln 512"];
const SCALES: [AttentionScale; 2] =
    [AttentionScale::Standard, AttentionScale::LogBase { train_length: 512, floor: 1 }];

fn run(setup: &Setup, report: &mut Report) -> Result<Verdict> {
    let mut checks = random_scores(setup, report)?;
    checks.extend(trained(setup, report)?);
    Ok(Verdict::of(checks))
}

/// Entropy against length, of random queries and keys.
fn random_scores(setup: &Setup, report: &mut Report) -> Result<Vec<Check>> {
    let lengths: Vec<usize> = (0..setup.pick(7, 3)).map(|i| 64 << i).collect();
    let mut entropies = [Vec::new(), Vec::new()];
    for &length in &lengths {
        report.progress(&format!("random attention over {length} tokens"));
        let mut rows = [Vec::new(), Vec::new()];
        for seed in setup.seeds() {
            let mut rng = Rng::new(seed).fork(&format!("{length} keys"));
            let products = products(&mut rng, setup.pick(64, 4), length);
            for (scale, rows) in SCALES.iter().zip(&mut rows) {
                let own = scale.factors(SIZE, || vec![length]).map_or(1.0, |f| f[0]);
                let factor = own * scale.constant(SIZE)? * PEAKED;
                rows.push(mean(&products.iter().map(|row| entropy(factor, row)).collect::<Vec<_>>()));
            }
        }
        for (entropies, rows) in entropies.iter_mut().zip(rows) {
            entropies.push(rows);
        }
    }
    let xs: Vec<f64> = lengths.iter().map(|&l| l as f64).collect();
    let series = (0..2).map(|i| Series::of_seeds(NAMES[i], &xs, &entropies[i])).collect();
    let mut table = Table::new("Entropy of random peaked attention, nats", ["tokens", NAMES[0], NAMES[1]]);
    for (i, &length) in lengths.iter().enumerate() {
        let cell = |kind: usize| Cell::Seeds(entropies[kind][i].clone(), 2);
        table.row([Cell::Number(length as f64, 0), cell(0), cell(1)]);
    }
    report.table(table);
    let (x, y) = (Axis::log("tokens"), Axis::linear("entropy, nats"));
    let title = "Entropy of attention".to_owned();
    report.plot("entropy", Plot::Lines(Lines { title, x, y, series }));
    let slopes = entropies.map(|e| slope(&xs, &e.iter().map(|seeds| mean(seeds)).collect::<Vec<_>>()));
    let [plain, flat] = slopes;
    Ok(vec![Check::new(
        flat.abs() < 0.25 * plain,
        format!(
            "entropy grows by less than a quarter: {flat:.3} nats for each factor e of length, {plain:.3} standard"
        ),
    )])
}

/// The products of random queries and keys, by query.
fn products(rng: &mut Rng, queries: usize, length: usize) -> Vec<Vec<f64>> {
    let mut vector = || (0..SIZE).map(|_| rng.normal()).collect::<Vec<f64>>();
    let keys: Vec<Vec<f64>> = (0..length).map(|_| vector()).collect();
    let against = |q: Vec<f64>| keys.iter().map(|k| k.iter().zip(&q).map(|(a, b)| a * b).sum()).collect();
    (0..queries).map(|_| against(vector())).collect()
}

/// The entropy of `softmax(factor s)` in nats.
fn entropy(factor: f64, scores: &[f64]) -> f64 {
    let max = scores.iter().map(|s| s * factor).fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for s in scores {
        let above = s * factor - max;
        sum += above.exp();
        weighted += above.exp() * above;
    }
    sum.ln() - weighted / sum
}

/// The slope of the line nearest to `y` over the logarithm of `x`.
fn slope(x: &[f64], y: &[f64]) -> f64 {
    let x: Vec<f64> = x.iter().map(|x| x.ln()).collect();
    let (center, level) = (mean(&x), mean(y));
    let above: f64 = x.iter().zip(y).map(|(x, y)| (x - center) * (y - level)).sum();
    above / x.iter().map(|x| (x - center).powi(2)).sum::<f64>()
}

/// A masked language model trained at one length and read at others. At the length of training,
/// `ln n / ln T` is 1, so that one model is trained both ways.
fn trained(setup: &Setup, report: &mut Report) -> Result<Vec<Check>> {
    let length = setup.pick(64, 16);
    let lengths: Vec<usize> = (0..setup.pick(5, 3)).map(|i| length << i).collect();
    // By scale, length and seed.
    let mut right = vec![vec![Vec::new(); lengths.len()]; 2];
    for seed in setup.seeds() {
        let language = Language::new(seed, 26, 24);
        report.progress(&format!("seed {seed}: training at {length} tokens"));
        let model = masked_model(setup, &language, length, seed)?;
        for (i, &read) in lengths.iter().enumerate() {
            let mut rng = Rng::new(seed).fork("held out");
            let texts = language.texts(&mut rng, setup.pick(16 * 1024, 64) / read, read);
            let batches: Vec<Batch> =
                texts.chunks(4).map(|texts| Batch::masked(texts, 0.2, &mut rng)).collect();
            right[0][i].push(100.0 * model.guesses(&batches)?.accuracy);
            let factor = (read as f64).ln() / (length as f64).ln();
            right[1][i].push(100.0 * sharpened(&model, factor)?.guesses(&batches)?.accuracy);
        }
    }
    let names = ["standard".to_owned(), format!("ln n / ln {length}")];
    let columns = ["tokens".to_owned()].into_iter().chain(names.clone());
    let mut table = Table::new("Hidden tokens guessed right, %", columns);
    for (i, &length) in lengths.iter().enumerate() {
        let cell = |kind: usize| Cell::Seeds(right[kind][i].clone(), 1);
        table.row([Cell::Number(length as f64, 0), cell(0), cell(1)]);
    }
    report.table(table);
    let xs: Vec<f64> = lengths.iter().map(|&l| l as f64).collect();
    let series = names.into_iter().zip(&right).map(|(n, right)| Series::of_seeds(n, &xs, right)).collect();
    let (x, y) = (Axis::log("tokens of a text"), Axis::linear("guessed right, %"));
    let title = format!("A masked language model trained at {length} tokens");
    report.plot("accuracy", Plot::Lines(Lines { title, x, y, series }));
    let at = |kind: usize, i: usize| mean(&right[kind][i]);
    let (plain, sharp, last) = (at(0, 2), at(1, 2), lengths.len() - 1);
    Ok(vec![
        Check::new(
            sharp > plain + 2.0,
            format!("at {} tokens over two points better: {sharp:.1} %, standard {plain:.1} %", lengths[2]),
        ),
        Check::new(
            at(1, last) > at(0, last),
            format!(
                "at {} tokens better: {:.1} %, standard {:.1} %",
                lengths[last],
                at(1, last),
                at(0, last)
            ),
        ),
    ])
}

fn masked_model(setup: &Setup, language: &Language, length: usize, seed: u64) -> Result<LanguageModel> {
    let shape = json!({
        "vocab_size": language.vocab_size(), "hidden_size": 96, "layers": 2,
        "init": { "normal": { "deviation": 0.04 } },
        "mixer": { "attention": { "heads": 3, "dropout": 0.0 } },
        "feed_forward": { "dense": { "size": 192 } },
    });
    let model = LanguageModel::new(&config("roformer", &shape)?, seed)?;
    Recipe::new(setup.pick(1500, 3), 2e-3).train(model.params(), seed, |ctx, rng| {
        let texts = language.texts(rng, setup.pick(24, 2), length);
        model.loss(ctx, &Batch::masked(&texts, 0.2, rng))
    })?;
    Ok(model)
}

/// The model with its scores multiplied.
fn sharpened(model: &LanguageModel, factor: f64) -> Result<LanguageModel> {
    let other = model.under(model.encoder().config())?;
    for parameter in other.params().iter().filter(|p| p.name().contains("self.query")) {
        parameter.set(&parameter.value().mul_scalar(factor)?)?;
    }
    Ok(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_by_hand() {
        assert!((entropy(1.0, &[0.5; 8]) - 8f64.ln()).abs() < 1e-12);
        assert!(entropy(1e4, &[0.0, 1.0]) < 1e-12);
        let (p, q): (f64, f64) = (0.25, 0.75);
        assert!((entropy(1.0, &[0.0, 3f64.ln()]) + p * p.ln() + q * q.ln()).abs() < 1e-12);
        assert!((slope(&[1.0, 10.0, 100.0], &[1.0, 2.0, 3.0]) - 1.0 / 10f64.ln()).abs() < 1e-12);
    }
}

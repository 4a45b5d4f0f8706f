//! An ALBERT, pre-trained with one block for all layers, fine-tuned with it and without.
//! Reference:   Su, 2020-01-29 (article 20).

use anyhow::{Result, anyhow};
use bert4rs_nn::block::Linear;
use bert4rs_nn::block::pooling::{Pooling, pool};
use bert4rs_nn::encoder::{Encoder, EncoderConfig, EncoderInput};
use bert4rs_nn::loss::cross_entropy;
use bert4rs_nn::{Builder, Ctx, Init};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor};
use serde_json::json;

use crate::language::{Language, SPACE};
use crate::model::{Batch, LanguageModel, config};
use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Cell, Report, Table, mean};
use crate::train::Recipe;
use crate::{Check, Experiment, Setup, Verdict};

pub const EXPERIMENT: Experiment = Experiment {
    name: "albert_unshared",
    article: 20,
    claim: "An encoder pre-trained with one block for all layers learns a task faster, and at least as well, \
            when each layer gets its own copy of the block for fine-tuning.",
    run,
};

const LAYERS: usize = 4;
const CLASSES: usize = 4;
const NAMES: [&str; 2] = ["shared", "unshared"];

/// A text with one answer, or one for each token; negative where none is asked.
struct Example {
    ids: Vec<usize>,
    answers: Vec<i64>,
}

#[derive(Clone, Copy)]
enum Goal {
    /// In which of the languages the text is.
    Language,
    /// Of each letter how long its word is.
    Length,
}

const GOALS: [(&str, Goal); 2] = [("which language", Goal::Language), ("length of words", Goal::Length)];

fn run(setup: &Setup, report: &mut Report) -> Result<Verdict> {
    let epochs = setup.pick(6, 2);
    // By goal, then sharing, then epoch, then seed.
    let mut scores = vec![vec![vec![Vec::new(); epochs]; 2]; GOALS.len()];
    let (mut drift, mut sizes) = (vec![Vec::new(); LAYERS], [0; 2]);
    for seed in setup.seeds() {
        let languages: Vec<Language> =
            (0..CLASSES as u64).map(|i| Language::new(100 * seed + i, 12, 8)).collect();
        report.progress(&format!("seed {seed}: pre-training with shared layers"));
        let pretrained = pretrained(setup, &languages, seed)?;
        for ((name, goal), scores) in GOALS.iter().zip(&mut scores) {
            for (unshared, scores) in scores.iter_mut().enumerate() {
                report.progress(&format!("seed {seed}: {name}, {}", NAMES[unshared]));
                let done = fine_tuned(setup, &pretrained, unshared == 1, *goal, &languages, seed)?;
                scores.iter_mut().zip(&done.scores).for_each(|(all, one)| all.push(100.0 * one));
                sizes[unshared] = done.size;
                drift.iter_mut().zip(done.drift).for_each(|(all, one)| all.push(one));
            }
        }
    }
    let mut table = Table::new(
        "Right answers, %",
        ["task", "layers", "encoder's parameters", "after the first epoch", "best"],
    );
    let (mut series, mut checks) = (Vec::new(), Vec::new());
    let xs: Vec<f64> = (1..=epochs).map(|e| e as f64).collect();
    for ((task, _), scores) in GOALS.iter().zip(&scores) {
        let mut means = Vec::new();
        for (i, scores) in scores.iter().enumerate() {
            let best = |seed: usize| scores.iter().map(|epoch| epoch[seed]).fold(0.0, f64::max);
            let best: Vec<f64> = (0..setup.seeds).map(best).collect();
            means.push((mean(&scores[0]), mean(&best)));
            let size = Cell::Number(sizes[i] as f64, 0);
            let (first, best) = (Cell::Seeds(scores[0].clone(), 1), Cell::Seeds(best, 1));
            table.row([Cell::text(*task), Cell::text(NAMES[i]), size, first, best]);
            series.push(Series::of_seeds(format!("{task}, {}", NAMES[i]), &xs, scores));
        }
        let ((first, best), (own_first, own_best)) = (means[0], means[1]);
        checks.push(Check::new(
            own_first > first,
            format!("{task}: ahead after the first epoch, {own_first:.1} % and {first:.1} % shared"),
        ));
        checks.push(Check::new(
            own_best > best - 0.5,
            format!("{task}: the best is no worse, {own_best:.1} % and {best:.1} % shared"),
        ));
    }
    report.table(table);
    let mut table = Table::new("How far unshared layers went from their common start", ["layer", "distance"]);
    for (layer, drift) in drift.iter().enumerate() {
        table.row([Cell::Number(layer as f64, 0), Cell::Seeds(drift.clone(), 3)]);
    }
    report.table(table);
    let (x, y) = (Axis::linear("epoch"), Axis::linear("right answers, %"));
    report.plot("scores", Plot::Lines(Lines { title: "Fine-tuning".to_owned(), x, y, series }));
    report.note(
        "Distance: length of the difference over the length of the block's matrices, all tasks together.",
    );
    report.note("Both take the same steps at the same learning rate.");
    Ok(Verdict::of(checks))
}

fn shape(sharing: &str) -> Result<EncoderConfig> {
    let changes = json!({
        "vocab_size": 14, "hidden_size": 64, "layers": LAYERS, "sharing": sharing,
        "init": { "normal": { "deviation": 0.06 } },
        "mixer": { "attention": { "heads": 4, "dropout": 0.0 } },
        "feed_forward": { "dense": { "size": 256 } },
    });
    config("roformer", &changes)
}

fn pretrained(setup: &Setup, languages: &[Language], seed: u64) -> Result<LanguageModel> {
    let model = LanguageModel::new(&shape("all_layers")?, seed)?;
    Recipe::new(setup.pick(800, 2), 2e-3).train(model.params(), seed, |ctx, rng| {
        let one = |rng: &mut Rng| languages[rng.below(languages.len())].text(rng, 48);
        let texts: Vec<Vec<usize>> = (0..setup.pick(24, 2)).map(|_| one(rng)).collect();
        model.loss(ctx, &Batch::masked(&texts, 0.15, rng))
    })?;
    Ok(model)
}

struct Done {
    scores: Vec<f64>,
    /// Of each layer, where layers are unshared.
    drift: Vec<f64>,
    size: usize,
}

fn fine_tuned(
    setup: &Setup,
    start: &LanguageModel,
    unshared: bool,
    goal: Goal,
    languages: &[Language],
    seed: u64,
) -> Result<Done> {
    let (mut params, mut rng) = (Params::new(), Rng::new(seed).fork("head"));
    let config = shape(if unshared { "none" } else { "all_layers" })?;
    let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
    let encoder = Encoder::new(&mut builder, &config)?;
    let classes = match goal {
        Goal::Language => CLASSES,
        Goal::Length => 4,
    };
    let init = Init::Normal { deviation: 0.02 };
    let head = Linear::new(&mut builder.at("head"), config.hidden_size, classes, true, init)?;
    let encoders = || params.iter().filter(|p| !p.name().starts_with("head"));
    for parameter in encoders() {
        parameter.set(&source(start.params(), parameter.name())?)?;
    }
    let scores_of = |ctx: &mut Ctx, examples: &[Example]| -> Result<(Tensor, Vec<i64>)> {
        let ids: Vec<usize> = examples.iter().flat_map(|e| e.ids.iter().copied()).collect();
        let batch = Packed::from_lengths(&examples.iter().map(|e| e.ids.len()).collect::<Vec<_>>());
        let input = EncoderInput { ids: &ids, segments: None, batch: &batch };
        let hidden = encoder.forward(ctx, input, &Mask::Full)?; // [T, D]
        let rows = match goal {
            Goal::Language => pool(&hidden, &batch, Pooling::Mean)?,
            Goal::Length => hidden,
        };
        Ok((head.forward(ctx, &rows)?, examples.iter().flat_map(|e| e.answers.iter().copied()).collect()))
    };
    let examples = |rng: &mut Rng, count: usize| -> Vec<Example> {
        (0..count).map(|_| example(goal, languages, rng)).collect()
    };
    let root = Rng::new(seed).fork("task");
    let batches = setup.pick(24, 2);
    let seen = examples(&mut root.fork("training"), batches * 16);
    let held_out = examples(&mut root.fork("held out"), setup.pick(400, 8));
    let (mut scores, mut step, steps) = (Vec::new(), 0, batches * setup.pick(6, 2));
    let mut order = Vec::new();
    let recipe = Recipe::new(steps, 1e-3);
    recipe.train(&params, seed, |ctx, rng| {
        if step % batches == 0 {
            if step > 0 {
                scores.push(right(scores_of(&mut Ctx::inference(), &held_out)?)?);
            }
            order = rng.permutation(batches);
        }
        let first = order[step % batches] * 16;
        step += 1;
        let (scores, answers) = scores_of(ctx, &seen[first..first + 16])?;
        let asked: Vec<usize> = (0..answers.len()).filter(|&i| answers[i] >= 0).collect();
        let answers: Vec<i64> = asked.iter().map(|&i| answers[i]).collect();
        Ok(cross_entropy(&scores.rows(&asked)?, &answers, 0.0)?)
    })?;
    scores.push(right(scores_of(&mut Ctx::inference(), &held_out)?)?);
    let size = encoders().map(|p| p.value().elements()).sum();
    let drift = if unshared { drift(&params, start.params())? } else { Vec::new() };
    Ok(Done { scores, drift, size })
}

/// The value under the name of a layer, or of the block that all layers share.
fn source(params: &Params, name: &str) -> Result<Tensor> {
    let shared = match name.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.')) {
        Some((_, part)) => format!("encoder.group.0.{part}"),
        None => name.to_owned(),
    };
    Ok(params.get(&shared).ok_or_else(|| anyhow!("no parameter {shared}"))?.value())
}

/// Of each layer, how far its matrices went, over their length at the start.
fn drift(params: &Params, start: &Params) -> Result<Vec<f64>> {
    let of = |layer: usize| -> Result<f64> {
        let (mut way, mut length) = (0.0, 0.0);
        for p in params.iter().filter(|p| p.name().starts_with(&format!("encoder.layer.{layer}."))) {
            let first = source(start, p.name())?;
            if first.rank() == 2 {
                way += p.value().sub(&first)?.square()?.sum_all()?.item()?;
                length += first.square()?.sum_all()?.item()?;
            }
        }
        Ok((way / length).sqrt())
    };
    (0..LAYERS).map(of).collect()
}

fn right((scores, answers): (Tensor, Vec<i64>)) -> Result<f64> {
    let best = scores.argmax(-1)?.to_indices()?;
    let asked = answers.iter().zip(best).filter(|(a, _)| **a >= 0);
    let (right, count) =
        asked.fold((0.0, 0.0), |(r, n), (a, b)| (r + f64::from(u8::from(*a == b as i64)), n + 1.0));
    Ok(right / count)
}

fn example(goal: Goal, languages: &[Language], rng: &mut Rng) -> Example {
    let class = rng.below(languages.len());
    match goal {
        Goal::Language => Example { ids: languages[class].text(rng, 24), answers: vec![class as i64] },
        Goal::Length => {
            let ids = languages[class].text(rng, 48);
            let answers = lengths(&ids);
            Example { ids, answers }
        }
    }
}

/// For each letter of a whole word its length less 3.
fn lengths(ids: &[usize]) -> Vec<i64> {
    let (mut answers, mut start) = (vec![-1; ids.len()], 0);
    for end in (0..ids.len()).filter(|&i| ids[i] == SPACE) {
        answers[start..end].fill((end - start) as i64 - 3);
        start = end + 1;
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_whole_words_are_asked() {
        let ids = [5, 6, 7, SPACE, 5, 6, 7, 5, SPACE, 5];
        assert_eq!(lengths(&ids), [0, 0, 0, -1, 1, 1, 1, 1, -1, -1]);
    }

    #[test]
    fn unshared_layers_begin_as_the_shared_block() {
        let shared = LanguageModel::new(&shape("all_layers").unwrap(), 1).unwrap();
        let batch = Batch::causal(&[vec![5, 6, 7, 8, 9]]);
        let want = shared.hidden(&mut Ctx::inference(), &batch).unwrap().to_f64_vec();
        let unshared = LanguageModel::new(&shape("none").unwrap(), 2).unwrap();
        for p in unshared.params().iter() {
            p.set(&source(shared.params(), p.name()).unwrap()).unwrap();
        }
        assert_eq!(unshared.hidden(&mut Ctx::inference(), &batch).unwrap().to_f64_vec(), want);
        assert_eq!(drift(unshared.params(), shared.params()).unwrap(), [0.0; LAYERS]);
    }
}

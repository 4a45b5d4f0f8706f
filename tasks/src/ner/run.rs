//! A training run, from a configuration to a model folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bert4rs_text::Example;
use bert4rs_train::Watch;

use super::build::build;
use super::encode::{self, Lost, Piece};
use super::objective::NerObjective;
use super::{Evaluation, NerModel, PredictOptions, evaluate};
use crate::config::RunConfig;
use crate::{Error, Result, read_examples, run_folder};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct TrainReport {
    /// The best model.
    pub model: PathBuf,
    /// Its scores on the development texts.
    pub evaluation: Evaluation,
    /// Steps of the optimizer.
    pub steps: u64,
    /// Tokens of training text per second, evaluation left out.
    pub tokens_per_second: f64,
    /// Wall-clock time of the run, resumed parts added up.
    pub seconds: f64,
    /// Gold entities of the training texts that cannot be learned: their border lies inside a token,
    /// they overlap another one (decoders of tags), or are longer than the head or a window allows.
    pub lost_entities: usize,
}

/// Trains, keeps the best model under `output.dir/best` and scores it. With `resume` goes on from
/// the last checkpoint in `output.dir`, if there is one.
pub fn train(config: &RunConfig, resume: bool, watch: &mut dyn Watch) -> Result<TrainReport> {
    let dir = &config.output.dir;
    run_folder::claim(dir, resume)?;
    let train_set = read_examples(&config.data.train)?;
    let dev_set = read_examples(&config.data.dev)?;
    let mut config = config.clone();
    let model = build(&mut config, &train_set)?;
    let (pieces, lost) = pieces(&model, &train_set, &config.data.train)?;
    check_labels(&model, &dev_set, &config.data.dev)?;
    if lost > 0 {
        watch.note(&format!(
            "{lost} of {} entities in {} cannot be learned: they overlap others (tags express none such), \
             begin or end inside a token, or are too long",
            train_set.iter().map(|e| e.entities.len()).sum::<usize>(),
            config.data.train.display()
        ));
    }
    if resume {
        run_folder::compare(dir, &config.to_table()?)?;
    }
    let resolved = config.to_toml()?;
    if !resume {
        run_folder::record(dir, &resolved)?;
    }
    let gold = pieces.iter().map(|piece| format!("{:?}{:?}", piece.ids, piece.gold));
    let data = run_folder::fingerprint(gold.chain(dev_set.iter().map(|example| format!("{example:?}"))));
    let objective = NerObjective { model: &model, dev: &dev_set, data };
    let report = bert4rs_train::train(&objective, &pieces, &config.train, dir, resume, watch)?;
    run_folder::record(dir, &resolved)?; // a resumed run may have become longer
    let best = dir.join("best");
    let evaluation = evaluate(&NerModel::open(&best)?, &dev_set, &PredictOptions::default())?;
    Ok(TrainReport {
        model: best,
        evaluation,
        steps: report.steps,
        tokens_per_second: report.tokens_per_second,
        seconds: report.seconds,
        lost_entities: lost,
    })
}

pub(super) fn labels_of(examples: &[Example]) -> Vec<String> {
    let labels: BTreeSet<&str> =
        examples.iter().flat_map(|e| e.entities.iter().map(|x| x.label.as_str())).collect();
    labels.into_iter().map(str::to_string).collect()
}

/// A label of the development data that training never sees is a slip, and would cost score silently.
fn check_labels(model: &NerModel, examples: &[Example], path: &Path) -> Result<()> {
    for (i, example) in examples.iter().enumerate() {
        if let Some(entity) = example.entities.iter().find(|e| !model.labels().contains(&e.label)) {
            return Err(in_example(path, i, encode::unknown_label(&entity.label, model.labels())));
        }
    }
    Ok(())
}

fn pieces(model: &NerModel, examples: &[Example], path: &Path) -> Result<(Vec<Piece>, usize)> {
    let (mut pieces, mut lost) = (Vec::new(), Lost::default());
    for (i, example) in examples.iter().enumerate() {
        let (some, missing) = encode::pieces(model, example).map_err(|e| in_example(path, i, e))?;
        pieces.extend(some);
        lost.entities += missing.entities;
        lost.too_wide += missing.too_wide;
        lost.widest = lost.widest.max(missing.widest);
    }
    if let (Some(limit), 1..) = (model.head_config.span_limit(), lost.too_wide) {
        return Err(Error::Config(format!(
            "[head]: max_span_width = {limit}, but {} of {} entities in {} are wider; the widest has {} tokens: \
             set max_span_width = {} or leave it out",
            lost.too_wide,
            examples.iter().map(|e| e.entities.len()).sum::<usize>(),
            path.display(),
            lost.widest,
            lost.widest
        )));
    }
    if pieces.is_empty() {
        let message = "no text has a token; is this the right file?";
        return Err(Error::file(path, message));
    }
    Ok((pieces, lost.entities))
}

fn in_example(path: &Path, index: usize, error: Error) -> Error {
    Error::Input(format!("{}: example {}: {error}", path.display(), index + 1))
}

//! A training run, from a configuration to a model folder.

use std::path::PathBuf;

use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_train::Watch;
use rayon::prelude::*;

use super::config::{MatchingConfig, Objective};
use super::data::{self, Pair};
use super::objective::{Item, MatchingObjective};
use super::{Evaluation, MatchingModel, evaluate, read_pairs};
use crate::config::{Goal, RunConfig};
use crate::sentence::{Options, Recipe};
use crate::source::Source;
use crate::{Error, Result, run_folder};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct TrainReport {
    /// The best model.
    pub model: PathBuf,
    /// Its scores on the development pairs.
    pub evaluation: Evaluation,
    /// Steps of the optimizer.
    pub steps: u64,
    /// Tokens of training text per second, evaluation left out.
    pub tokens_per_second: f64,
    /// Wall-clock time of the run, resumed parts added up.
    pub seconds: f64,
}

/// Trains, keeps the best model (by accuracy, or Spearman's correlation of scores) under
/// `output.dir/best` and scores it. With `resume` goes on from the last checkpoint, if there is one.
pub fn train(config: &RunConfig, resume: bool, watch: &mut dyn Watch) -> Result<TrainReport> {
    let dir = &config.output.dir;
    run_folder::claim(dir, resume)?;
    let mut config = config.clone();
    let Goal::Matching { mut task } = config.goal.clone() else {
        return Err(Error::Config("[task]: type is not \"matching\"".into()));
    };
    let path = &config.data.train.clone();
    let (pairs, dev) = (read_pairs(path)?, read_pairs(&config.data.dev)?);
    if task.objective == Objective::Classification && task.labels.is_empty() {
        task.labels = data::classes(&pairs);
    }
    let targets = data::targets(&pairs, &task.labels, path)?;
    data::targets(&dev, &task.labels, &config.data.dev)?;
    let targets = scaled(targets, &task, path, watch)?;
    config.goal = Goal::Matching { task: task.clone() };
    let model = build(&mut config, task, &pairs)?;
    let read = |(pair, &target): (&Pair, &f64)| {
        model.read(&pair.first, &pair.second).map(|pair| Item { pair, target })
    };
    let items = pairs.par_iter().zip(&targets).map(read).collect::<Result<Vec<_>>>()?;
    let cut = items.iter().filter(|item| item.pair.truncated).count();
    if cut > 0 {
        let most = model.task.max_tokens;
        let n = items.len();
        watch.note(&format!(
            "{cut} of {n} pairs have more than {most} tokens: ends are not read (task.max_tokens)"
        ));
    }
    if resume {
        run_folder::compare(dir, &config.to_table()?)?;
    }
    let resolved = config.to_toml()?;
    if !resume {
        run_folder::record(dir, &resolved)?;
    }
    let data = run_folder::fingerprint(pairs.iter().chain(&dev).map(|pair| format!("{pair:?}")));
    let objective = MatchingObjective { model: &model, dev: &dev, dev_path: &config.data.dev, data };
    let report = bert4rs_train::train(&objective, &items, &config.train, dir, resume, watch)?;
    run_folder::record(dir, &resolved)?; // a resumed run may have become longer
    let best = dir.join("best");
    if !best.is_dir() {
        return Err(Error::model(&best, "no evaluation had a score: all scores are equal or not numbers"));
    }
    let opened = MatchingModel::open(&best)?;
    let evaluation = evaluate(&opened, &dev, &config.data.dev, &Options::default())?;
    Ok(TrainReport {
        model: best,
        evaluation,
        steps: report.steps,
        tokens_per_second: report.tokens_per_second,
        seconds: report.seconds,
    })
}

/// Numbers become 0..1; classes stay. Training needs two different ones.
fn scaled(
    targets: Vec<f64>,
    task: &MatchingConfig,
    path: &std::path::Path,
    watch: &mut dyn Watch,
) -> Result<Vec<f64>> {
    let low = targets.iter().copied().fold(f64::INFINITY, f64::min);
    let high = targets.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low == high {
        let message = format!("all {} labels are equal; a loss needs pairs that differ", targets.len());
        return Err(Error::file(path, message));
    }
    match task.objective {
        Objective::Classification => Ok(targets),
        Objective::Regression => {
            if (low, high) != (0.0, 1.0) {
                watch.note(&format!("scores are to become labels: {low} is 0, {high} is 1"));
            }
            Ok(targets.into_iter().map(|t| (t - low) / (high - low)).collect())
        }
    }
}

fn build(config: &mut RunConfig, task: MatchingConfig, pairs: &[Pair]) -> Result<MatchingModel> {
    let texts = pairs.iter().flat_map(|p| [p.first.as_str(), &p.second]);
    // A folder of sentence-transformers may keep its encoder in a folder of its own.
    let source = Source::resolve(config, texts, |folder| Ok(Recipe::read(&folder)?.folder))?;
    let model = MatchingModel::new(task, source.encoder, source.tokenizer, config.train.seed)?;
    if let Some(folder) = &source.folder {
        let missing = ["pooler", "classifier"].map(String::from).to_vec();
        let allow = Allow { missing, ..Allow::default() };
        Checkpoint::open(folder)?.fill(&model.params, &allow)?;
    }
    Ok(model)
}

//! A training run, from a configuration to a folder of sentence-transformers.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bert4rs_text::Encoding;
use bert4rs_train::Watch;
use rayon::prelude::*;

use super::build::build;
use super::check;
use super::config::{Distill, LossKind};
use super::data;
use super::examples::examples;
use super::objective::SimilarityObjective;
use super::score::{Evaluation, evaluate};
use crate::config::{Goal, RunConfig};
use crate::sentence::{Options, SentenceEncoder};
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

/// Trains, keeps the best model by Spearman's correlation under `output.dir/best` and scores it. With
/// `resume` goes on from the last checkpoint in `output.dir`, if there is one.
pub fn train(config: &RunConfig, resume: bool, watch: &mut dyn Watch) -> Result<TrainReport> {
    let dir = &config.output.dir;
    run_folder::claim(dir, resume)?;
    let mut config = config.clone();
    let Goal::Similarity { mut task, loss } = config.goal.clone() else {
        return Err(Error::Config("[task]: type is not \"similarity\"".into()));
    };
    let records = data::records(&config.data.train)?;
    let data = examples(&records, &config.data.train, &task, &loss)?;
    let dev = data::read_pairs(&config.data.dev, task.labels)?;
    check::notes(&records, &dev).iter().for_each(|note| watch.note(note));
    drop(records);
    if dev.iter().all(|p| p.label == dev[0].label) {
        let message = format!("all labels are {}; a score needs pairs that differ", dev[0].label);
        return Err(Error::file(&config.data.dev, message));
    }
    data.notes.iter().for_each(|note| watch.note(note));

    let built = build(&mut config, &mut task, &data.texts, data.classes)?;
    config.goal = Goal::Similarity { task: task.clone(), loss: loss.clone() };
    check_widths(&loss.matryoshka, built.model.width())?;
    if loss.kind == LossKind::Simcse && built.encoder.dropout == 0.0 {
        watch.note("SimCSE without dropout: both views of a text are the same; set encoder.dropout = 0.1");
    }
    let texts = encode(&built.model, &data.texts, watch)?;
    let teacher = match &loss.teacher {
        None => Vec::new(),
        Some(folder) => {
            let teacher = SentenceEncoder::open(folder)?;
            if loss.distill == Distill::Vectors && teacher.width() != built.model.width() {
                return Err(Error::Config(format!(
                    "[loss]: the teacher's vectors have {} numbers, the student's {}; distil similarities: \
                     distill = \"similarities\"",
                    teacher.width(),
                    built.model.width()
                )));
            }
            let views: Vec<&str> = data.texts.iter().map(String::as_str).collect();
            teacher.encode(&views, &Options::default())?.vectors
        }
    };
    if resume {
        run_folder::compare(dir, &config.to_table()?)?;
    }
    let resolved = config.to_toml()?;
    if !resume {
        run_folder::record(dir, &resolved)?;
    }
    let objective = SimilarityObjective {
        data: run_folder::fingerprint(
            (data.texts.iter().cloned())
                .chain(data.items.iter().map(|item| format!("{item:?}")))
                .chain(dev.iter().map(|pair| format!("{pair:?}"))),
        ),
        built: &built,
        task: &task,
        config: &loss,
        texts: &texts,
        teacher: &teacher,
        dev: &dev,
        last: Mutex::new(None),
        unranked: AtomicUsize::new(0),
    };
    let report = bert4rs_train::train(&objective, &data.items, &config.train, dir, resume, watch)?;
    run_folder::record(dir, &resolved)?; // a resumed run may have become longer
    let unranked = objective.unranked.load(Ordering::Relaxed);
    if unranked > 0 {
        watch.note(&format!(
            "{unranked} batches had one label only: CoSENT ranks nothing there, their loss was 0; larger batches \
             (train.batch_tokens) have more to rank"
        ));
    }
    let best = dir.join("best");
    if !best.is_dir() {
        return Err(Error::model(&best, "no evaluation had a score: all cosines are equal or not numbers"));
    }
    let evaluation = evaluate(&SentenceEncoder::open(&best)?, &dev, &Options::default())?;
    Ok(TrainReport {
        model: best,
        evaluation,
        steps: report.steps,
        tokens_per_second: report.tokens_per_second,
        seconds: report.seconds,
    })
}

fn check_widths(widths: &[usize], width: usize) -> Result<()> {
    match widths.iter().find(|w| **w > width) {
        None => Ok(()),
        Some(too_wide) => Err(Error::Config(format!(
            "[loss]: matryoshka has {too_wide}, but the vectors have {width} numbers; give {width} or less"
        ))),
    }
}

/// Texts as the encoder reads them; says how many are cut.
fn encode(model: &SentenceEncoder, texts: &[String], watch: &mut dyn Watch) -> Result<Vec<Encoding>> {
    let read = texts.par_iter().map(|text| model.read(text)).collect::<Result<Vec<_>>>()?;
    let cut = read.iter().filter(|encoding| encoding.truncated).count();
    if cut > 0 {
        watch.note(&format!(
            "{cut} of {} texts have more than {} tokens: their ends are not read (task.max_tokens)",
            texts.len(),
            model.max_tokens().unwrap_or_default()
        ));
    }
    Ok(read)
}

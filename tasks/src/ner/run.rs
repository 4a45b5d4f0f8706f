//! A training run, from a configuration to a model folder.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bert4rs_nn::encoder::{EncoderConfig, huggingface};
use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_text::learn::{self, Limits};
use bert4rs_text::{Example, Rules, Tokenizer};
use bert4rs_train::Watch;
use toml::{Table, Value};

use super::encode;
use super::objective::NerObjective;
use super::{Evaluation, NerModel, PredictOptions, evaluate};
use crate::config::{RunConfig, TokenizerConfig, TokenizerKind};
use crate::{Error, Result, read_examples, settings};

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
    /// Wall-clock time of the run.
    pub seconds: f64,
    /// Gold entities of the training texts that no token span expresses.
    pub lost_entities: usize,
}

/// Trains, keeps the best model under `output.dir/best` and scores it.
pub fn train(config: &RunConfig, resume: bool, watch: &mut dyn Watch) -> Result<TrainReport> {
    let start = std::time::Instant::now();
    let train_set = read_examples(&config.data.train)?;
    let dev_set = read_examples(&config.data.dev)?;
    let mut config = config.clone();
    if config.task.labels.is_empty() {
        config.task.labels = labels_of(&train_set);
    }
    let model = build(&config, &train_set)?;
    let dir = &config.output.dir;
    std::fs::create_dir_all(dir).map_err(|e| Error::file(dir, e))?;
    let resolved = dir.join("config.toml");
    std::fs::write(&resolved, config.to_toml()?).map_err(|e| Error::file(&resolved, e))?;
    let (mut pieces, mut lost) = (Vec::new(), 0);
    for (i, example) in train_set.iter().enumerate() {
        let (some, missing) = encode::pieces(&model, example)
            .map_err(|e| Error::Input(format!("{}: example {}: {e}", config.data.train.display(), i + 1)))?;
        pieces.extend(some);
        lost += missing;
    }
    let objective = NerObjective { model: &model, dev: &dev_set };
    let report = bert4rs_train::train(&objective, &pieces, &config.train, dir, resume, watch)?;
    let best = dir.join("best");
    let evaluation = evaluate(&NerModel::open(&best)?, &dev_set, &PredictOptions::default())?;
    Ok(TrainReport {
        model: best,
        evaluation,
        steps: report.steps,
        tokens_per_second: report.tokens_per_second,
        seconds: start.elapsed().as_secs_f64(),
        lost_entities: lost,
    })
}

fn labels_of(examples: &[Example]) -> Vec<String> {
    let labels: BTreeSet<&str> =
        examples.iter().flat_map(|e| e.entities.iter().map(|x| x.label.as_str())).collect();
    labels.into_iter().map(str::to_string).collect()
}

/// The untrained model a configuration describes: a preset with a learned vocabulary, or a
/// published encoder with its own.
fn build(config: &RunConfig, examples: &[Example]) -> Result<NerModel> {
    let mut fields = config.encoder.clone();
    let (task, head, seed) = (config.task.clone(), config.head.clone(), config.train.seed);
    match (take_text(&mut fields, "preset")?, take_text(&mut fields, "path")?) {
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            let tokenizer = Tokenizer::from_dir(&path)?;
            let encoder = override_fields(&huggingface::read_config(&path)?, &fields)?;
            let special = tokenizer.cls_id().is_some() && tokenizer.sep_id().is_some();
            let model = NerModel::new(task, head, encoder, tokenizer, special, seed)?;
            let allow = Allow { missing: vec!["head".into()], ..Allow::default() };
            Checkpoint::open(&path)?.fill(model.params(), &allow)?;
            Ok(model)
        }
        (Some(name), None) => {
            let mut preset = bert4rs_nn::encoder::preset(&name)?;
            let texts = examples.iter().map(|e| e.text.as_str());
            let tokenizer = learn_tokenizer(&config.tokenizer, texts)?;
            preset.vocab_size = tokenizer.vocab_size();
            preset.embedding.unk_id = tokenizer.unk_id().unwrap_or_default() as usize;
            let encoder = override_fields(&preset, &fields)?;
            NerModel::new(task, head, encoder, tokenizer, false, seed)
        }
        _ => Err(Error::Config(
            "[encoder]: expected either preset = \"..\" (from scratch: lstm, dgcnn, roformer_small, ..) or path = \"..\" \
             (a folder with a published encoder)"
                .into(),
        )),
    }
}

fn learn_tokenizer<'a>(config: &TokenizerConfig, texts: impl Iterator<Item = &'a str>) -> Result<Tokenizer> {
    let limits = Limits {
        min_count: config.min_count,
        max_size: config.vocab_size,
        lower_case: config.lowercase,
        ..Limits::default()
    };
    let (vocab, rules) = match config.kind {
        TokenizerKind::Characters => (learn::characters(texts, &limits)?, Rules::characters()),
        TokenizerKind::Wordpiece => (learn::word_pieces(texts, &limits)?, Rules::bert(config.lowercase)),
    };
    Ok(Tokenizer::from_vocab(vocab, Rules { lower_case: config.lowercase, ..rules })?)
}

fn take_text(fields: &mut Table, key: &str) -> Result<Option<String>> {
    match fields.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::Config(format!("[encoder]: {key} = {other}: expected a text"))),
    }
}

fn override_fields(config: &EncoderConfig, fields: &Table) -> Result<EncoderConfig> {
    let mut table = Table::try_from(config).map_err(|e| Error::Config(format!("[encoder]: {e}")))?;
    settings::merge(&mut table, fields);
    settings::parse(table, "[encoder]")
}

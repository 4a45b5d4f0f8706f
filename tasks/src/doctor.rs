//! What is the matter with a model: a preset, a run's configuration or a folder, looked at by `nn::doctor` with real
//! or random texts.
//!
//! Texts:       the first of the data, up to 512 tokens, cut to 128 each; without data 4 texts of 64 random ids of
//!              the model's vocabulary.  Entropy by length: texts of the data end to end, or random ids
//! Loss:        that of the task, with its dropout, for an entity model and annotated texts; else the probe of
//!              `nn::doctor::gradient`
//! Numerics:    f32; everything else without dropout; the same numbers for the same model and data

mod subject;

use std::path::PathBuf;

use bert4rs_nn::Ctx;
use bert4rs_nn::doctor::{self, Batch, Report, finding, gradient};
use bert4rs_nn::encoder::{Encoder, EncoderConfig};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{Params, Rng};
use bert4rs_text::{Example, Tokenizer};
use bert4rs_train::TrainConfig;
use serde::Serialize;

use crate::ner::{self, NerModel};
use crate::{Error, Result};
pub use bert4rs_nn::doctor::activation::Sum;

/// Tokens of the batch that is looked at, and of one of its texts.
const BATCH_TOKENS: usize = 512;
const TEXT_TOKENS: usize = 128;
/// Texts and tokens of a batch of random ids.
const RANDOM: (usize, usize) = (4, 64);
/// Lengths at which entropy is measured; the model's own limit besides, up to the last.
const LENGTHS: [usize; 4] = [16, 64, 256, 512];

/// The share of the learning rate above which a run's first step has no warm-up.
const FIRST_STEP: f64 = 0.5;

/// A model that is to be looked at.
pub struct Subject {
    name: String,
    kind: SubjectKind,
    /// Without dropout.
    encoder: Encoder,
    params: Params,
    /// Where it lies, if it does.
    folder: Option<PathBuf>,
    mask: Mask,
    task: Option<NerModel>,
    /// Whether weights are as they start.
    new: bool,
    train: Option<TrainConfig>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// An architecture with new weights.
    Preset,
    /// The model that a run would start with.
    Config,
    /// A folder with weights.
    Folder,
}

/// What the model is shown.
pub enum Data {
    /// Random ids.
    Random,
    /// Texts, and what they are called.
    Texts(String, Vec<String>),
    /// Annotated texts, and what they are called.
    Examples(String, Vec<Example>),
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// What was looked at.
    pub model: String,
    /// What its name stands for.
    pub kind: SubjectKind,
    /// Its numbers.
    pub parameters: usize,
    /// What it was shown.
    pub batch: String,
    /// The rest.
    #[serde(flatten)]
    pub report: Report,
}

impl Subject {
    /// Whether it has a task, whose annotated texts give a loss of its own.
    pub fn has_task(&self) -> bool {
        self.task.is_some()
    }

    /// Looks at everything.
    pub fn diagnose(&self, data: &Data) -> Result<Diagnosis> {
        let config = self.encoder.config();
        let limit = self.encoder.max_length();
        let (batch, lengths, shown) = match data {
            Data::Random => {
                let (count, length) = (RANDOM.0, limit.unwrap_or(usize::MAX).min(RANDOM.1));
                let random = |count, length| Batch::random(config, count, length, self.mask.clone(), 0);
                let lengths = lengths(limit).into_iter().map(|length| random(2, length)).collect();
                (random(count, length), lengths, format!("{count} texts of {length} random ids"))
            }
            Data::Texts(name, texts) => self.batches(name, texts.iter().map(String::as_str), limit)?,
            Data::Examples(name, examples) => {
                self.batches(name, examples.iter().map(|example| example.text.as_str()), limit)?
            }
        };
        let gradients = match (&self.task, data) {
            (Some(task), Data::Examples(_, examples)) => Some(task_gradients(task, examples)?),
            (Some(_) | None, _) => None,
        };
        let mut report = doctor::examine(&self.encoder, &self.params, &batch, &lengths, self.new, gradients)?;
        // The first of a thousand steps: with a warm-up, of any schedule, it is a small one.
        let begins_at_once =
            |train: &TrainConfig| train.schedule.factor(0, train.warmup(1000), 1000) > FIRST_STEP;
        if self.train.as_ref().is_some_and(begins_at_once) {
            report.findings.extend(finding::no_warm_up(config, &report));
        }
        let (model, kind) = (self.name.clone(), self.kind);
        Ok(Diagnosis { model, kind, parameters: self.params.elements(), batch: shown, report })
    }

    /// The batch of some texts, one for each length that they fill, and what to call it.
    fn batches<'a>(
        &self,
        name: &str,
        texts: impl Iterator<Item = &'a str>,
        limit: Option<usize>,
    ) -> Result<(Batch, Vec<Batch>, String)> {
        let own; // of a folder without a task of ours
        let tokenizer = match (&self.task, &self.folder) {
            (Some(task), _) => task.tokenizer().0,
            (None, Some(folder)) => {
                own = Tokenizer::from_dir(folder)?;
                &own
            }
            (None, None) => {
                return Err(Error::Input(format!(
                    "{}: a preset has no vocabulary, so that it cannot read {name}; leave --data out, or give a \
                     model folder or a run's configuration",
                    self.name
                )));
            }
        };
        let special = self.task.as_ref().is_none_or(|task| task.tokenizer().1);
        let most = limit.unwrap_or(usize::MAX).min(TEXT_TOKENS);
        let (mut ids, mut tokens, mut all): (Vec<Vec<usize>>, usize, Vec<usize>) =
            (Vec::new(), 0, Vec::new());
        let widen = |ids: &[u32]| ids.iter().map(|&id| id as usize).collect::<Vec<usize>>();
        for text in texts {
            let plain = widen(&tokenizer.encode_plain(text)?.ids);
            if !plain.is_empty() && tokens < BATCH_TOKENS {
                let mut text =
                    if special { widen(&tokenizer.encode(text, Some(most))?.ids) } else { plain.clone() };
                text.truncate(most);
                tokens += text.len();
                ids.push(text);
            }
            all.extend(plain);
            if tokens >= BATCH_TOKENS && all.len() >= 2 * LENGTHS[LENGTHS.len() - 1] {
                break;
            }
        }
        if ids.is_empty() {
            return Err(Error::Input(format!(
                "{name}: has no text with tokens; expected some lines of text"
            )));
        }
        let of_length = |length: usize| {
            let texts: Vec<Vec<usize>> = all.chunks_exact(length).take(2).map(<[usize]>::to_vec).collect();
            (!texts.is_empty()).then(|| Batch::new(&texts, self.mask.clone()))
        };
        let lengths = lengths(limit).into_iter().filter_map(of_length).collect();
        let shown = format!("{} texts of {name}, {tokens} tokens", ids.len());
        Ok((Batch::new(&ids, self.mask.clone()), lengths, shown))
    }
}

/// The lengths that a model can read, its limit the last.
fn lengths(limit: Option<usize>) -> Vec<usize> {
    let last = limit.unwrap_or(usize::MAX).min(LENGTHS[LENGTHS.len() - 1]);
    let mut all: Vec<usize> = LENGTHS.into_iter().filter(|length| *length < last).collect();
    all.push(last);
    all
}

/// Gradients of the task's own loss on its first examples.
fn task_gradients(model: &NerModel, examples: &[Example]) -> Result<gradient::Gradients> {
    let (mut pieces, mut tokens) = (Vec::new(), 0);
    for example in examples {
        let (some, _) = ner::pieces(model, example)?;
        tokens += some.iter().map(|piece| piece.ids.len()).sum::<usize>();
        pieces.extend(some);
        if tokens >= BATCH_TOKENS {
            break;
        }
    }
    let ctx = &mut Ctx::training(Rng::new(0));
    let loss = model.loss(ctx, &pieces.iter().collect::<Vec<_>>())?;
    Ok(gradient::of_loss(model.encoder_config(), model.params(), &loss, "ner")?)
}

/// The config with nothing dropped.
fn without_dropout(config: &EncoderConfig) -> EncoderConfig {
    use bert4rs_nn::encoder::Mixer;
    let mut config = EncoderConfig { dropout: 0.0, ..config.clone() };
    (config.embedding.dropout, config.embedding.token_dropout) = (0.0, 0.0);
    match &mut config.mixer {
        Mixer::Attention(attention) => attention.dropout = 0.0,
        Mixer::GatedAttention { dropout, .. } => *dropout = 0.0,
        Mixer::Lstm { .. }
        | Mixer::Gru { .. }
        | Mixer::DilatedGatedConvolution { .. }
        | Mixer::SpatialGate { .. }
        | Mixer::MlpMixer { .. }
        | Mixer::ResMlp { .. }
        | Mixer::FeedForwardOnly { .. }
        | Mixer::ExternalAttention { .. }
        | Mixer::Fourier
        | Mixer::Synthesizer { .. }
        | Mixer::LightConvolution { .. } => {}
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_end_at_what_the_model_reads() {
        assert_eq!(lengths(None), [16, 64, 256, 512]);
        assert_eq!(lengths(Some(2048)), [16, 64, 256, 512]);
        assert_eq!(lengths(Some(64)), [16, 64]);
        assert_eq!(lengths(Some(100)), [16, 64, 100]);
        assert_eq!(lengths(Some(6)), [6]);
    }
}

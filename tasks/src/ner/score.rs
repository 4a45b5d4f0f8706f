//! The official measure: micro precision, recall and F1 over exact (start, end, label).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Instant;

use bert4rs_text::Example;
use bert4rs_train::metric::EntityScore;
use bert4rs_train::metric::entity::Labelled;

use super::{NerModel, PredictOptions};
use crate::{Error, Result, scheduler};

/// Scores of a model on annotated texts.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// In total and per label.
    pub scores: EntityScore,
    /// Texts that were scored.
    pub texts: usize,
    /// Tokens that were read.
    pub tokens: usize,
    /// Texts whose end was not looked at.
    pub truncated: usize,
    /// Gold entities by labels that the model does not know; they count as missed.
    pub unknown_labels: BTreeMap<String, usize>,
    /// Wall-clock time of prediction.
    pub seconds: f64,
}

impl Evaluation {
    /// The scores with the counts beside them, as `eval --json` prints them.
    pub fn to_json(&self) -> serde_json::Value {
        let mut all = self.scores.to_json();
        all["texts"] = self.texts.into();
        all["tokens"] = self.tokens.into();
        all["truncated"] = self.truncated.into();
        all["unknown_labels"] = serde_json::json!(self.unknown_labels);
        all["seconds"] = self.seconds.into();
        all
    }
}

/// Predicts every text and compares with its annotation. Entities of labels the model does not know
/// count as missed, and are counted beside the scores.
pub fn evaluate(model: &NerModel, examples: &[Example], options: &PredictOptions) -> Result<Evaluation> {
    evaluate_stream(model, examples.iter().map(Ok), options)
}

/// As [`evaluate`], for any number of examples: some thousands are held at a time, then only counts.
pub fn evaluate_stream<E: Borrow<Example>>(
    model: &NerModel,
    examples: impl IntoIterator<Item = Result<E>>,
    options: &PredictOptions,
) -> Result<Evaluation> {
    let mut examples = examples.into_iter();
    let mut evaluation = Evaluation::default();
    loop {
        let chunk = examples.by_ref().take(scheduler::CHUNK).collect::<Result<Vec<E>>>()?;
        if chunk.is_empty() {
            return Ok(evaluation);
        }
        evaluation.add(model, &chunk, options)?;
    }
}

impl Evaluation {
    fn add<E: Borrow<Example>>(
        &mut self,
        model: &NerModel,
        examples: &[E],
        options: &PredictOptions,
    ) -> Result<()> {
        let texts: Vec<&str> = examples.iter().map(|e| e.borrow().text.as_str()).collect();
        let start = Instant::now();
        let answers = model.predict(&texts, options).map_err(|e| match e {
            Error::Text { index, message } => Error::Text { index: self.texts + index, message },
            other => other,
        })?;
        self.seconds += start.elapsed().as_secs_f64();
        for (example, answer) in examples.iter().map(Borrow::borrow).zip(&answers) {
            let gold: Vec<Labelled> =
                example.entities.iter().map(|e| (e.start, e.end, e.label.as_str())).collect();
            let found: Vec<Labelled> =
                answer.entities.iter().map(|e| (e.start, e.end, e.label.as_str())).collect();
            self.scores.add(&gold, &found);
            for entity in example.entities.iter().filter(|e| !model.labels().contains(&e.label)) {
                *self.unknown_labels.entry(entity.label.clone()).or_default() += 1;
            }
            self.tokens += answer.tokens;
            self.truncated += usize::from(answer.truncated);
        }
        self.texts += texts.len();
        Ok(())
    }
}

//! The official measure: micro precision, recall and F1 over exact (start, end, label).

use std::collections::BTreeMap;

use bert4rs_text::Example;
use bert4rs_train::metric::EntityScore;
use bert4rs_train::metric::entity::Labelled;

use super::{NerModel, PredictOptions};
use crate::Result;

/// Scores of a model on annotated texts.
#[derive(Clone, Debug)]
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
    let start = std::time::Instant::now();
    let texts: Vec<&str> = examples.iter().map(|e| e.text.as_str()).collect();
    let answers = model.predict(&texts, options)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut scores = EntityScore::default();
    let mut unknown_labels = BTreeMap::new();
    for entity in examples.iter().flat_map(|e| &e.entities) {
        if !model.labels().contains(&entity.label) {
            *unknown_labels.entry(entity.label.clone()).or_default() += 1;
        }
    }
    for (example, answer) in examples.iter().zip(&answers) {
        let gold: Vec<Labelled> =
            example.entities.iter().map(|e| (e.start, e.end, e.label.as_str())).collect();
        let found: Vec<Labelled> =
            answer.entities.iter().map(|e| (e.start, e.end, e.label.as_str())).collect();
        scores.add(&gold, &found);
    }
    Ok(Evaluation {
        scores,
        texts: texts.len(),
        tokens: answers.iter().map(|a| a.tokens).sum(),
        truncated: answers.iter().filter(|a| a.truncated).count(),
        unknown_labels,
        seconds,
    })
}

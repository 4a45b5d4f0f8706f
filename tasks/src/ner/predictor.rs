//! From texts to entities with exact spans, in parallel.

use bert4rs_nn::head::{ScoredSpan, flat};
use bert4rs_text::span::slice;
use rayon::prelude::*;
use serde::Serialize;

use super::config::OverflowKind;
use super::encode;
use super::model::{Found, NerModel};
use crate::{Error, Result, scheduler};

/// One entity of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entity {
    /// First character.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// Its type.
    pub label: String,
    /// `text[start..end]`
    pub text: String,
    /// How sure, above the threshold; decoders of whole sequences give none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// What was found in one text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Entities by position, then length, then label.
    pub entities: Vec<Entity>,
    /// Tokens that were read.
    pub tokens: usize,
    /// Whether the end of the text was not looked at.
    pub truncated: bool,
}

/// How texts are run.
#[derive(Clone, Debug)]
pub struct PredictOptions {
    /// Tokens that run together.
    pub batch_tokens: usize,
    /// Instead of the model's own rule for texts that are too long.
    pub overflow: Option<OverflowKind>,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self { batch_tokens: scheduler::BATCH_TOKENS, overflow: None }
    }
}

struct Part {
    text: usize,
    window: usize,
    ids: Vec<usize>,
    special: Vec<bool>,
}

impl NerModel {
    /// The entities of every text. Answers do not depend on the other texts, on threads or on
    /// batch sizes. Safe to call from any number of threads.
    pub fn predict(&self, texts: &[&str], options: &PredictOptions) -> Result<Vec<Answer>> {
        let mut config = self.task.clone();
        config.overflow = options.overflow.unwrap_or(config.overflow);
        let room = encode::room(&config, self.special_tokens);
        let read = |(i, text): (usize, &&str)| {
            let named = |e: Error| Error::Text { index: i, message: e.to_string() };
            encode::read(&self.tokenizer, text, &config, room).map_err(named)
        };
        let readings = texts.par_iter().enumerate().map(read).collect::<Result<Vec<_>>>()?;
        let mut parts = Vec::new();
        for (text, reading) in readings.iter().enumerate() {
            for (window, range) in reading.ranges().iter().enumerate() {
                let (ids, special) = encode::with_special(
                    &self.tokenizer,
                    &reading.encoding,
                    range.clone(),
                    self.special_tokens,
                );
                parts.push(Part { text, window, ids, special });
            }
        }
        let lengths: Vec<usize> = parts.iter().map(|p| p.ids.len()).collect();
        let batches = scheduler::batches(&lengths, options.batch_tokens);
        let run = |batch: &[usize]| {
            let pieces: Vec<_> = batch.iter().map(|&i| (&parts[i].ids[..], &parts[i].special[..])).collect();
            self.decode(&pieces)
        };
        let decoded = scheduler::run(&batches, run)?;
        let mut found: Vec<Vec<Vec<Found>>> =
            readings.iter().map(|r| vec![Vec::new(); r.ranges().len()]).collect();
        for (&i, spans) in batches.iter().flatten().zip(decoded.into_iter().flatten()) {
            let first = parts[i].special.iter().position(|s| !s).unwrap_or(0);
            let start = readings[parts[i].text].ranges()[parts[i].window].start;
            found[parts[i].text][parts[i].window] =
                spans.into_iter().map(|f| f.moved(start, first)).collect();
        }
        let answers = texts.iter().zip(&readings).zip(found);
        answers.map(|((text, reading), found)| self.answer(text, reading, found)).collect()
    }

    fn answer(&self, text: &str, reading: &encode::Reading, found: Vec<Vec<Found>>) -> Result<Answer> {
        let mut kept = merge(reading, found);
        if self.head_config.flat && self.head_config.decoder.is_nested() {
            let scored: Vec<ScoredSpan> = kept
                .iter()
                .map(|f| ScoredSpan { span: f.span, score: f.score.unwrap_or_default() })
                .collect();
            kept = flat(&scored).into_iter().map(|s| Found { span: s.span, score: Some(s.score) }).collect();
        }
        let mut entities = Vec::with_capacity(kept.len());
        for f in kept {
            let range = reading.encoding.spans.tokens_to_chars(f.span.start, f.span.end);
            let label = self.task.labels[f.span.kind].clone();
            let surface = slice(text, range.clone()).unwrap_or_default().to_string();
            entities.push(Entity {
                start: range.start,
                end: range.end,
                label,
                text: surface,
                score: f.score,
            });
        }
        entities.sort_by(|a, b| (a.start, a.end, &a.label).cmp(&(b.start, b.end, &b.label)));
        let tokens = reading.ranges().last().map_or(0, |w| w.end);
        Ok(Answer { entities, tokens, truncated: reading.truncated })
    }
}

impl Found {
    /// From tokens of a piece to tokens of the text.
    fn moved(mut self, window_start: usize, first_real: usize) -> Self {
        self.span.start = self.span.start - first_real + window_start;
        self.span.end = self.span.end - first_real + window_start;
        self
    }
}

/// Every span once, from the window in which it lies farthest from a cut.
fn merge(reading: &encode::Reading, found: Vec<Vec<Found>>) -> Vec<Found> {
    let mut kept = Vec::new();
    for (window, spans) in found.into_iter().enumerate() {
        let owned = |f: &Found| reading.windows.owner(&(f.span.start..f.span.end + 1)) == Some(window);
        kept.extend(spans.into_iter().filter(owned));
    }
    kept
}

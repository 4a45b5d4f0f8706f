//! A text becomes pieces the encoder can read; gold entities become token spans.

use std::ops::Range;

use bert4rs_tensor::op::span_score::Span;

use bert4rs_text::{Encoding, Example, Tokenizer, Windows};

use super::NerModel;
use super::config::{NerConfig, OverflowKind};
use crate::{Error, Result};

/// One text as tokens, without special tokens, and how it is cut.
pub(super) struct Reading {
    /// Tokens of the whole text.
    pub(super) encoding: Encoding,
    /// The pieces, in order; they overlap under `overflow = "window"`.
    pub(super) windows: Windows,
    /// Whether the end of the text was left out.
    pub(super) truncated: bool,
}

/// Cuts a text by the overflow rule; `room` is the number of tokens a piece may have beside special
/// tokens. A text without tokens has no pieces.
pub(super) fn read(tokenizer: &Tokenizer, text: &str, config: &NerConfig, room: usize) -> Result<Reading> {
    let encoding = tokenizer.encode_plain(text)?;
    let n = encoding.ids.len();
    let (read, overlap) = match config.overflow {
        OverflowKind::Error if n > room => {
            return Err(Error::Input(format!(
                "the text has {n} tokens, more than the {room} the model takes at once; shorten it, or set \
                 overflow = \"window\" (read in pieces) or \"truncate\" in [task] or with --overflow"
            )));
        }
        OverflowKind::Truncate => (n.min(room), 0),
        OverflowKind::Error | OverflowKind::Window => (n, config.overlap),
    };
    Ok(Reading { windows: Windows::new(read, room, overlap)?, encoding, truncated: read < n })
}

impl Reading {
    /// The pieces that have tokens.
    pub(super) fn ranges(&self) -> &[Range<usize>] {
        let ranges = self.windows.ranges();
        if ranges.iter().all(Range::is_empty) { &[] } else { ranges }
    }
}

/// A piece of text ready for training.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Token ids, special tokens included.
    pub ids: Vec<usize>,
    /// Which tokens are special.
    pub special: Vec<bool>,
    /// Gold entities that lie inside, as spans of its tokens.
    pub gold: Vec<Span>,
}

/// The ids of a window, with the special tokens around them if the model has them, and which of
/// them are special.
pub(super) fn with_special(
    tokenizer: &Tokenizer,
    plain: &Encoding,
    window: Range<usize>,
    special_tokens: bool,
) -> (Vec<usize>, Vec<bool>) {
    let widen = |ids: &[u32]| ids.iter().map(|&id| id as usize).collect();
    if special_tokens {
        let wrapped = tokenizer.wrap(plain, window);
        (widen(&wrapped.ids), wrapped.special)
    } else {
        (widen(&plain.ids[window.clone()]), vec![false; window.len()])
    }
}

/// Entities that training cannot see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// No token span can express them (their border lies inside a token, they lie in no single piece),
    /// or the head has no place for them.
    pub(super) entities: usize,
    /// Those that are wider than `max_span_width`, and the tokens of the widest.
    pub(super) too_wide: usize,
    pub(super) widest: usize,
}

/// The pieces of an annotated text, and which of its entities are lost.
pub(crate) fn pieces(model: &NerModel, example: &Example) -> Result<(Vec<Piece>, Lost)> {
    let (tokenizer, labels, special_tokens) = (&model.tokenizer, model.labels(), model.special_tokens);
    let room = room(&model.task, special_tokens);
    let reading = read(tokenizer, &example.text, &model.task, room)?;
    let mut spans = Vec::with_capacity(example.entities.len());
    let mut lost = Lost::default();
    for entity in &example.entities {
        let kind = labels
            .iter()
            .position(|l| *l == entity.label)
            .ok_or_else(|| unknown_label(&entity.label, labels))?;
        match reading.encoding.spans.chars_to_tokens(entity.start, entity.end) {
            Some((start, end)) => spans.push(Span { kind, start, end }),
            None => lost.entities += 1,
        }
    }
    if !model.head_config.decoder.is_nested() {
        lost.entities += keep_outermost(&mut spans);
    }
    let mut seen = vec![false; spans.len()];
    let mut out = Vec::with_capacity(reading.ranges().len());
    for window in reading.ranges() {
        let (ids, special) = with_special(tokenizer, &reading.encoding, window.clone(), special_tokens);
        let first = special.iter().position(|s| !s).unwrap_or(0);
        let mut gold = Vec::new();
        for (span, seen) in spans.iter().zip(&mut seen) {
            if span.start >= window.start && span.end < window.end {
                let shift = |t: usize| t - window.start + first;
                let span = Span { kind: span.kind, start: shift(span.start), end: shift(span.end) };
                if model.can_learn(&span, ids.len()) {
                    gold.push(span);
                    *seen = true;
                }
            }
        }
        gold.sort_unstable();
        gold.dedup();
        out.push(Piece { ids, special, gold });
    }
    lost.entities += seen.iter().filter(|s| !**s).count();
    let width = |s: &Span| s.end - s.start + 1;
    let limit = model.head_config.span_limit().unwrap_or(usize::MAX);
    for span in spans.iter().filter(|s| width(s) > limit) {
        lost.too_wide += 1;
        lost.widest = lost.widest.max(width(span));
    }
    Ok((out, lost))
}

/// Leaves of overlapping spans the longest, then the first; says how many it drops.
fn keep_outermost(spans: &mut Vec<Span>) -> usize {
    let before = spans.len();
    spans.sort_by_key(|s| (std::cmp::Reverse(s.end - s.start), s.start, s.kind));
    let mut kept: Vec<Span> = Vec::with_capacity(before);
    for span in spans.drain(..) {
        if kept.iter().all(|k| span.end < k.start || span.start > k.end) {
            kept.push(span);
        }
    }
    *spans = kept;
    before - spans.len()
}

/// Tokens of a piece beside special tokens.
pub(super) fn room(config: &NerConfig, special_tokens: bool) -> usize {
    config.max_tokens - if special_tokens { 2 } else { 0 }
}

pub(super) fn unknown_label(label: &str, labels: &[String]) -> Error {
    let hint = match crate::settings::nearest(label, labels.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    Error::Input(format!("label `{label}` is not one of the model's: {}{hint}", labels.join(", ")))
}

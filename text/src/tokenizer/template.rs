//! Template: the special tokens around a text (`[CLS] A [SEP]`) or a pair (`[CLS] A [SEP] B [SEP]`).

use super::{Encoding, Plain};
use crate::TokenSpans;
use std::ops::Range;

/// Where the special tokens go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    single: Vec<Piece>,
    pair: Vec<Piece>,
}

/// One place of a template, with its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Special { id: u32, type_id: u32 },
    First { type_id: u32 },
    Second { type_id: u32 },
}

/// Tokens to put into a template.
pub(super) struct Part<'a> {
    pub(super) ids: &'a [u32],
    pub(super) spans: &'a TokenSpans,
}

impl<'a> From<&'a Plain> for Part<'a> {
    fn from(plain: &'a Plain) -> Self {
        Self { ids: &plain.ids, spans: &plain.spans }
    }
}

impl<'a> From<&Part<'a>> for Part<'a> {
    fn from(part: &Part<'a>) -> Self {
        Self { ids: part.ids, spans: part.spans }
    }
}

impl Template {
    pub(super) fn new(single: Vec<Piece>, pair: Vec<Piece>) -> Self {
        Self { single, pair }
    }

    pub(super) fn bert(cls: u32, sep: u32) -> Self {
        let special = |id, type_id| Piece::Special { id, type_id };
        Self::new(
            vec![special(cls, 0), Piece::First { type_id: 0 }, special(sep, 0)],
            vec![
                special(cls, 0),
                Piece::First { type_id: 0 },
                special(sep, 0),
                Piece::Second { type_id: 1 },
                special(sep, 1),
            ],
        )
    }

    /// Nothing around a text; a pair end to end.
    pub(super) fn bare_text() -> Self {
        let (first, second) = (Piece::First { type_id: 0 }, Piece::Second { type_id: 1 });
        Self::new(vec![first], vec![first, second])
    }

    pub(super) fn single_specials(&self) -> usize {
        specials(&self.single)
    }

    pub(super) fn pair_specials(&self) -> usize {
        specials(&self.pair)
    }

    /// Special tokens before and after the text.
    pub(super) fn single_edges(&self) -> (usize, usize) {
        let before = self.single.iter().take_while(|p| matches!(p, Piece::Special { .. })).count();
        (before, self.single_specials() - before)
    }

    pub(super) fn single<'a>(&self, text: impl Into<Part<'a>>, range: Range<usize>) -> Encoding {
        fill(&self.single, &text.into(), range, None)
    }

    pub(super) fn pair(&self, a: &Plain, of_a: Range<usize>, b: &Plain, of_b: Range<usize>) -> Encoding {
        fill(&self.pair, &a.into(), of_a, Some((&b.into(), of_b)))
    }

    /// The text alone.
    pub(super) fn bare(text: &Plain) -> Encoding {
        fill(&[Piece::First { type_id: 0 }], &text.into(), 0..text.ids.len(), None)
    }
}

fn specials(pieces: &[Piece]) -> usize {
    pieces.iter().filter(|p| matches!(p, Piece::Special { .. })).count()
}

fn fill(pieces: &[Piece], a: &Part, of_a: Range<usize>, second: Option<(&Part, Range<usize>)>) -> Encoding {
    let tokens = pieces.len() + of_a.len() + second.as_ref().map_or(0, |(_, of_b)| of_b.len());
    let mut out = Encoding {
        ids: Vec::with_capacity(tokens),
        type_ids: Vec::with_capacity(tokens),
        special: Vec::with_capacity(tokens),
        second_spans: second.is_some().then(TokenSpans::default),
        ..Encoding::default()
    };
    let mut push = |ids: &[u32], type_id, spans: Spans, second_spans: Spans, special| {
        out.ids.extend_from_slice(ids);
        out.type_ids.resize(out.ids.len(), type_id);
        out.special.resize(out.ids.len(), special);
        spans.append_to(&mut out.spans, ids.len());
        if let Some(spans) = &mut out.second_spans {
            second_spans.append_to(spans, ids.len());
        }
    };
    for &piece in pieces {
        match piece {
            Piece::Special { id, type_id } => push(&[id], type_id, Spans(None), Spans(None), true),
            Piece::First { type_id } => {
                let spans = Spans(Some((a.spans, of_a.start)));
                push(&a.ids[of_a.clone()], type_id, spans, Spans(None), false);
            }
            Piece::Second { type_id } => {
                let Some((b, of_b)) = &second else { continue };
                let spans = Spans(Some((b.spans, of_b.start)));
                push(&b.ids[of_b.clone()], type_id, Spans(None), spans, false);
            }
        }
    }
    out
}

/// Spans of a run of tokens: those from a token on, or none.
struct Spans<'a>(Option<(&'a TokenSpans, usize)>);

impl Spans<'_> {
    fn append_to(self, out: &mut TokenSpans, count: usize) {
        match self.0 {
            Some((spans, from)) => (from..from + count).for_each(|token| out.push(spans.get(token))),
            None => (0..count).for_each(|_| out.push(None)),
        }
    }
}

//! One tag per token: spans as begin, inside and outside tags, words as segments.
//! Definition:  BIO: 0 = O, 2c + 1 = B-c, 2c + 2 = I-c;  SBME: 0 = single, 1 = begin, 2 = middle, 3 = end
//! Shapes:      `tags [L]` of one sequence; spans have both ends inclusive, in tokens
//! Reference:   Ramshaw and Marcus, 1995.              Vectors: memm-crf.json

use std::ops::Range;

use super::{ScoredSpan, Span};
use crate::{Error, Result};

/// The number of BIO tags of so many span types.
pub fn bio_tags(types: usize) -> usize {
    2 * types + 1
}

/// What an inside tag needs before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanRule {
    /// I-c continues only B-c or I-c; any other I is ignored.
    #[default]
    Strict,
    /// Any I continues the open span, whose type is that of its B (bert4keras).
    Loose,
}

/// BIO tags of a sequence of `length` tokens. Overlapping spans are an error: one tag per token
/// cannot say them.
pub fn spans_to_tags(spans: &[Span], types: usize, length: usize) -> Result<Vec<usize>> {
    let mut tags = vec![0; length];
    let mut owner: Vec<Option<&Span>> = vec![None; length];
    for span in spans {
        if span.kind >= types || span.start > span.end || span.end >= length {
            return Err(Error::Input(format!(
                "{span:?} does not fit {types} types and {length} tokens; ends are inclusive"
            )));
        }
        for t in span.start..=span.end {
            if let Some(other) = owner[t].replace(span) {
                return Err(Error::Input(format!(
                    "{other:?} and {span:?} overlap, which one tag per token cannot say; use a span head, \
                     or keep one of them"
                )));
            }
            tags[t] = 2 * span.kind + 1 + usize::from(t > span.start);
        }
    }
    Ok(tags)
}

/// The spans of BIO tags, in order.
pub fn tags_to_spans(tags: &[usize], rule: SpanRule) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open: Option<Span> = None;
    for (t, &tag) in tags.iter().enumerate() {
        let kind = tag.wrapping_sub(1) / 2;
        open = match (tag, open.take()) {
            (0, done) => {
                spans.extend(done);
                None
            }
            (_, done) if tag % 2 == 1 => {
                spans.extend(done);
                Some(Span { kind, start: t, end: t })
            }
            (_, Some(span)) if rule == SpanRule::Loose || span.kind == kind => Some(Span { end: t, ..span }),
            (_, done) => {
                spans.extend(done);
                None
            }
        };
    }
    spans.extend(open);
    spans
}

/// As [`tags_to_spans`], with the mean over the tokens of a span of a score per token (the
/// marginal of its tag, say) as the span's score.
pub fn tags_to_scored_spans(tags: &[usize], scores: &[f64], rule: SpanRule) -> Result<Vec<ScoredSpan>> {
    if tags.len() != scores.len() {
        return Err(Error::Input(format!("{} scores for {} tags", scores.len(), tags.len())));
    }
    let mean = |s: &Span| scores[s.start..=s.end].iter().sum::<f64>() / (s.end - s.start + 1) as f64;
    Ok(tags_to_spans(tags, rule).into_iter().map(|span| ScoredSpan { score: mean(&span), span }).collect())
}

/// Which tags may begin, follow each other and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraints {
    /// Row-major `[C, C]`, from the previous tag to the next.
    pub between: Vec<bool>,
    /// `[C]`, of the first tag.
    pub start: Vec<bool>,
    /// `[C]`, of the last tag.
    pub end: Vec<bool>,
}

impl Constraints {
    /// The first place where a sequence breaks them, and why.
    pub fn violation(&self, tags: &[usize]) -> Option<(usize, String)> {
        let (&first, &last) = (tags.first()?, tags.last()?);
        let count = self.start.len();
        if let Some(t) = tags.iter().position(|&tag| tag >= count) {
            return Some((t, format!("tag {} of {count} tags", tags[t])));
        }
        if !self.start[first] {
            return Some((0, format!("tag {first} may not come first")));
        }
        let breaks = |w: &[usize]| !self.between[w[0] * count + w[1]];
        if let Some(t) = tags.windows(2).position(breaks) {
            return Some((t + 1, format!("tag {} may not follow tag {}", tags[t + 1], tags[t])));
        }
        (!self.end[last]).then(|| (tags.len() - 1, format!("tag {last} may not come last")))
    }

    fn of(count: usize, between: impl Fn(usize, usize) -> bool) -> Self {
        let pairs = (0..count * count).map(|i| between(i / count, i % count)).collect();
        Self { between: pairs, start: vec![true; count], end: vec![true; count] }
    }
}

/// I-c follows only B-c or I-c, and no sequence begins with I.
pub fn bio_constraints(types: usize) -> Constraints {
    let inside = |tag: usize| tag > 0 && tag.is_multiple_of(2);
    let count = bio_tags(types);
    let mut all =
        Constraints::of(count, |from, to| !inside(to) || (from > 0 && (from - 1) / 2 == (to - 1) / 2));
    (0..count).for_each(|tag| all.start[tag] = !inside(tag));
    all
}

/// SBME tags of words given by their lengths in tokens; an empty word has none.
pub fn words_to_tags(lengths: &[usize]) -> Vec<usize> {
    let word = |&n: &usize| match n {
        0 => vec![],
        1 => vec![0],
        n => [vec![1], vec![2; n - 2], vec![3]].concat(),
    };
    lengths.iter().flat_map(word).collect()
}

/// The words of SBME tags: every single and every begin starts one.
pub fn tags_to_words(tags: &[usize]) -> Vec<Range<usize>> {
    let starts: Vec<usize> = (0..tags.len()).filter(|&t| t == 0 || tags[t] < 2).collect();
    let ends = starts.iter().skip(1).copied().chain([tags.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Legal orders of SBME tags.
pub fn word_constraints() -> Constraints {
    let opens = |tag: usize| tag == 1 || tag == 2;
    let mut all = Constraints::of(4, |from, to| opens(from) == (to >= 2));
    all.start = vec![true, true, false, false];
    all.end = vec![true, false, false, true];
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: usize, start: usize, end: usize) -> Span {
        Span { kind, start, end }
    }

    #[test]
    fn spans_and_tags_are_inverse() {
        let spans = [span(1, 0, 0), span(0, 1, 3), span(0, 4, 4)];
        let tags = spans_to_tags(&spans, 2, 6).unwrap();
        assert_eq!(tags, [3, 1, 2, 2, 1, 0]);
        for rule in [SpanRule::Strict, SpanRule::Loose] {
            assert_eq!(tags_to_spans(&tags, rule), spans);
        }
        assert_eq!(bio_constraints(2).violation(&tags), None);
        assert_eq!(tags_to_spans(&[], SpanRule::Strict), []);
    }

    #[test]
    fn a_span_that_tags_cannot_say_is_an_error() {
        let nested = spans_to_tags(&[span(0, 0, 2), span(1, 1, 1)], 2, 4).unwrap_err().to_string();
        assert!(nested.contains("overlap"), "{nested}");
        for wrong in [span(2, 0, 0), span(0, 2, 1), span(0, 1, 4)] {
            assert!(spans_to_tags(&[wrong], 2, 4).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn constraints_say_where_tags_break_them() {
        let bio = bio_constraints(2);
        assert_eq!(bio.violation(&[2, 2]), Some((0, "tag 2 may not come first".into())));
        assert_eq!(bio.violation(&[0, 1, 4]), Some((2, "tag 4 may not follow tag 1".into())));
        assert_eq!(word_constraints().violation(&[0, 1]), Some((1, "tag 1 may not come last".into())));
        assert_eq!(bio.violation(&[0, 5]), Some((1, "tag 5 of 5 tags".into())));
        assert_eq!(bio.violation(&[]), None);
    }

    #[test]
    fn the_score_of_a_span_is_the_mean_of_its_tokens() {
        let scored = tags_to_scored_spans(&[0, 1, 2], &[0.1, 0.5, 1.0], SpanRule::Strict).unwrap();
        assert!(tags_to_scored_spans(&[0, 1], &[0.1], SpanRule::Strict).is_err());
        assert_eq!(scored, [ScoredSpan { span: span(0, 1, 2), score: 0.75 }]);
    }

    #[test]
    fn words_and_tags_are_inverse() {
        let tags = words_to_tags(&[1, 2, 0, 4]);
        assert_eq!(tags, [0, 1, 3, 1, 2, 2, 3]);
        assert_eq!(tags_to_words(&tags), [0..1, 1..3, 3..7]);
        assert_eq!(word_constraints().violation(&tags), None);
        assert_eq!(tags_to_words(&[3, 1]), [0..1, 1..2]);
        assert!(tags_to_words(&[]).is_empty());
    }
}

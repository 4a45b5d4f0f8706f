//! Tags of tokens: IOB1, BIO (IOB2) and BIOES, and the spans they say.
//!
//! Definition:  BIO: B- begins, I- continues. IOB1: I- begins too, B- only between neighbours of one
//!              label. BIOES: E- ends, S- is a whole entity (BMES and BILOU write M, L, U)

use std::ops::Range;

/// How tags mark entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Every entity begins with B-.
    Bio,
    /// Every entity begins with B- and ends with E-, or is one S- token.
    Bioes,
    /// An entity begins with I-, and with B- only directly after one of the same label. Reading with
    /// this scheme also accepts BIO.
    Iob1,
}

/// A tag: its prefix as one of `B I E S` and its label; `None` for `O`.
pub(super) type Tag<'a> = Option<(char, &'a str)>;

/// What is wrong, and where: a token of the sentence or a line of the file.
pub(super) type Misplaced = (usize, String);

/// Takes a tag apart.
pub(super) fn parse(tag: &str) -> Result<Tag<'_>, String> {
    if tag == "O" {
        return Ok(None);
    }
    let expected = "expected O, or B-LABEL, I-LABEL, E-LABEL, S-LABEL";
    let (prefix, label) =
        tag.split_once('-').ok_or_else(|| format!("tag {tag:?} has no label; {expected}"))?;
    if label.is_empty() {
        return Err(format!("tag {tag:?} has no label; {expected}"));
    }
    match prefix {
        "B" => Ok(Some(('B', label))),
        "I" | "M" => Ok(Some(('I', label))),
        "E" | "L" => Ok(Some(('E', label))),
        "S" | "U" => Ok(Some(('S', label))),
        _ => Err(format!("tag {tag:?} begins with {prefix:?}; {expected}")),
    }
}

/// What a file's tags look like, gathered to tell the scheme.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Line of the first E- or S- tag.
    bioes: Option<usize>,
    /// Line of the first I- that begins an entity.
    leading_i: Option<usize>,
    /// Line of the first B- that is not directly after an entity of its label.
    leading_b: Option<usize>,
}

impl Evidence {
    /// Takes in the tag on line `line`; `before` is the tag of the token before in the sentence.
    pub(super) fn add(&mut self, before: Tag, tag: Tag, line: usize) {
        let after_same = |label| before.is_some_and(|(_, l)| l == label);
        match tag {
            Some(('E' | 'S', _)) => self.bioes = self.bioes.or(Some(line)),
            Some(('I', label)) if !after_same(label) => self.leading_i = self.leading_i.or(Some(line)),
            Some(('B', label)) if !after_same(label) => self.leading_b = self.leading_b.or(Some(line)),
            Some(_) | None => {}
        }
    }

    /// The scheme, or the line that does not fit and why.
    pub(super) fn scheme(&self) -> Result<Scheme, Misplaced> {
        match (self.bioes, self.leading_i, self.leading_b) {
            (Some(_), ..) => Ok(Scheme::Bioes),
            (None, Some(_), None) => Ok(Scheme::Iob1),
            (None, None, _) => Ok(Scheme::Bio),
            (None, Some(i), Some(b)) => Err((
                i,
                format!(
                    "an entity begins with I- here and with B- on line {b}, so this is neither BIO nor IOB1; correct the tag, or choose scheme IOB1 to let both begin an entity"
                ),
            )),
        }
    }
}

/// Entities of a sentence as ranges of tokens with labels, or the token that breaks the scheme.
pub(super) fn spans<'a>(tags: &[Tag<'a>], scheme: Scheme) -> Result<Vec<(Range<usize>, &'a str)>, Misplaced> {
    let mut spans: Vec<(Range<usize>, &str)> = Vec::new();
    let mut open = false; // the last span still continues
    for (at, tag) in tags.iter().enumerate() {
        let Some((prefix, label)) = *tag else {
            close(open, scheme, at)?;
            open = false;
            continue;
        };
        let continues = open && spans.last().is_some_and(|(_, l)| *l == label);
        match (prefix, scheme) {
            ('E' | 'S', Scheme::Bio | Scheme::Iob1) => {
                return Err((at, format!("{prefix}-{label} belongs to BIOES; choose that scheme")));
            }
            ('I' | 'E', _) if continues => {
                if let Some((span, _)) = spans.last_mut() {
                    span.end = at + 1;
                }
                open = prefix == 'I';
            }
            ('I' | 'E', Scheme::Bio | Scheme::Bioes) => {
                return Err((
                    at,
                    format!("{prefix}-{label} continues no {label}; expected B-{label} before it"),
                ));
            }
            _ => {
                close(open, scheme, at)?;
                spans.push((at..at + 1, label));
                open = prefix != 'S';
            }
        }
    }
    close(open, scheme, tags.len())?;
    Ok(spans)
}

/// In BIOES an entity may not stop without E-.
fn close(open: bool, scheme: Scheme, at: usize) -> Result<(), Misplaced> {
    match scheme {
        Scheme::Bioes if open => {
            Err((at - 1, "the entity stops here without E- or S-; expected E- on its last token".into()))
        }
        Scheme::Bioes | Scheme::Bio | Scheme::Iob1 => Ok(()),
    }
}

/// Tags of `tokens` tokens with these entities, which do not overlap.
pub(super) fn tags(tokens: usize, spans: &[(Range<usize>, &str)], scheme: Scheme) -> Vec<String> {
    let mut tags = vec!["O".to_string(); tokens];
    let mut before: Option<(usize, &str)> = None;
    for (span, label) in spans {
        for at in span.clone() {
            let (first, last) = (at == span.start, at + 1 == span.end);
            let prefix = match scheme {
                Scheme::Bio if first => 'B',
                Scheme::Iob1 if first && before == Some((at, label)) => 'B',
                Scheme::Bioes if first && last => 'S',
                Scheme::Bioes if first => 'B',
                Scheme::Bioes if last => 'E',
                Scheme::Bio | Scheme::Iob1 | Scheme::Bioes => 'I',
            };
            tags[at] = format!("{prefix}-{label}");
        }
        before = Some((span.end, label));
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tags: &str, scheme: Scheme) -> Result<Vec<(Range<usize>, String)>, Misplaced> {
        let tags: Vec<Tag> = tags.split(' ').map(|t| parse(t).expect("valid tag")).collect();
        spans(&tags, scheme).map(|s| s.into_iter().map(|(r, l)| (r, l.to_string())).collect())
    }

    fn detect(tags: &str) -> Result<Scheme, Misplaced> {
        let mut evidence = Evidence::default();
        let mut before = None;
        for (i, tag) in tags.split(' ').enumerate() {
            let tag = parse(tag).expect("valid tag");
            evidence.add(before, tag, i + 1);
            before = tag;
        }
        evidence.scheme()
    }

    #[test]
    fn each_scheme_says_the_same_entities() {
        let same = vec![(0..2, "X".to_string()), (2..3, "X".into()), (4..5, "Y".into())];
        assert_eq!(read("B-X I-X B-X O B-Y", Scheme::Bio), Ok(same.clone()));
        assert_eq!(read("I-X I-X B-X O I-Y", Scheme::Iob1), Ok(same.clone()));
        assert_eq!(read("B-X E-X S-X O S-Y", Scheme::Bioes), Ok(same.clone()));
        assert_eq!(read("B-X L-X U-X O U-Y", Scheme::Bioes), Ok(same.clone()));
        for scheme in [Scheme::Bio, Scheme::Iob1, Scheme::Bioes] {
            let borrowed: Vec<(Range<usize>, &str)> =
                same.iter().map(|(r, l)| (r.clone(), l.as_str())).collect();
            assert_eq!(read(&tags(5, &borrowed, scheme).join(" "), scheme), Ok(same.clone()));
        }
    }

    #[test]
    fn the_scheme_is_told_from_the_tags() {
        assert_eq!(detect("B-X I-X O B-Y"), Ok(Scheme::Bio));
        assert_eq!(detect("I-X I-X B-X O"), Ok(Scheme::Iob1));
        assert_eq!(detect("B-X E-X O"), Ok(Scheme::Bioes));
        assert_eq!(detect("O O"), Ok(Scheme::Bio));
        assert_eq!(detect("B-X O I-X").map_err(|e| e.0), Err(3));
    }

    #[test]
    fn tags_against_the_scheme_are_refused() {
        assert_eq!(read("O I-X", Scheme::Bio).map_err(|e| e.0), Err(1));
        assert_eq!(read("B-X I-Y", Scheme::Bio).map_err(|e| e.0), Err(1));
        assert_eq!(read("B-X O", Scheme::Bioes).map_err(|e| e.0), Err(0));
        assert_eq!(read("B-X E-Y", Scheme::Bioes).map_err(|e| e.0), Err(1));
        assert_eq!(read("S-X", Scheme::Bio).map_err(|e| e.0), Err(0));
        for tag in ["B", "B-", "X-Y", "", "o"] {
            assert!(parse(tag).is_err(), "{tag:?}");
        }
    }
}

//! Sentences in columns: CSV and TSV.

use super::{FIRST, LABEL, NEGATIVE, SECOND, Sentences, label, text};

/// Which column is what.
pub(super) struct Columns {
    separator: char,
    count: Count,
    first: usize,
    second: usize,
    negative: Option<usize>,
    label: Option<usize>,
    lines: usize,
}

/// How many columns a line has.
enum Count {
    Exactly(usize),
    /// STS-B's lines end with optional sources.
    AtLeast(usize),
}

type Result<T> = std::result::Result<T, String>;

impl Columns {
    /// The columns by the first line, and whether that line is a header.
    pub(super) fn of(line: &str, separator: char) -> Result<(Self, bool)> {
        let cells = split(line, separator)?;
        let at = |names: &[&str]| {
            cells.iter().position(|cell| names.contains(&cell.trim().to_lowercase().as_str()))
        };
        let of = |count, first, second, negative, label| Self {
            separator,
            count,
            first,
            second,
            negative,
            label,
            lines: 0,
        };
        if let (Some(first), Some(second)) = (at(&FIRST), at(&SECOND)) {
            let count = Count::Exactly(cells.len());
            return Ok((of(count, first, second, at(&NEGATIVE), at(&LABEL)), true));
        }
        match (separator, cells.len()) {
            ('\t', 2) => Ok((of(Count::Exactly(2), 0, 1, None, None), false)),
            ('\t', 3) => Ok((of(Count::Exactly(3), 0, 1, None, Some(2)), false)),
            ('\t', 7..) if cells[4].trim().parse::<f64>().is_ok() => {
                Ok((of(Count::AtLeast(7), 5, 6, None, Some(4)), false))
            }
            (_, n) => Err(format!(
                "{n} columns, and no header that tells them apart; expected a header with names such as \
                 text1, text2, label"
            )),
        }
    }

    /// Whether only the header has been read.
    pub(super) fn is_unread(&self) -> bool {
        self.lines == 0
    }

    pub(super) fn parse(&mut self, line: &str) -> Result<Sentences> {
        self.lines += 1;
        let cells = split(line, self.separator)?;
        match self.count {
            Count::Exactly(n) if cells.len() != n => {
                return Err(format!("{} columns, expected {n} as in the first line", cells.len()));
            }
            Count::AtLeast(n) if cells.len() < n => {
                return Err(format!("{} columns, expected at least {n} as in the first line", cells.len()));
            }
            Count::Exactly(_) | Count::AtLeast(_) => {}
        }
        let first = text(&cells[self.first], "the first text")?;
        let second = text(&cells[self.second], "the second text")?;
        if let Some(negative) = self.negative {
            let negatives = vec![text(&cells[negative], "the negative")?];
            return Ok(Sentences::Query { query: first, positives: vec![second], negatives });
        }
        let label = self.label.map(|at| label(&cells[at])).transpose()?;
        Ok(Sentences::Pair { first, second, label })
    }
}

/// Cells of a line. In CSV a cell may be quoted, `""` is a quote in it; TSV knows no quotes.
fn split(line: &str, separator: char) -> Result<Vec<String>> {
    if separator == '\t' {
        return Ok(line.split('\t').map(String::from).collect());
    }
    let mut cells = vec![String::new()];
    let mut rest = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        let fresh = cells.last().is_some_and(String::is_empty);
        match (c, quoted) {
            ('"', true) if rest.peek() == Some(&'"') => {
                rest.next();
                push(&mut cells, '"');
            }
            ('"', true) => quoted = false,
            ('"', false) if fresh => quoted = true,
            (c, false) if c == separator => cells.push(String::new()),
            (c, _) => push(&mut cells, c),
        }
    }
    if quoted {
        return Err("a quote is not closed on its line; texts with line breaks need JSON Lines".into());
    }
    Ok(cells)
}

fn push(cells: &mut [String], c: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(c);
    }
}

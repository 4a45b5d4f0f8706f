//! Added tokens: names such as `[MASK]` that are cut out of a text before anything else.
//!
//! Definition:  from left to right, at each place the longest name that begins there
//! Cost:        O(n), one comparison of bytes where no name can begin

use std::ops::Range;

/// Bytes looked at together; the compiler makes vectors of them.
const CHUNK: usize = 64;

/// Names to cut out, longest first.
pub(super) struct Added {
    names: Vec<Name>,
    /// First bytes of the names.
    firsts: Vec<u8>,
}

struct Name {
    name: String,
    id: u32,
    chars: usize,
}

/// An added token in a text.
pub(super) struct Found {
    pub(super) bytes: Range<usize>,
    pub(super) id: u32,
    pub(super) chars: usize,
}

impl Added {
    /// Empty names are never found.
    pub(super) fn new(names: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut names: Vec<Name> = names
            .into_iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, id)| Name { chars: name.chars().count(), name, id })
            .collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.name.len()));
        let mut firsts: Vec<u8> = names.iter().filter_map(|name| name.name.bytes().next()).collect();
        firsts.sort_unstable();
        firsts.dedup();
        Self { names, firsts }
    }

    /// The first added token from byte `from` on.
    pub(super) fn next(&self, text: &str, from: usize) -> Option<Found> {
        let bytes = text.as_bytes();
        let mut chunk = from;
        while chunk < bytes.len() {
            let end = (chunk + CHUNK).min(bytes.len());
            let here = &bytes[chunk..end];
            if self.firsts.iter().any(|first| here.iter().fold(false, |any, byte| any | (byte == first)))
                && let Some(found) = (chunk..end).find_map(|at| self.at(bytes, at))
            {
                return Some(found);
            }
            chunk = end;
        }
        None
    }

    fn at(&self, bytes: &[u8], at: usize) -> Option<Found> {
        let name = self.names.iter().find(|name| bytes[at..].starts_with(name.name.as_bytes()))?;
        Some(Found { bytes: at..at + name.name.len(), id: name.id, chars: name.chars })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], text: &str) -> Vec<(Range<usize>, u32)> {
        let added = Added::new(names.iter().zip(0..).map(|(name, id)| (name.to_string(), id)));
        let (mut at, mut all) = (0, Vec::new());
        while let Some(found) = added.next(text, at) {
            at = found.bytes.end;
            all.push((found.bytes, found.id));
        }
        all
    }

    #[test]
    fn the_leftmost_and_then_the_longest_name_wins() {
        assert_eq!(found(&["[A]", "[A]b", "b"], "b[A]bx[A][A"), [(0..1, 2), (1..5, 1), (6..9, 0)]);
        assert_eq!(found(&["中"], "a中b"), [(1..4, 0)]);
        assert_eq!(found(&[], "[A]"), []);
        assert_eq!(found(&[""], "a"), []);
    }

    #[test]
    fn names_are_found_across_chunks() {
        for before in CHUNK - 4..CHUNK + 2 {
            let text = format!("{}[MASK]", "[".repeat(before));
            assert_eq!(found(&["[MASK]"], &text), [(before..before + 6, 0)]);
        }
    }
}

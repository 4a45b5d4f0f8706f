//! A set of row numbers, one bit each: what a filter lets through, what was deleted.

/// A set of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl Bits {
    /// The rows that are given.
    pub fn of(rows: impl IntoIterator<Item = u32>) -> Self {
        let mut bits = Self::default();
        rows.into_iter().for_each(|row| {
            bits.insert(row);
        });
        bits
    }

    /// Adds a row; whether it is new.
    pub fn insert(&mut self, row: u32) -> bool {
        let (word, bit) = (row as usize / 64, 1u64 << (row % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(new);
        new
    }

    /// Whether a row is in it.
    pub fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Which rows a search may give.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed<'a> {
    /// Only these; none = all.
    pub only: Option<&'a Bits>,
    /// Not these.
    pub without: Option<&'a Bits>,
}

impl Allowed<'_> {
    /// Whether a row may be given.
    pub fn contains(&self, row: u32) -> bool {
        self.only.is_none_or(|only| only.contains(row))
            && !self.without.is_some_and(|gone| gone.contains(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_or_out() {
        let bits = Bits::of([3, 200, 3]);
        assert_eq!(
            (bits.len(), bits.contains(3), bits.contains(200), bits.contains(4)),
            (2, true, true, false)
        );
        assert!(!bits.contains(1_000_000) && Bits::default().is_empty());
        let allowed = Allowed { only: Some(&bits), without: Some(&Bits::of([3])) };
        assert!(!allowed.contains(3) && allowed.contains(200) && !allowed.contains(5));
        assert!(Allowed::default().contains(7));
    }
}

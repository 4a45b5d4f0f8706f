//! Trie: the longest token of a vocabulary that begins a string.
//!
//! Layout:  a double array over UTF-8 bytes. The child of a node over byte b is cell `base ^ b`, and
//!          is one if that cell is labelled b; bases are unique, so a label alone tells the parent.
//!          A cell is 8 bytes, and a step reads one.
//! Cost:    O(length of the match); a vocabulary of 30,000 tokens takes about 1 MB

/// Cells by number; a block of 256 holds all children of a base in it.
const BLOCK: usize = 256;

/// Bits of a base beside the label; larger vocabularies have no trie.
const LARGEST: usize = 1 << 22;

/// Label of a cell in use, over its byte.
const USED: u32 = 0x100;

/// No token ends here.
const NONE: u32 = u32::MAX;

/// Blocks at the end of the array that are searched for room; more makes it denser and building slower.
const SEARCHED: usize = 16;

/// A set of byte strings with an id each.
pub(in crate::tokenizer) struct Trie {
    cells: Vec<Cell>,
    root: Root,
}

/// Where a search begins.
#[derive(Clone, Copy)]
pub(in crate::tokenizer) struct Root(u32);

#[derive(Clone, Copy)]
struct Cell {
    /// Base of the children << 10 | label.
    link: u32,
    id: u32,
}

const FREE: Cell = Cell { link: 0, id: NONE };

impl Cell {
    fn label(self) -> u32 {
        self.link & 0x3ff
    }

    fn base(self) -> u32 {
        self.link >> 10
    }
}

impl Trie {
    /// `None` when the tokens do not fit, or an id is the largest number there is.
    pub(in crate::tokenizer) fn new(
        tokens: impl IntoIterator<Item = (impl AsRef<[u8]>, u32)>,
    ) -> Option<Self> {
        let mut tokens: Vec<_> = tokens.into_iter().collect();
        tokens.sort_unstable_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let tokens: Vec<(&[u8], u32)> = tokens.iter().map(|(t, id)| (t.as_ref(), *id)).collect();
        if tokens.iter().any(|&(_, id)| id == NONE) {
            return None;
        }
        let mut array = Array::default();
        let root = array.fill(&tokens);
        (array.cells.len() <= LARGEST).then_some(Self { cells: array.cells, root: Root(root) })
    }

    /// Where a search for a whole token begins.
    pub(super) fn root(&self) -> Root {
        self.root
    }

    /// Where a search for what follows `prefix` in a token begins; `None` when no token has it.
    pub(super) fn after(&self, prefix: &str) -> Option<Root> {
        prefix.bytes().try_fold(self.root, |root, byte| self.step(root, byte).map(|(root, _)| root))
    }

    /// The longest token that begins the bytes: its length from `root` on, and its id.
    #[inline]
    pub(super) fn longest(&self, root: Root, bytes: impl Iterator<Item = u8>) -> Option<(usize, u32)> {
        let (mut at, mut found) = (root, None);
        for (depth, byte) in bytes.enumerate() {
            let Some((next, id)) = self.step(at, byte) else { break };
            if id != NONE {
                found = Some((depth + 1, id));
            }
            at = next;
        }
        found
    }

    /// Every token that begins the bytes, shorter ones first: its length and its id.
    pub(in crate::tokenizer) fn each(
        &self,
        bytes: impl Iterator<Item = u8>,
        mut found: impl FnMut(usize, u32),
    ) {
        let mut at = self.root;
        for (depth, byte) in bytes.enumerate() {
            let Some((next, id)) = self.step(at, byte) else { return };
            if id != NONE {
                found(depth + 1, id);
            }
            at = next;
        }
    }

    #[inline]
    fn step(&self, at: Root, byte: u8) -> Option<(Root, u32)> {
        let cell = *self.cells.get((at.0 ^ u32::from(byte)) as usize)?;
        (cell.label() == USED | u32::from(byte)).then_some((Root(cell.base()), cell.id))
    }
}

/// Tokens in the order of their bytes, with their ids.
type Sorted<'a> = &'a [(&'a [u8], u32)];

/// The double array while it is built.
#[derive(Default)]
struct Array {
    cells: Vec<Cell>,
    /// A bit for each cell, set while no node has it: most are taken, and are skipped 64 at a time.
    free: Vec<u64>,
    /// Bases that some node has.
    taken: Vec<bool>,
}

impl Array {
    /// Places all tokens (sorted) and gives the base of the root.
    fn fill(&mut self, tokens: Sorted) -> u32 {
        let mut labels = Vec::new();
        // Nodes whose children are still to be placed: own cell, tokens below it, depth.
        let mut open: Vec<(Option<usize>, Sorted, usize)> = vec![(None, tokens, 0)];
        let (mut root, mut leaves) = (None, Vec::new());
        while let Some((cell, below, depth)) = open.pop() {
            // A token that ends here is the first of those below.
            let ends = below.iter().take_while(|(token, _)| token.len() == depth).count();
            if let (Some(cell), Some(&(_, id))) = (cell, below[..ends].first()) {
                self.cells[cell].id = id;
            }
            let below = &below[ends..];
            labels.clear();
            labels.extend(below.iter().map(|(token, _)| token[depth]));
            labels.dedup();
            if labels.is_empty() {
                leaves.extend(cell);
                continue;
            }
            let base = self.place(&labels);
            match cell {
                Some(cell) => self.cells[cell].link |= base << 10,
                None => root = Some(base),
            }
            open.extend(
                below
                    .chunk_by(|a, b| a.0[depth] == b.0[depth])
                    .map(|group| (Some((base ^ u32::from(group[0].0[depth])) as usize), group, depth + 1)),
            );
        }
        // Nodes without children share an empty block.
        let nowhere = self.cells.len() as u32;
        self.grow();
        leaves.into_iter().for_each(|cell| self.cells[cell].link |= nowhere << 10);
        root.unwrap_or(nowhere)
    }

    /// Takes a base whose cells for all labels are free, and labels them.
    fn place(&mut self, labels: &[u8]) -> u32 {
        let base = self.room(labels).unwrap_or_else(|| {
            let base = self.cells.len(); // of a new block, so all its cells are free
            self.grow();
            base
        });
        self.taken[base] = true;
        for &label in labels {
            let cell = base ^ usize::from(label);
            self.cells[cell].link = USED | u32::from(label);
            self.free[cell / 64] &= !(1 << (cell % 64));
        }
        base as u32
    }

    fn room(&self, labels: &[u8]) -> Option<usize> {
        let first = usize::from(*labels.first()?);
        let words = self.free.len().saturating_sub(SEARCHED * BLOCK / 64)..self.free.len();
        for word in words {
            let mut free = self.free[word];
            while free != 0 {
                let base = (word * 64 + free.trailing_zeros() as usize) ^ first;
                let fits = |&label: &u8| self.cells[base ^ usize::from(label)].link == 0;
                if !self.taken[base] && labels[1..].iter().all(fits) {
                    return Some(base);
                }
                free &= free - 1;
            }
        }
        None
    }

    fn grow(&mut self) {
        self.cells.resize(self.cells.len() + BLOCK, FREE);
        self.free.resize(self.cells.len() / 64, u64::MAX);
        self.taken.resize(self.cells.len(), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest(trie: &Trie, root: Root, text: &str) -> Option<(usize, u32)> {
        trie.longest(root, text.bytes())
    }

    #[test]
    fn the_longest_token_is_found() {
        let trie = Trie::new([("un", 3), ("u", 1), ("unable", 7), ("中国", 5), ("##a", 2), ("\0", 9)])
            .expect("few tokens");
        let root = trie.root();
        assert_eq!(longest(&trie, root, "unaffable"), Some((2, 3)));
        assert_eq!(longest(&trie, root, "unable"), Some((6, 7)));
        assert_eq!(longest(&trie, root, "中国"), Some((6, 5)));
        assert_eq!(longest(&trie, root, "中"), None);
        assert_eq!(longest(&trie, root, "\0\0"), Some((1, 9)));
        assert_eq!(longest(&trie, root, ""), None);
        let inside = trie.after("##").expect("one token has it");
        assert_eq!(longest(&trie, inside, "ab"), Some((1, 2)));
        assert!(trie.after("%%").is_none());
    }

    #[test]
    fn a_trie_may_be_empty_or_hold_the_empty_token() {
        assert_eq!(longest(&Trie::new([("", 1)]).expect("one token"), Root(0), "a"), None);
        let nothing: [(&str, u32); 0] = [];
        let trie = Trie::new(nothing).expect("no tokens");
        assert_eq!(longest(&trie, trie.root(), "a"), None);
        assert!(Trie::new([("a", u32::MAX)]).is_none());
    }

    #[test]
    fn all_tokens_that_begin_the_bytes_are_found() {
        let trie = Trie::new([("a", 1), ("abc", 2), ("b", 3)]).expect("few tokens");
        let mut found = Vec::new();
        trie.each(b"abcd".iter().copied(), |length, id| found.push((length, id)));
        assert_eq!(found, [(1, 1), (3, 2)]);
    }

    #[test]
    fn many_tokens_equal_a_search_through_a_list() {
        // All strings over three letters up to length 5, every third of them a token.
        let mut strings = vec![String::new()];
        for at in 0..364 {
            let longer: Vec<String> = ["a", "é", "z"].iter().map(|c| strings[at].clone() + c).collect();
            strings.extend(longer);
        }
        let tokens: Vec<(&str, u32)> =
            strings.iter().step_by(3).enumerate().map(|(id, t)| (t.as_str(), id as u32)).collect();
        let trie = Trie::new(tokens.iter().copied()).expect("fits");
        for text in &strings {
            let best =
                tokens.iter().filter(|(t, _)| !t.is_empty() && text.starts_with(t)).max_by_key(|t| t.0.len());
            assert_eq!(longest(&trie, trie.root(), text), best.map(|(t, id)| (t.len(), *id)), "{text}");
        }
    }
}

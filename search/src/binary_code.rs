//! Codes of ones and zeros, and how alike two of them are.

/// A code; bit `i` in bit `i % 64` of word `i / 64`, as [`crate::codes::to_bits`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryCode {
    bits: usize,
    words: Vec<u64>,
}

impl BinaryCode {
    /// All zeros.
    pub fn zeros(bits: usize) -> Self {
        Self { bits, words: vec![0; bits.div_ceil(64)] }
    }

    /// Ones at the `k` largest activations; of equal ones the first.
    pub fn winners(activations: &[f32], k: usize) -> Self {
        let mut order: Vec<usize> = (0..activations.len()).collect();
        order.sort_by(|&i, &j| activations[j].total_cmp(&activations[i]).then(i.cmp(&j)));
        let mut code = Self::zeros(activations.len());
        order.into_iter().take(k).for_each(|i| code.set(i));
        code
    }

    /// Makes bit `i` a one.
    ///
    /// # Panics
    /// When there is no such bit.
    pub fn set(&mut self, i: usize) {
        assert!(i < self.bits, "bit {i} of {}", self.bits);
        self.words[i / 64] |= 1 << (i % 64);
    }

    /// Bit `i`; none behind the end.
    pub fn get(&self, i: usize) -> bool {
        self.words.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    /// How many bits.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// How many ones.
    pub fn ones(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Its words, for searches among many codes.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many bits differ.
    pub fn hamming(&self, other: &Self) -> usize {
        self.count(other, |a, b| a ^ b)
    }

    /// Common ones of all ones; 1 for two codes without ones.
    pub fn jaccard(&self, other: &Self) -> f64 {
        match self.count(other, |a, b| a | b) {
            0 => 1.0,
            all => self.overlap(other) as f64 / all as f64,
        }
    }

    /// How many ones they share.
    pub fn overlap(&self, other: &Self) -> usize {
        self.count(other, |a, b| a & b)
    }

    fn count(&self, other: &Self, join: fn(u64, u64) -> u64) -> usize {
        self.words.iter().zip(&other.words).map(|(&a, &b)| join(a, b).count_ones() as usize).sum()
    }
}

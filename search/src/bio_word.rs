//! BioWord: sparse binary codes of words, learned from windows of raw text by one matrix and a local rule.
//!
//! Definition:  a window of w tokens is v in {0, 1}^2V: v_t of its context, v_(V+t) of its centre; s = v / n
//!              with n the counts of the corpus. The winner k = argmax <W_k, v> (counts do not matter to it)
//!              moves by D_k += s - <W_k, s> W_k, and W += lr / max |D| D after a batch. Its energy is
//!              - sum <W_k, s> / |W_k|. A word's code has ones at the k largest of column V + word; in a
//!              context at the k largest of W v
//! Shapes:      W [2V, K], kept by columns of the paper's [K, 2V]; windows are lists of at most w indices
//! Numerics:    f32; sums over a window in the order of its indices; of equal activations the first wins
//! Cost:        O(w K) a window and O(V K) a batch
//! Reference:   Can a Fruit Fly Learn Word Embeddings?, ICLR 2021; rows start as windows of the corpus, since
//!              random ones of other lengths hardly learn.               Vectors: bioword-biohash.json

use rayon::prelude::*;

use crate::binary_code::BinaryCode;
use crate::bio_hash::{normal, uniform};
use crate::{Error, Result};

/// How words learn.
#[derive(Clone, Debug, PartialEq)]
pub struct BioWordConfig {
    /// Tokens of a window, odd.
    pub window: usize,
    /// Neurons, the bits of a code.
    pub neurons: usize,
    /// Passes over the windows.
    pub epochs: usize,
    /// Windows of one step.
    pub batch: usize,
    /// The most a number changes in a step of the first epoch; it falls to 0 by a line.
    pub lr: f32,
    /// Whether a context word that stands twice counts once.
    pub binary_context: bool,
    /// Of the start and the order of windows.
    pub seed: u64,
}

impl Default for BioWordConfig {
    fn default() -> Self {
        Self { window: 11, neurons: 400, epochs: 12, batch: 2000, lr: 0.02, binary_context: true, seed: 0 }
    }
}

/// Learned words.
#[derive(Clone, Debug, PartialEq)]
pub struct BioWord {
    vocabulary: usize,
    neurons: usize,
    window: usize,
    binary_context: bool,
    /// `[2V, K]`
    weights: Vec<f32>,
    /// How often each word stands in the corpus.
    counts: Vec<f32>,
}

/// Where a window looks: its context words, and V + its centre; sorted.
pub fn bag(window: &[u32], vocabulary: usize, binary_context: bool) -> Vec<u32> {
    let centre = window.len() / 2;
    let context = window.iter().enumerate().filter(|(i, _)| *i != centre).map(|(_, token)| *token);
    let mut bag: Vec<u32> = context.collect();
    bag.sort_unstable();
    if binary_context {
        bag.dedup();
    }
    bag.extend(window.get(centre).map(|token| vocabulary as u32 + token));
    bag
}

impl BioWord {
    /// Learns from sentences of token numbers below `vocabulary`. Sentences shorter than the window have none.
    pub fn train(sentences: &[Vec<u32>], vocabulary: usize, config: &BioWordConfig) -> Result<Self> {
        if config.window.is_multiple_of(2) {
            return Err(Error::Input(format!("window {}: expected an odd number, as 11", config.window)));
        }
        let mut counts = vec![0.0; vocabulary];
        for token in sentences.iter().flatten() {
            *counts
                .get_mut(*token as usize)
                .ok_or_else(|| Error::Input(format!("token {token} of a vocabulary of {vocabulary}")))? +=
                1.0;
        }
        let windows = sentences.iter().flat_map(|sentence| sentence.windows(config.window));
        let mut bags: Vec<Vec<u32>> = windows.map(|w| bag(w, vocabulary, config.binary_context)).collect();
        if bags.is_empty() || config.neurons == 0 {
            return Err(Error::Input(format!(
                "{} windows of {} tokens for {} neurons; expected longer sentences, or a smaller window",
                bags.len(),
                config.window,
                config.neurons
            )));
        }
        let mut words = Self {
            vocabulary,
            neurons: config.neurons,
            window: config.window,
            binary_context: config.binary_context,
            weights: vec![0.0; 2 * vocabulary * config.neurons],
            counts,
        };
        (0..config.neurons).for_each(|k| words.start(k, &bags, config.seed));
        for epoch in 0..config.epochs {
            let lr = config.lr * (1.0 - epoch as f32 / config.epochs as f32);
            shuffle(&mut bags, config.seed.wrapping_add(1 + epoch as u64));
            let mut won = vec![false; config.neurons];
            for batch in bags.chunks(config.batch.max(1)) {
                words.step(batch, lr).into_iter().for_each(|k| won[k] = true);
            }
            // A neuron that wins nothing never moves again.
            for k in (0..config.neurons).filter(|&k| !won[k] && epoch + 1 < config.epochs) {
                words.start(k, &bags, config.seed.wrapping_add((1 + epoch as u64) << 32));
            }
        }
        Ok(words)
    }

    /// With weights `[2V, K]` and counts `[V]` that are there.
    pub fn with_weights(weights: Vec<f32>, counts: Vec<f32>, config: &BioWordConfig) -> Result<Self> {
        let (vocabulary, neurons) = (counts.len(), config.neurons);
        if weights.len() != 2 * vocabulary * neurons || weights.is_empty() {
            return Err(Error::Input(format!(
                "{} weights; expected {} for {vocabulary} words and {neurons} neurons",
                weights.len(),
                2 * vocabulary * neurons
            )));
        }
        let (window, binary_context) = (config.window, config.binary_context);
        Ok(Self { vocabulary, neurons, window, binary_context, weights, counts })
    }

    /// The weights `[2V, K]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Neuron `k` begins as a window of the corpus and a little noise.
    fn start(&mut self, k: usize, bags: &[Vec<u32>], seed: u64) {
        let at = (uniform(seed, k as u64) * bags.len() as f32) as usize;
        let bag = &bags[at.min(bags.len() - 1)];
        let length = bag.iter().map(|&i| self.share(i).powi(2)).sum::<f32>().sqrt().max(1e-30);
        for i in 0..2 * self.vocabulary {
            self.weights[i * self.neurons + k] = 1e-3 * normal(!seed, (i * self.neurons + k) as u64);
        }
        for &i in bag {
            self.weights[i as usize * self.neurons + k] += self.share(i) / length;
        }
    }

    /// 1 / count of the word of an index.
    fn share(&self, index: u32) -> f32 {
        let count = self.counts[index as usize % self.vocabulary];
        if count > 0.0 { 1.0 / count } else { 0.0 }
    }

    /// `W v`
    fn activations(&self, bag: &[u32]) -> Vec<f32> {
        let mut sums = vec![0.0; self.neurons];
        for &i in bag {
            let row = &self.weights[i as usize * self.neurons..][..self.neurons];
            sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += w);
        }
        sums
    }

    /// The winner of a window, and `<W_k, s>`.
    fn winner(&self, bag: &[u32]) -> (usize, f32) {
        let sums = self.activations(bag);
        let best = (0..sums.len()).fold(0, |best, k| if sums[k] > sums[best] { k } else { best });
        let scaled = bag.iter().map(|&i| self.weights[i as usize * self.neurons + best] * self.share(i));
        (best, scaled.sum())
    }

    /// One update from some windows; gives their winners.
    pub fn step(&mut self, bags: &[Vec<u32>], lr: f32) -> Vec<usize> {
        let won: Vec<(usize, f32)> = bags.par_iter().map(|bag| self.winner(bag)).collect();
        let mut decay = vec![0.0f32; self.neurons];
        let mut change = vec![0.0f32; self.weights.len()];
        for (bag, (k, act)) in bags.iter().zip(&won) {
            decay[*k] += act;
            for &i in bag {
                change[i as usize * self.neurons + k] += self.share(i);
            }
        }
        for (d, w) in change.chunks_exact_mut(self.neurons).zip(self.weights.chunks_exact(self.neurons)) {
            d.iter_mut().zip(w).zip(&decay).for_each(|((d, w), decay)| *d -= decay * w);
        }
        let largest = change.iter().fold(1e-30f32, |most, d| most.max(d.abs()));
        self.weights.iter_mut().zip(&change).for_each(|(w, d)| *w += lr / largest * d);
        won.into_iter().map(|(k, _)| k).collect()
    }

    /// What training lowers, over some windows.
    pub fn energy(&self, bags: &[Vec<u32>]) -> f64 {
        let mut squares = vec![0.0f64; self.neurons];
        for row in self.weights.chunks_exact(self.neurons) {
            squares.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(*w) * f64::from(*w));
        }
        let one = |bag: &Vec<u32>| {
            let (k, act) = self.winner(bag);
            -f64::from(act) / squares[k].sqrt().max(1e-30)
        };
        bags.iter().map(one).sum()
    }

    /// The code of a word by itself, with `k` ones; none for a word that the corpus does not have.
    pub fn static_code(&self, word: u32, k: usize) -> Option<BinaryCode> {
        self.counts.get(word as usize).filter(|count| **count > 0.0)?;
        Some(BinaryCode::winners(&self.activations(&[self.vocabulary as u32 + word]), k))
    }

    /// The code of the centre of a window, with `k` ones.
    pub fn context_code(&self, window: &[u32], k: usize) -> Result<BinaryCode> {
        if window.len() != self.window || window.iter().any(|token| *token as usize >= self.vocabulary) {
            return Err(Error::Input(format!(
                "a window of {} tokens; expected {} below {}",
                window.len(),
                self.window,
                self.vocabulary
            )));
        }
        Ok(BinaryCode::winners(&self.activations(&bag(window, self.vocabulary, self.binary_context)), k))
    }

    /// The `count` words whose codes share most with a word's, with that share (Jaccard).
    pub fn neighbours(&self, word: u32, k: usize, count: usize) -> Vec<(u32, f64)> {
        let Some(code) = self.static_code(word, k) else { return Vec::new() };
        let others = (0..self.vocabulary as u32).into_par_iter().filter(|other| *other != word);
        let mut found: Vec<(u32, f64)> =
            others.filter_map(|other| Some((other, code.jaccard(&self.static_code(other, k)?)))).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(count);
        found
    }
}

/// Fisher and Yates, by a seed.
fn shuffle<T>(items: &mut [T], seed: u64) {
    for i in (1..items.len()).rev() {
        items.swap(i, ((uniform(seed, i as u64) * (i + 1) as f32) as usize).min(i));
    }
}

#[cfg(test)]
mod tests;

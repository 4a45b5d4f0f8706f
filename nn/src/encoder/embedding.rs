//! From ids to the first hidden states.
//! Definition:  norm(scale word[id] + position[i] + segment[s] + pairs), then dropout and projection
//! Shapes:      ids [T] -> [T, D]

use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::prepared::WeightPrecision;

use super::config::EncoderConfig;
use super::model::EncoderInput;
use super::parts::{DropoutMask, Position};
use super::weight_init::Role;
use crate::block::position::sinusoids;
use crate::block::{Embedding, Linear, Norm, dropout};
use crate::encoder;
use crate::{Builder, Ctx, Error, Init, Result};

pub(crate) struct TokenEmbedding {
    pub(crate) word: Embedding,
    position: Option<(Embedding, usize)>,
    sinusoidal: bool,
    segment: Option<Embedding>,
    bigram: Option<(Embedding, usize)>,
    scale: f64,
    norm: Norm,
    projection: Option<Linear>,
    vocab_size: usize,
    segments: usize,
    token_dropout: f64,
    unk_id: usize,
    dropout: f64,
    dropout_mask: DropoutMask,
}

impl TokenEmbedding {
    pub(crate) fn new(builder: &mut Builder, config: &EncoderConfig) -> Result<Self> {
        Self::with_words(builder, config, None)
    }

    /// With the table of tokens of another model, where there is one.
    pub(crate) fn with_words(
        builder: &mut Builder,
        config: &EncoderConfig,
        words: Option<&Embedding>,
    ) -> Result<Self> {
        let (width, table_init) = (config.embedding_size(), config.init.table(config.layers));
        let mut at = builder.at("embeddings");
        let mut table = |name, rows, init| Embedding::new(&mut at.at(name), rows, width, init);
        let word = match words {
            None => table("word_embeddings", config.vocab_size, table_init)?,
            Some(words) => words.clone(),
        };
        let position = match config.position {
            Position::Learned { max_positions, first } => {
                Some((table("position_embeddings", max_positions, table_init)?, first))
            }
            Position::None
            | Position::Rotary { .. }
            | Position::Sinusoidal
            | Position::RelativeKeys { .. }
            | Position::Buckets { .. }
            | Position::Disentangled { .. }
            | Position::Alibi => None,
        };
        let segments = config.embedding.segments;
        let segment = match segments {
            0 => None,
            _ => Some(table("token_type_embeddings", segments, table_init)?),
        };
        let bigram = match config.embedding.bigram_buckets {
            None => None,
            // From 0: a pair that training never saw then adds nothing.
            Some(buckets) => Some((table("bigram_embeddings", buckets, Init::Zeros)?, buckets)),
        };
        let norm = if config.embedding.norm { config.norm } else { encoder::Norm::None };
        let norm = Norm::new(&mut at.at("LayerNorm"), width, norm, config.bias)?;
        let projection = if config.projects_embedding() {
            let mut at = builder.at("embeddings_project");
            Some(Linear::new(&mut at, width, config.hidden_size, config.bias, config.init_of(Role::Other))?)
        } else {
            None
        };
        Ok(Self {
            word,
            position,
            sinusoidal: config.position == Position::Sinusoidal,
            segment,
            bigram,
            scale: config.embedding.scale,
            norm,
            projection,
            vocab_size: config.vocab_size,
            segments,
            token_dropout: config.embedding.token_dropout,
            unk_id: config.embedding.unk_id,
            dropout: config.embedding.dropout,
            dropout_mask: config.dropout_mask,
        })
    }

    /// Arranges the weights of the projection for inference.
    pub(crate) fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.projection.as_mut().map_or(Ok(()), |projection| projection.prepare(precision))
    }

    pub(crate) fn forward(&self, ctx: &mut Ctx, input: &EncoderInput) -> Result<Tensor> {
        let ids = self.some_unknown(ctx, input.ids);
        let mut x = self.word.forward(ctx, &ids)?; // [T, D]
        if self.scale != 1.0 {
            x = x.mul_scalar(self.scale)?;
        }
        if let Some((table, first)) = &self.position {
            let rows: Vec<usize> = input.batch.positions().iter().map(|i| i + first).collect();
            x = x.add(&table.forward(ctx, &rows)?)?;
        }
        if self.sinusoidal {
            let width = x.shape().last().copied().unwrap_or(0);
            x = x.add(&sinusoids(&input.batch.positions(), width, x.dtype())?)?;
        }
        match (&self.segment, input.segments) {
            (Some(table), Some(segments)) => x = x.add(&table.forward(ctx, segments)?)?,
            (Some(table), None) => x = x.add(&table.forward(ctx, &[0])?)?, // [1, D], the same everywhere
            (None, _) => {}
        }
        if let Some((table, buckets)) = &self.bigram {
            let (left, right) = self.pairs(&ids, input, *buckets);
            x = x.add(&table.forward(ctx, &left)?)?.add(&table.forward(ctx, &right)?)?;
        }
        x = self.norm.forward(ctx, &x)?;
        if let Some(seed) = ctx.seed(self.dropout) {
            x = dropout(&x, self.dropout, seed, self.dropout_mask, input.batch)?;
        }
        match &self.projection {
            None => Ok(x),
            Some(projection) => projection.forward(ctx, &x),
        }
    }

    /// The ids, in training some of them replaced by `unk_id`.
    fn some_unknown(&self, ctx: &mut Ctx, ids: &[usize]) -> Vec<usize> {
        let mut ids = ids.to_vec();
        if let Some(rng) = ctx.rng().filter(|_| self.token_dropout > 0.0) {
            for id in &mut ids {
                if rng.uniform() < self.token_dropout {
                    *id = self.unk_id;
                }
            }
        }
        ids
    }

    /// Rows of the pairs (previous, id) and (id, next); beyond the ends of a text stands an id of its own.
    fn pairs(&self, ids: &[usize], input: &EncoderInput, buckets: usize) -> (Vec<usize>, Vec<usize>) {
        let (mut left, mut right) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for b in 0..input.batch.sequences() {
            let text = &ids[input.batch.range(b)];
            for (i, &id) in text.iter().enumerate() {
                let outside = self.vocab_size;
                let previous = if i == 0 { outside } else { text[i - 1] };
                let next = text.get(i + 1).copied().unwrap_or(outside);
                left.push(bucket(0, previous, id, buckets));
                right.push(bucket(1, id, next, buckets));
            }
        }
        (left, right)
    }

    /// Errors that name the token at fault.
    pub(crate) fn check(&self, input: &EncoderInput, limits: Vec<(usize, &str)>) -> Result<()> {
        let (batch, tokens) = (input.batch, input.batch.tokens());
        let fail = |message: String| Err(Error::Input(format!("encoder: {message}")));
        if input.ids.len() != tokens {
            return fail(format!("{} ids for {tokens} packed tokens", input.ids.len()));
        }
        let place = |token: usize| {
            let text = batch.sequence_of_tokens()[token];
            format!("token {} of text {text}", token - batch.offsets()[text])
        };
        if let Some(at) = input.ids.iter().position(|id| *id >= self.vocab_size) {
            return fail(format!(
                "{} has id {}, the vocabulary has {} ids; encode with the vocabulary of this model",
                place(at),
                input.ids[at],
                self.vocab_size
            ));
        }
        if let (Some(segments), true) = (input.segments, self.segment.is_some()) {
            if segments.len() != tokens {
                return fail(format!("{} segments for {tokens} packed tokens", segments.len()));
            }
            if let Some(at) = segments.iter().position(|s| *s >= self.segments) {
                return fail(format!(
                    "{} has segment {}, the model has {} segments",
                    place(at),
                    segments[at],
                    self.segments
                ));
            }
        }
        for (limit, owner) in limits {
            if let Some(b) = (0..batch.sequences()).find(|&b| batch.length(b) > limit) {
                return fail(format!(
                    "text {b} has {} tokens, {owner} {limit}; truncate it, split it into windows, or use an \
                     encoder with rotary positions",
                    batch.length(b)
                ));
            }
        }
        Ok(())
    }
}

/// The row of a pair of ids: multiplication by odd constants and a final mix (splitmix64).
fn bucket(side: u64, a: usize, b: usize, buckets: usize) -> usize {
    let mut x =
        (a as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (b as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    x = (x ^ (x >> 30)).wrapping_add(side).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) % buckets as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_spread_over_the_buckets_and_know_their_side() {
        let mut seen = [0; 8];
        for a in 0..40 {
            (0..40).for_each(|b| seen[bucket(0, a, b, 8)] += 1);
        }
        assert!(seen.iter().all(|n| (120..280).contains(n)), "{seen:?}");
        let differ = (0..100).filter(|&b| bucket(0, 3, b, 1000) != bucket(1, 3, b, 1000)).count();
        assert!(differ > 95, "{differ}");
    }
}

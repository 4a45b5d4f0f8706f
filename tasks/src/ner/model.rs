//! The parts of an entity recogniser, built new or opened from a folder.

use bert4rs_nn::encoder::{Encoder, EncoderConfig, EncoderInput, Precision};
use bert4rs_nn::head::tags::{self, SpanRule};
use bert4rs_nn::head::{SpanHead, TagHead};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::span_score::{ScoredSpan, Span};
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor};
use bert4rs_text::Tokenizer;

use super::config::{Decoder, HeadConfig, HeadSettings, NerConfig};
use super::encode::Piece;
use crate::{Error, Result};

/// Tokenizer, encoder and head of one recogniser.
pub struct NerModel {
    pub(super) task: NerConfig,
    pub(super) head_config: HeadConfig,
    pub(super) encoder_config: EncoderConfig,
    pub(super) tokenizer: Tokenizer,
    pub(super) special_tokens: bool,
    pub(super) params: Params,
    encoder: Encoder,
    head: Head,
}

enum Head {
    Span(SpanHead),
    Tag(TagHead),
}

/// A scored span of a piece, in tokens of the piece.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) span: Span,
    /// None for decoders that do not score single spans.
    pub(super) score: Option<f64>,
}

impl NerModel {
    /// A model with new weights. `task.labels` must be filled in.
    pub fn new(
        task: NerConfig,
        head_config: HeadConfig,
        encoder_config: EncoderConfig,
        tokenizer: Tokenizer,
        special_tokens: bool,
        seed: u64,
    ) -> Result<Self> {
        Self::assemble(task, head_config, encoder_config, tokenizer, special_tokens, seed, Encoder::new)
    }

    /// As [`NerModel::new`], with another way to make the encoder.
    pub(super) fn assemble(
        task: NerConfig,
        head_config: HeadConfig,
        encoder_config: EncoderConfig,
        tokenizer: Tokenizer,
        special_tokens: bool,
        seed: u64,
        make: fn(&mut Builder, &EncoderConfig) -> bert4rs_nn::Result<Encoder>,
    ) -> Result<Self> {
        if task.labels.is_empty() {
            return Err(Error::Config(
                "[task]: no labels, and none in the training data: annotate at least one entity".into(),
            ));
        }
        if tokenizer.vocab_size() > encoder_config.vocab_size {
            return Err(Error::Config(format!(
                "the tokenizer has {} tokens, but the encoder embeds only {} (vocab_size); do tokenizer and encoder belong together?",
                tokenizer.vocab_size(),
                encoder_config.vocab_size
            )));
        }
        let mut params = Params::new();
        let mut rng = Rng::new(seed).fork("initialisation");
        let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
        let encoder = make(&mut builder, &encoder_config)?;
        if let Some(limit) = encoder.max_length()
            && task.max_tokens > limit
        {
            return Err(Error::Config(format!(
                "[task]: max_tokens = {}, but the encoder has positions for {limit} tokens; set max_tokens = {limit} or less",
                task.max_tokens
            )));
        }
        let head = build_head(&mut builder.at("head"), encoder.output_size(), &task, &head_config)?;
        Ok(Self { task, head_config, encoder_config, tokenizer, special_tokens, params, encoder, head })
    }

    /// Makes the model ready to answer in a precision; see [`Encoder::prepare`]. It can no longer be
    /// trained or saved.
    pub fn prepare(mut self, precision: Precision) -> Result<Self> {
        self.encoder.prepare(precision)?;
        match &mut self.head {
            Head::Span(head) => head.prepare(precision.weights())?,
            Head::Tag(head) => head.prepare(precision.weights())?,
        }
        self.params = Params::new(); // lets go of what the layers do not use any more
        Ok(self)
    }

    /// The entity types.
    pub fn labels(&self) -> &[String] {
        &self.task.labels
    }

    /// All parameters: the encoder's under their published names, the head's under `head.`; none
    /// once the model is prepared.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Its tokenizer, and whether texts stand between special tokens.
    pub(crate) fn tokenizer(&self) -> (&Tokenizer, bool) {
        (&self.tokenizer, self.special_tokens)
    }

    /// The settings.
    pub fn config(&self) -> &NerConfig {
        &self.task
    }

    /// The architecture of the encoder.
    pub fn encoder_config(&self) -> &EncoderConfig {
        &self.encoder_config
    }

    /// The kind and settings of the head.
    pub fn head_config(&self) -> &HeadConfig {
        &self.head_config
    }

    pub(crate) fn loss(&self, ctx: &mut Ctx, pieces: &[&Piece]) -> Result<Tensor> {
        let (hidden, batch) = self.hidden(ctx, pieces.iter().map(|p| &p.ids[..]))?;
        Ok(match &self.head {
            Head::Span(head) => {
                let gold: Vec<Vec<Span>> = pieces.iter().map(|p| p.gold.clone()).collect();
                head.loss(ctx, &hidden, &batch, &gold)?
            }
            Head::Tag(head) => {
                let mut labels = Vec::with_capacity(batch.tokens());
                for piece in pieces {
                    labels.extend(tags::spans_to_tags(&piece.gold, self.task.labels.len(), piece.ids.len())?);
                }
                head.loss(ctx, &hidden, &batch, &labels)?
            }
        })
    }

    /// Entities of each piece, given ids and special-token marks.
    pub(super) fn decode(&self, pieces: &[(&[usize], &[bool])]) -> Result<Vec<Vec<Found>>> {
        let mut ctx = Ctx::inference();
        let (hidden, batch) = self.hidden(&mut ctx, pieces.iter().map(|p| p.0))?;
        Ok(match &self.head {
            Head::Span(head) => {
                let special: Vec<bool> = pieces.iter().flat_map(|p| p.1.iter().copied()).collect();
                let spans = head.decode(&mut ctx, &hidden, &batch, &special, self.head_config.threshold)?;
                let convert = |s: ScoredSpan| Found { span: s.span, score: Some(s.score) };
                spans.into_iter().map(|spans| spans.into_iter().map(convert).collect()).collect()
            }
            Head::Tag(head) => {
                let paths = head.decode(&mut ctx, &hidden, &batch)?;
                let spans = paths.iter().zip(pieces).map(|(path, (_, special))| {
                    let spans = tags::tags_to_spans(path, SpanRule::Strict);
                    let real = spans.into_iter().filter(|s| !special[s.start] && !special[s.end]);
                    real.map(|span| Found { span, score: None }).collect()
                });
                spans.collect()
            }
        })
    }

    fn hidden<'a>(
        &self,
        ctx: &mut Ctx,
        pieces: impl Iterator<Item = &'a [usize]> + Clone,
    ) -> Result<(Tensor, Packed)> {
        let batch = Packed::from_lengths(&pieces.clone().map(<[usize]>::len).collect::<Vec<_>>());
        let ids: Vec<usize> = pieces.flatten().copied().collect();
        let input = EncoderInput { ids: &ids, segments: None, batch: &batch };
        let hidden = self.encoder.forward(ctx, input, &self.encoder.mask())?;
        Ok((ctx.dropout(&hidden, self.head_config.dropout)?, batch))
    }

    /// Whether a gold span can be learned: within the head's candidates.
    pub(super) fn can_learn(&self, span: &Span, length: usize) -> bool {
        match &self.head {
            Head::Span(head) => head.is_candidate(span, length),
            Head::Tag(_) => true,
        }
    }
}

fn build_head(builder: &mut Builder, hidden: usize, task: &NerConfig, config: &HeadConfig) -> Result<Head> {
    let types = task.labels.len();
    Ok(match config.settings(types) {
        HeadSettings::Span(settings) => Head::Span(SpanHead::new(builder, hidden, &settings)?),
        HeadSettings::Tag(settings) => {
            // A softmax decides token by token; what is not a legal sequence is ignored on reading.
            let constraints = (config.decoder != Decoder::Softmax).then(|| tags::bio_constraints(types));
            Head::Tag(TagHead::new(builder, hidden, &settings, constraints)?)
        }
    })
}

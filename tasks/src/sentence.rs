//! Sentence vectors: a folder of sentence-transformers, or of a plain encoder, turns texts into
//! vectors whose cosines say how alike the texts are.

mod network;
mod pooling_file;
mod recipe;
mod save;

use std::path::Path;
use std::sync::Arc;

use bert4rs_nn::Ctx;
use bert4rs_nn::encoder::{Encoder, Precision, huggingface};
use bert4rs_tensor::op::recompute::recompute;
use bert4rs_tensor::{DType, Params, Tensor};
use bert4rs_text::{Encoding, Tokenizer};
use rayon::prelude::*;

use crate::{Error, Result, scheduler};
use network::Network;
pub(crate) use recipe::{Recipe, Step};

/// An opened model; `Send + Sync`, one serves any number of threads.
pub struct SentenceEncoder {
    tokenizer: Tokenizer,
    network: Arc<Network>,
    recipe: Recipe,
    max_tokens: Option<usize>,
}

/// How texts are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokens that run together.
    pub batch_tokens: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch_tokens: scheduler::BATCH_TOKENS }
    }
}

/// The vectors of some texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// One per text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// Which texts were longer than the model reads, ascending: their ends were not looked at.
    pub truncated: Vec<usize>,
}

impl SentenceEncoder {
    /// Whether a folder is one of sentence-transformers, or holds an encoder and no task of ours.
    pub fn is_folder(dir: &Path) -> bool {
        dir.join(recipe::MODULES).is_file()
            || (dir.join("config.json").is_file() && !dir.join("bert4rs.toml").is_file())
    }

    /// Opens a folder of sentence-transformers, or one with an encoder alone: then a text's vector
    /// is the mean of its tokens' vectors.
    pub fn open(dir: &Path) -> Result<Self> {
        let recipe = Recipe::read(dir)?;
        let tokenizer = Tokenizer::from_dir(&recipe.folder)?;
        let (_, encoder, mut params, _) = huggingface::load(&recipe.folder, DType::F32)?;
        let (tokens, rows) = (tokenizer.vocab_size(), encoder.config().vocab_size);
        if tokens > rows {
            let message = format!(
                "the tokenizer has {tokens} tokens, the encoder {rows}; are their files of the same model?"
            );
            return Err(Error::model(&recipe.folder, message));
        }
        Self::assemble(recipe, tokenizer, encoder, &mut params)
    }

    /// A model of parts; what the recipe's steps need is added to the encoder's parameters.
    pub(crate) fn assemble(
        recipe: Recipe,
        tokenizer: Tokenizer,
        encoder: Encoder,
        params: &mut Params,
    ) -> Result<Self> {
        let limits = [recipe.max_tokens.or(tokenizer.max_length()), encoder.max_length()];
        let max_tokens = limits.into_iter().flatten().min();
        let network = Arc::new(Network::new(encoder, &recipe, params)?);
        Ok(Self { tokenizer, network, recipe, max_tokens })
    }

    /// The vectors of texts. They do not depend on the other texts, on threads or on batch sizes.
    pub fn encode(&self, texts: &[&str], options: &Options) -> Result<Embeddings> {
        let mut all = Embeddings { vectors: Vec::with_capacity(texts.len()), truncated: Vec::new() };
        for chunk in texts.chunks(scheduler::CHUNK) {
            self.encode_chunk(chunk, options, &mut all)?;
        }
        Ok(all)
    }

    /// Adds the vectors of some texts.
    fn encode_chunk(&self, texts: &[&str], options: &Options, all: &mut Embeddings) -> Result<()> {
        let read = texts.par_iter().map(|text| self.read(text)).collect::<Result<Vec<_>>>()?;
        let lengths: Vec<usize> = read.iter().map(Encoding::len).collect();
        let batches = scheduler::batches(&lengths, options.batch_tokens);
        let run = |batch: &[usize]| {
            let texts: Vec<&Encoding> = batch.iter().map(|&i| &read[i]).collect();
            self.forward(&mut Ctx::inference(), &texts)
        };
        let results = scheduler::run(&batches, run)?;
        let first = all.vectors.len();
        all.vectors.resize(first + texts.len(), Vec::new());
        for (batch, result) in batches.iter().zip(&results) {
            for (&i, row) in batch.iter().zip(result.values::<f32>()?.chunks_exact(self.width())) {
                all.vectors[first + i] = row.to_vec();
            }
        }
        all.truncated.extend((0..texts.len()).filter(|&i| read[i].truncated).map(|i| first + i));
        Ok(())
    }

    /// Makes the model ready to answer in a precision; see [`Encoder::prepare`]. A folder that was
    /// just opened answers as it was trained, without packed weights.
    pub fn prepare(mut self, precision: Precision) -> Result<Self> {
        let Some(network) = Arc::get_mut(&mut self.network) else {
            return Err(Error::Input("a model in training cannot be prepared; open its folder".into()));
        };
        network.prepare(precision)?;
        Ok(self)
    }

    /// The numbers of a vector.
    pub fn width(&self) -> usize {
        self.network.width
    }

    /// The longest text in tokens, special tokens included; none = no limit.
    pub fn max_tokens(&self) -> Option<usize> {
        self.max_tokens
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What turns hidden states into vectors.
    pub(crate) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// A text as the encoder reads it.
    pub(crate) fn read(&self, text: &str) -> Result<Encoding> {
        let mut whole = format!("{}{text}", self.recipe.prompt);
        if self.recipe.lower_case {
            whole = whole.to_lowercase();
        }
        Ok(self.tokenizer.encode(&whole, self.max_tokens)?)
    }

    /// The vectors `[B, width]` of texts that were read.
    pub(crate) fn forward(&self, ctx: &mut Ctx, texts: &[&Encoding]) -> Result<Tensor> {
        self.network.forward(ctx, texts)
    }

    /// As [`Self::forward`], `budget` tokens at a time: what happens inside is not kept, and runs again
    /// in the backward pass. The gradient is that of one large batch, the memory that of a small one
    /// (GradCache: Gao et al., 2021).
    pub(crate) fn forward_in_parts(
        &self,
        ctx: &mut Ctx,
        texts: &[&Encoding],
        budget: usize,
    ) -> Result<Tensor> {
        let mut parts = Vec::new();
        let mut rest = texts;
        while let Some(first) = rest.first() {
            let mut tokens = first.len();
            let more = rest[1..].iter().take_while(|text| {
                tokens += text.len();
                tokens <= budget
            });
            let (part, after) = rest.split_at(1 + more.count());
            rest = after;
            let (start, network) = (ctx.clone(), self.network.clone());
            let own: Vec<Encoding> = part.iter().map(|&text| text.clone()).collect();
            let again = move |_: &Tensor| {
                let texts: Vec<&Encoding> = own.iter().collect();
                network.forward(&mut start.clone(), &texts).map_err(|e| match e {
                    Error::Tensor(e) => e,
                    other => bert4rs_tensor::Error::Value { op: "recompute", message: other.to_string() },
                })
            };
            let nothing = Tensor::scalar(0.0, DType::F32);
            parts.push(recompute(&nothing, |_| self.network.forward(ctx, part), again)?);
        }
        Ok(Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0)?)
    }
}

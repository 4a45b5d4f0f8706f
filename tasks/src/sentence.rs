//! Sentence vectors: a folder of sentence-transformers, or of a plain encoder, turns texts into
//! vectors whose cosines say how alike the texts are.

mod folder;

use bert4rs_nn::block::pooling::{Pooling, normalize, pool};
use bert4rs_nn::encoder::{Encoder, EncoderInput, Precision};
use bert4rs_nn::{Ctx, Error as NnError};
use bert4rs_tensor::op::activation::Activation;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::prepared::PreparedMatrix;
use bert4rs_tensor::{Packed, Tensor};
use bert4rs_text::{Encoding, Tokenizer};
use rayon::prelude::*;

use crate::{Result, scheduler};

/// An opened model; `Send + Sync`, one serves any number of threads.
pub struct SentenceEncoder {
    tokenizer: Tokenizer,
    encoder: Encoder,
    max_tokens: Option<usize>,
    /// Put before every text.
    prompt: String,
    lower_case: bool,
    modules: Vec<Module>,
    width: usize,
}

/// One step from hidden states to the vector of a text; the first is the pooling.
enum Module {
    /// Several poolings stand side by side.
    Pooling(Vec<Pooling>),
    Dense(Dense),
    Normalize,
}

/// `f(x W^T + b)`
struct Dense {
    weight: Weight,
    bias: Option<Tensor>,
    activation: Option<Activation>,
}

enum Weight {
    Trained(Tensor),
    Prepared(PreparedMatrix),
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

impl Dense {
    fn prepare(&mut self, precision: Precision) -> Result<()> {
        if let Weight::Trained(weight) = &self.weight {
            self.weight = Weight::Prepared(PreparedMatrix::new(weight, precision.weights())?);
        }
        Ok(())
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let after = After { bias: self.bias.as_ref(), activation: self.activation, residual: None };
        Ok(match &self.weight {
            Weight::Trained(weight) => linear(x, weight, after)?,
            Weight::Prepared(matrix) => matrix.linear(x, after)?,
        })
    }
}

impl SentenceEncoder {
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
        let run = |batch: &[usize]| self.run(&batch.iter().map(|&i| &read[i]).collect::<Vec<_>>());
        let results = scheduler::run(&batches, run)?;
        let first = all.vectors.len();
        all.vectors.resize(first + texts.len(), Vec::new());
        for (batch, result) in batches.iter().zip(&results) {
            for (&i, row) in batch.iter().zip(result.values::<f32>()?.chunks_exact(self.width)) {
                all.vectors[first + i] = row.to_vec();
            }
        }
        all.truncated.extend((0..texts.len()).filter(|&i| read[i].truncated).map(|i| first + i));
        Ok(())
    }

    /// Makes the model ready to answer in a precision; see [`Encoder::prepare`]. A folder that was
    /// just opened answers as it was trained, without packed weights.
    pub fn prepare(mut self, precision: Precision) -> Result<Self> {
        self.encoder.prepare(precision)?;
        for module in &mut self.modules {
            match module {
                Module::Dense(dense) => dense.prepare(precision)?,
                Module::Pooling(_) | Module::Normalize => {}
            }
        }
        Ok(self)
    }

    /// The numbers of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The longest text in tokens, special tokens included; none = no limit.
    pub fn max_tokens(&self) -> Option<usize> {
        self.max_tokens
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn read(&self, text: &str) -> Result<Encoding> {
        let mut whole = format!("{}{text}", self.prompt);
        if self.lower_case {
            whole = whole.to_lowercase();
        }
        Ok(self.tokenizer.encode(&whole, self.max_tokens)?)
    }

    /// `[B, width]`
    fn run(&self, texts: &[&Encoding]) -> Result<Tensor> {
        let batch = Packed::from_lengths(&texts.iter().map(|t| t.len()).collect::<Vec<_>>());
        let widen = |ids: fn(&Encoding) -> &[u32]| -> Vec<usize> {
            texts.iter().flat_map(|t| ids(t)).map(|&id| id as usize).collect()
        };
        let (ids, segments) = (widen(|t| &t.ids), widen(|t| &t.type_ids));
        let input = EncoderInput { ids: &ids, segments: Some(&segments), batch: &batch };
        let mut x = self.encoder.forward(&mut Ctx::inference(), input, &self.encoder.mask())?; // [T, D]
        for module in &self.modules {
            x = match module {
                Module::Pooling(hows) => {
                    let parts = hows.iter().map(|&how| pool(&x, &batch, how));
                    let parts = parts.collect::<std::result::Result<Vec<_>, NnError>>()?;
                    Tensor::concat(&parts.iter().collect::<Vec<_>>(), 1)?
                }
                Module::Dense(dense) => dense.forward(&x)?,
                Module::Normalize => normalize(&x)?,
            };
        }
        Ok(x)
    }
}

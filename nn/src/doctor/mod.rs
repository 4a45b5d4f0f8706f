//! What is the matter with a model: numbers of an encoder, new or trained, and findings in words.
//!
//! One file per measure: [`parameter`], [`embedding`], [`activation`], [`gradient`], [`entropy`] and, for
//! recurrent layers, [`recurrent`]; [`finding`] says what is out of the ordinary. Everything is seen from outside,
//! by [`Encoder::observe`] and the gradients of one batch, without dropout where the config has none.

pub mod activation;
pub mod embedding;
pub mod entropy;
pub mod finding;
pub mod gradient;
pub mod parameter;
pub mod recurrent;

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{Packed, Params, Rng};
use serde::Serialize;

use crate::Result;
use crate::encoder::{Encoder, EncoderConfig, EncoderInput};

pub use finding::{Finding, Kind};

/// Texts as ids.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The ids of all texts.
    pub ids: Vec<usize>,
    /// Where texts begin and end.
    pub packed: Packed,
    /// Which tokens see which.
    pub mask: Mask,
}

impl Batch {
    /// These texts.
    pub fn new(texts: &[Vec<usize>], mask: Mask) -> Self {
        let packed = Packed::from_lengths(&texts.iter().map(Vec::len).collect::<Vec<_>>());
        Self { ids: texts.concat(), packed, mask }
    }

    /// `count` texts of random ids, the same for the same seed.
    pub fn random(config: &EncoderConfig, count: usize, length: usize, mask: Mask, seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork("ids");
        let mut text = || (0..length).map(|_| rng.below(config.vocab_size)).collect();
        Self::new(&(0..count).map(|_| text()).collect::<Vec<Vec<usize>>>(), mask)
    }

    /// As an encoder reads it.
    pub fn input(&self) -> EncoderInput<'_> {
        EncoderInput { ids: &self.ids, segments: None, batch: &self.packed }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether weights are as they start; then they are compared with how they should.
    pub new: bool,
    /// Scales in depth.
    pub activations: activation::Activations,
    /// Lengths of gradients.
    pub gradients: gradient::Gradients,
    /// By length; empty for mixers without weights of pairs.
    pub entropy: Vec<entropy::Entropy>,
    /// Of recurrent layers.
    pub recurrent: Vec<recurrent::Reach>,
    /// Tables of embeddings.
    pub rows: Vec<embedding::Rows>,
    /// All parameters.
    pub tensors: Vec<parameter::TensorScale>,
    /// What is out of the ordinary; empty for a healthy model.
    pub findings: Vec<Finding>,
}

/// Measures an encoder whose parameters are among `params`: scales and gradients on `batch`, entropy on each batch
/// of `lengths`. Gradients are those of the probe, or of a loss of a task, made by `gradients`.
pub fn examine(
    encoder: &Encoder,
    params: &Params,
    batch: &Batch,
    lengths: &[Batch],
    new: bool,
    gradients: Option<gradient::Gradients>,
) -> Result<Report> {
    let config = encoder.config();
    let gradients = gradients.map_or_else(|| gradient::of_probe(encoder, params, batch), Ok)?;
    let mut entropies = Vec::new();
    for batch in lengths {
        entropies.extend(entropy::entropy(encoder, batch)?);
    }
    let mut report = Report {
        new,
        activations: activation::activations(encoder, batch)?,
        gradients,
        entropy: entropies,
        recurrent: recurrent::reach(encoder, batch)?,
        rows: embedding::rows(params),
        tensors: parameter::tensors(config, params)?,
        findings: Vec::new(),
    };
    report.findings = finding::findings(config, &report);
    Ok(report)
}

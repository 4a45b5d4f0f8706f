//! The untrained sentence encoder that a configuration describes.

use std::path::PathBuf;

use bert4rs_nn::block::Linear;
use bert4rs_nn::block::pooling::Pooling;
use bert4rs_nn::encoder::{Encoder, EncoderConfig};
use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_nn::{Builder, Init};
use bert4rs_tensor::{DType, Params, Rng};

use super::config::SimilarityConfig;
use crate::config::RunConfig;
use crate::sentence::{Recipe, SentenceEncoder, Step};
use crate::source::Source;
use crate::{Error, Result};

/// A sentence encoder with its parameters, and what only training needs.
pub(super) struct Built {
    pub(super) model: SentenceEncoder,
    pub(super) encoder: EncoderConfig,
    pub(super) params: Params,
    /// Sentence-BERT's classifier of pairs.
    pub(super) classifier: Option<Linear>,
}

/// Tokens that are read, from scratch.
const MAX_TOKENS: usize = 128;

/// A preset with a learned vocabulary, an encoder's folder or one of sentence-transformers. Leaves in
/// `config` and `task` what was decided.
pub(super) fn build(
    config: &mut RunConfig,
    task: &mut SimilarityConfig,
    texts: &[String],
    classes: usize,
) -> Result<Built> {
    let outer = config.encoder.get("path").and_then(|path| path.as_str()).map(PathBuf::from);
    let mut recipe = match &outer {
        Some(folder) if folder.is_dir() => Recipe::read(folder)?,
        Some(_) | None => Recipe::mean(PathBuf::new()),
    };
    let folder = recipe.folder.clone();
    let source = Source::resolve(config, texts.iter().map(String::as_str), |_| Ok(folder.clone()))?;
    adapt(&mut recipe, task, &source.encoder)?;
    let limit = task.max_tokens.or(recipe.max_tokens).or(outer.is_none().then_some(MAX_TOKENS));
    recipe.max_tokens = limit;

    let mut params = Params::new();
    let mut rng = Rng::new(config.train.seed).fork("initialisation");
    let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
    let encoder = Encoder::new(&mut builder, &source.encoder)?;
    if let (Some(asked), Some(most)) = (task.max_tokens, encoder.max_length())
        && asked > most
    {
        return Err(Error::Config(format!(
            "[task]: max_tokens = {asked}, but the encoder has positions for {most} tokens; set max_tokens = \
             {most} or less"
        )));
    }
    if let Some(folder) = &source.folder {
        Checkpoint::open(folder)?.fill(&params, &Allow::default())?;
    }
    let model = SentenceEncoder::assemble(recipe, source.tokenizer, encoder, &mut params)?;
    let classifier = if classes > 0 {
        let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
        let init = Init::Normal { deviation: 0.02 };
        Some(Linear::new(&mut builder.at("head.classifier"), 3 * model.width(), classes, true, init)?)
    } else {
        None
    };
    task.max_tokens = model.max_tokens();
    Ok(Built { model, encoder: source.encoder, params, classifier })
}

/// Changes a recipe as `[task]` asks, and completes `[task]` by the recipe.
fn adapt(recipe: &mut Recipe, task: &mut SimilarityConfig, encoder: &EncoderConfig) -> Result<()> {
    if let Some(pooling) = task.pooling {
        if recipe.steps.iter().any(|step| matches!(step, Step::Dense(_))) {
            return Err(Error::Config(
                "[task]: pooling: the folder has Dense steps, which are trained for its own pooling; remove the \
                 key"
                .into(),
            ));
        }
        let normalized = recipe.steps.iter().any(|step| matches!(step, Step::Normalize));
        recipe.layers = None;
        let how = match pooling {
            Pooling::FirstLastMean => {
                // The output of the first layer, not the embedding, and that of the last.
                let mut weights = vec![0.0; encoder.layers + 1];
                for at in [1, encoder.layers] {
                    if let Some(weight) = weights.get_mut(at) {
                        *weight += 1.0;
                    }
                }
                recipe.layers = Some(weights);
                Pooling::Mean
            }
            Pooling::Cls
            | Pooling::Mean
            | Pooling::Max
            | Pooling::MeanSqrtLen
            | Pooling::WeightedMean
            | Pooling::Last => pooling,
        };
        recipe.steps = vec![Step::Pooling(vec![how])];
        if normalized {
            recipe.steps.push(Step::Normalize);
        }
    }
    let normalized = recipe.steps.iter().any(|step| matches!(step, Step::Normalize));
    match task.normalize {
        Some(true) if !normalized => recipe.steps.push(Step::Normalize),
        Some(false) => recipe.steps.retain(|step| !matches!(step, Step::Normalize)),
        Some(true) | None => {}
    }
    task.normalize = Some(recipe.steps.iter().any(|step| matches!(step, Step::Normalize)));
    if let (None, None, Some(Step::Pooling(hows))) = (task.pooling, &recipe.layers, recipe.steps.first())
        && let [how] = hows[..]
    {
        task.pooling = Some(how);
    }
    Ok(())
}

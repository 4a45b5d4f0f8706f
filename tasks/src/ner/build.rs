//! The untrained model that a configuration describes.

use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_text::Example;

use super::NerModel;
use super::run::labels_of;
use crate::config::{Goal, RunConfig};
use crate::source::Source;
use crate::{Error, Result};

/// A preset with a learned vocabulary, or a published encoder with its own. Leaves in `config` every
/// field of the encoder and the labels, so that the configuration says all of it.
pub(crate) fn build(config: &mut RunConfig, examples: &[Example]) -> Result<NerModel> {
    let Goal::Ner { task, head } = &mut config.goal else {
        return Err(Error::Config("[task]: type is not \"ner\"".into()));
    };
    if task.labels.is_empty() {
        task.labels = labels_of(examples);
    }
    let (task, head) = (task.clone(), head.clone());
    let source = Source::resolve(config, examples.iter().map(|e| e.text.as_str()), Ok)?;
    let Source { encoder, tokenizer, folder } = source;
    let special = folder.is_some() && tokenizer.cls_id().is_some() && tokenizer.sep_id().is_some();
    let model = NerModel::new(task, head, encoder, tokenizer, special, config.train.seed)?;
    if let Some(folder) = folder {
        let allow = Allow { missing: vec!["head".into()], ..Allow::default() };
        Checkpoint::open(&folder)?.fill(model.params(), &allow)?;
    }
    Ok(model)
}

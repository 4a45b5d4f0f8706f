//! Matching as the trainer sees it.

use std::path::Path;

use bert4rs_nn::{Ctx, loss};
use bert4rs_tensor::{Params, Tensor};
use bert4rs_text::Encoding;
use bert4rs_train::Score;

use super::config::Objective;
use super::data::Pair;
use super::{MatchingModel, evaluate};
use crate::sentence::Options;
use crate::{Error, Result};

/// A pair as the encoder reads it, with its class or its number in 0..1.
pub(super) struct Item {
    pub(super) pair: Encoding,
    pub(super) target: f64,
}

/// A model and the pairs that choose the best version of it.
pub(super) struct MatchingObjective<'a> {
    pub(super) model: &'a MatchingModel,
    pub(super) dev: &'a [Pair],
    pub(super) dev_path: &'a Path,
    pub(super) data: String,
}

impl bert4rs_train::Objective for MatchingObjective<'_> {
    type Example = Item;
    type Error = Error;

    fn params(&self) -> &Params {
        self.model.params()
    }

    fn tokens(&self, item: &Item) -> usize {
        item.pair.len()
    }

    fn loss(&self, ctx: &mut Ctx, batch: &[&Item]) -> Result<Tensor> {
        let logits = self.model.logits(ctx, &batch.iter().map(|i| &i.pair).collect::<Vec<_>>())?;
        match self.model.task.objective {
            Objective::Classification => {
                let classes: Vec<i64> = batch.iter().map(|i| i.target as i64).collect();
                Ok(loss::cross_entropy(&logits, &classes, 0.0)?)
            }
            Objective::Regression => {
                // Binary cross entropy with a soft target: softplus(s) - t s.
                let s = logits.reshape(&[batch.len()])?;
                let targets: Vec<f64> = batch.iter().map(|i| i.target).collect();
                let targets = Tensor::new(targets, &[batch.len()])?.cast(s.dtype())?;
                Ok(s.softplus()?.sub(&targets.mul(&s)?)?.mean_all()?)
            }
        }
    }

    fn evaluate(&self) -> Result<Score> {
        let result = evaluate(self.model, self.dev, self.dev_path, &Options::default())?;
        let (name, main) = match self.model.task.objective {
            Objective::Classification => ("accuracy", result.accuracy),
            Objective::Regression => ("spearman", result.spearman),
        };
        Ok(Score { main: main.unwrap_or(f64::NAN), name: name.into(), details: result.to_json() })
    }

    fn save(&self, dir: &Path) -> Result<()> {
        self.model.save(dir)
    }

    fn fingerprint(&self) -> String {
        self.data.clone()
    }
}

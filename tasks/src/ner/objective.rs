//! Entity recognition as the trainer sees it.

use std::path::Path;

use bert4rs_nn::Ctx;
use bert4rs_tensor::{Params, Tensor};
use bert4rs_text::Example;
use bert4rs_train::{Objective, Score};

use super::{NerModel, Piece, PredictOptions, evaluate};
use crate::Error;

/// A model and the texts that choose the best version of it.
pub(super) struct NerObjective<'a> {
    pub(super) model: &'a NerModel,
    pub(super) dev: &'a [Example],
    /// What tells these examples from others.
    pub(super) data: String,
}

impl Objective for NerObjective<'_> {
    type Example = Piece;
    type Error = Error;

    fn params(&self) -> &Params {
        self.model.params()
    }

    fn tokens(&self, piece: &Piece) -> usize {
        piece.ids.len()
    }

    fn loss(&self, ctx: &mut Ctx, batch: &[&Piece]) -> Result<Tensor, Error> {
        self.model.loss(ctx, batch)
    }

    fn evaluate(&self) -> Result<Score, Error> {
        let result = evaluate(self.model, self.dev, &PredictOptions::default())?;
        Ok(Score { main: result.scores.total.f1(), name: "f1".into(), details: result.scores.to_json() })
    }

    fn save(&self, dir: &Path) -> Result<(), Error> {
        self.model.save(dir)
    }

    fn fingerprint(&self) -> String {
        self.data.clone()
    }
}

//! Sentence similarity as the trainer sees it.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bert4rs_nn::loss::{self, Choice, Views};
use bert4rs_nn::{Ctx, Error as NnError};
use bert4rs_tensor::{DType, Params, Tensor};
use bert4rs_text::Encoding;
use bert4rs_train::{Objective, Score};

use super::build::Built;
use super::config::{Distill, LossConfig, LossKind, SimilarityConfig};
use super::data::Pair;
use super::examples::Item;
use super::score::{Evaluation, evaluate};
use crate::sentence::Options;
use crate::{Error, Result};

/// A model, its texts, and the pairs that choose the best version of it.
pub(super) struct SimilarityObjective<'a> {
    pub(super) built: &'a Built,
    pub(super) task: &'a SimilarityConfig,
    pub(super) config: &'a LossConfig,
    /// The texts that items point at, as the encoder reads them.
    pub(super) texts: &'a [Encoding],
    /// The teacher's vectors of the texts (distillation).
    pub(super) teacher: &'a [Vec<f32>],
    pub(super) dev: &'a [Pair],
    /// What tells these examples from others.
    pub(super) data: String,
    pub(super) last: Mutex<Option<Evaluation>>,
    /// Batches in which all labels were equal: CoSENT learns nothing from them.
    pub(super) unranked: AtomicUsize,
}

impl SimilarityObjective<'_> {
    /// The vectors `[N, D]` of texts by position.
    fn vectors(&self, ctx: &mut Ctx, texts: &[usize]) -> Result<Tensor> {
        let texts: Vec<&Encoding> = texts.iter().map(|&i| &self.texts[i]).collect();
        match self.config.cache_tokens {
            Some(budget) if ctx.is_training() => self.built.model.forward_in_parts(ctx, &texts, budget),
            Some(_) | None => self.built.model.forward(ctx, &texts),
        }
    }

    /// The vectors of each side of all items.
    fn sides<const N: usize>(&self, ctx: &mut Ctx, batch: &[&Item]) -> Result<[Tensor; N]> {
        let side = |k: usize| batch.iter().map(move |item| item.texts[k]);
        let all = self.vectors(ctx, &(0..N).flat_map(side).collect::<Vec<_>>())?;
        let mut parts = [(); N].map(|()| all.clone());
        for (k, part) in parts.iter_mut().enumerate() {
            *part = all.narrow(0, k * batch.len(), batch.len())?;
        }
        Ok(parts)
    }

    /// The loss of vectors, at full width or at every width of `matryoshka`.
    fn at_widths(
        &self,
        vectors: &[&Tensor],
        loss: impl Fn(&[Tensor]) -> std::result::Result<Tensor, NnError>,
    ) -> Result<Tensor> {
        if self.config.matryoshka.is_empty() {
            return Ok(loss(&vectors.iter().map(|&x| x.clone()).collect::<Vec<_>>())?);
        }
        Ok(loss::matryoshka(vectors, &self.config.matryoshka, loss)?)
    }

    fn labels(batch: &[&Item]) -> Vec<f64> {
        batch.iter().map(|item| item.label).collect()
    }

    fn multiple_negatives(&self, ctx: &mut Ctx, batch: &[&Item]) -> Result<Tensor> {
        let n = batch.len();
        let side = |k: usize| batch.iter().map(move |item| item.texts[k]);
        let mut texts: Vec<usize> = side(0).chain(side(1)).collect();
        let mut owners = Vec::new();
        for (i, item) in batch.iter().enumerate() {
            texts.extend(&item.texts[2..]);
            owners.extend(std::iter::repeat_n(i, item.texts.len() - 2));
        }
        // Candidates that say the same as the anchor or its positive are no negatives.
        let candidates = &texts[n..];
        let mut excluded = Vec::new();
        for (i, item) in batch.iter().enumerate() {
            let same = |c: &usize| candidates[*c] == item.texts[0] || candidates[*c] == item.texts[1];
            excluded.extend((0..candidates.len()).filter(|c| *c != i && same(c)).map(|c| (i, c)));
        }
        let all = self.vectors(ctx, &texts)?;
        let (a, p) = (all.narrow(0, 0, n)?, all.narrow(0, n, n)?);
        let hard = if owners.is_empty() { None } else { Some(all.narrow(0, 2 * n, owners.len())?) };
        let how = Choice {
            scale: self.config.scale,
            owners: &owners,
            hard_negative_log_weight: self.config.hard_negative_log_weight,
            excluded: &excluded,
            symmetric: self.config.symmetric,
        };
        let parts: Vec<&Tensor> = [&a, &p].into_iter().chain(&hard).collect();
        self.at_widths(&parts, |x| loss::multiple_negatives(&x[0], &x[1], x.get(2), &how))
    }

    fn simcse(&self, ctx: &mut Ctx, batch: &[&Item]) -> Result<Tensor> {
        let texts: Vec<usize> = batch.iter().flat_map(|item| [item.texts[0]; 2]).collect();
        let vectors = self.vectors(ctx, &texts)?;
        self.at_widths(&[&vectors], |x| loss::simcse(&x[0], self.config.scale, Views::Interleaved, &[]))
    }

    fn distillation(&self, ctx: &mut Ctx, batch: &[&Item]) -> Result<Tensor> {
        let texts: Vec<usize> = batch.iter().map(|item| item.texts[0]).collect();
        let student = self.vectors(ctx, &texts)?;
        let width = self.teacher.first().map_or(0, Vec::len);
        let rows = texts.iter().flat_map(|&i| self.teacher[i].iter().copied()).collect();
        let teacher = Tensor::new(rows, &[texts.len(), width])?.cast(DType::F32)?;
        match self.config.distill {
            Distill::Similarities => self.at_widths(&[&student], |x| {
                loss::similarity_distillation(&teacher, &x[0], self.config.weight)
            }),
            Distill::Vectors => Ok(loss::vector_distillation(&teacher, &student)?),
        }
    }
}

impl Objective for SimilarityObjective<'_> {
    type Example = Item;
    type Error = Error;

    fn params(&self) -> &Params {
        &self.built.params
    }

    fn tokens(&self, item: &Item) -> usize {
        let once: usize = item.texts.iter().map(|&i| self.texts[i].len()).sum();
        if self.config.kind == LossKind::Simcse { 2 * once } else { once }
    }

    fn loss(&self, ctx: &mut Ctx, batch: &[&Item]) -> Result<Tensor> {
        match self.config.kind {
            LossKind::Cosent => {
                let [u, v] = self.sides(ctx, batch)?;
                let labels = Self::labels(batch);
                if labels.iter().all(|l| *l == labels[0]) {
                    self.unranked.fetch_add(1, Ordering::Relaxed);
                }
                self.at_widths(&[&u, &v], |x| loss::cosent(&x[0], &x[1], &labels, self.config.scale))
            }
            LossKind::Cosine => {
                let [u, v] = self.sides(ctx, batch)?;
                let labels = Self::labels(batch);
                self.at_widths(&[&u, &v], |x| loss::cosine_regression(&x[0], &x[1], &labels))
            }
            LossKind::Softmax => {
                let [u, v] = self.sides(ctx, batch)?;
                let Some(classifier) = &self.built.classifier else {
                    return Err(Error::Config("[loss]: softmax without a classifier".into()));
                };
                let logits = classifier.forward(ctx, &loss::pair_features(&u, &v)?)?;
                let classes: Vec<i64> = batch.iter().map(|item| item.label as i64).collect();
                Ok(loss::cross_entropy(&logits, &classes, 0.0)?)
            }
            LossKind::Triplet => {
                let [a, p, n] = self.sides(ctx, batch)?;
                let (margin, distance) = (self.config.margin, self.config.distance);
                self.at_widths(&[&a, &p, &n], |x| loss::triplet(&x[0], &x[1], &x[2], margin, distance))
            }
            LossKind::MultipleNegatives => self.multiple_negatives(ctx, batch),
            LossKind::Simcse => self.simcse(ctx, batch),
            LossKind::Distillation => self.distillation(ctx, batch),
        }
    }

    fn evaluate(&self) -> Result<Score> {
        let result = evaluate(&self.built.model, self.dev, &Options::default())?;
        let score = Score {
            main: result.spearman.unwrap_or(f64::NAN),
            name: "spearman".into(),
            details: result.to_json(),
        };
        if let Ok(mut last) = self.last.lock() {
            *last = Some(result);
        }
        Ok(score)
    }

    fn save(&self, dir: &Path) -> Result<()> {
        let evaluation = self.last.lock().ok().and_then(|last| last.clone());
        super::folder::save(dir, self.built, self.task, self.config, evaluation.as_ref())
    }

    fn fingerprint(&self) -> String {
        self.data.clone()
    }
}

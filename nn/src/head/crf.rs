//! Conditional random field: one score per tag and per pair of neighbouring tags, normalised over
//! all tag sequences.
//! Definition:  score(y) = start[y_1] + sum f_t[y_t] + sum g[y_{t-1}, y_t] + end[y_n]; loss = log Z - score
//! Shapes:      hidden [T, D] -> emissions f [T, C]; transitions g [C, C] (from, to)
//! Loss:        mean over sequences that have tokens.  Cost O(T C^2), serial in the longest sequence
//! Reference:   Lafferty et al., 2001.                 Vectors: memm-crf.json

use bert4rs_tensor::op::crf::{Transitions, crf_best_path, crf_loss, crf_marginals};
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use super::tag::{TagHeadConfig, check_labels, emission_layer, restrict};
use super::tags::Constraints;
use crate::block::Linear;
use crate::{Builder, Ctx, Error, Init, Result};

/// The head.
pub struct Crf {
    dense: Linear,
    transitions: Parameter,
    ends: Option<(Parameter, Parameter)>,
    lr_multiplier: f64,
    constraints: Option<Constraints>,
    tags: usize,
}

/// Scores between tags as they are used.
struct Scores {
    between: Tensor,
    ends: Option<(Tensor, Tensor)>,
}

impl Scores {
    fn view(&self) -> Transitions<'_> {
        Transitions { between: &self.between, ends: self.ends.as_ref().map(|(s, e)| (s, e)) }
    }

    fn detach(&self) -> Self {
        let ends = self.ends.as_ref().map(|(s, e)| (s.detach(), e.detach()));
        Self { between: self.between.detach(), ends }
    }
}

impl Crf {
    /// Parameters `dense.weight [C, D]`, `dense.bias`, `transitions [C, C]` and, if wanted,
    /// `start_transitions` and `end_transitions`, all transitions at 0.
    pub fn new(
        builder: &mut Builder,
        hidden_size: usize,
        config: &TagHeadConfig,
        constraints: Option<Constraints>,
    ) -> Result<Self> {
        config.check(constraints.as_ref())?;
        let tags = config.tags;
        let dense = emission_layer(builder, hidden_size, tags)?;
        let mut scores = |name, shape: &[usize]| {
            builder.parameter(name, shape, ParameterKind::Bias, Init::Zeros) // no weight decay
        };
        let transitions = scores("transitions", &[tags, tags])?;
        let ends = match config.start_end {
            true => Some((scores("start_transitions", &[tags])?, scores("end_transitions", &[tags])?)),
            false => None,
        };
        Ok(Self { dense, transitions, ends, lr_multiplier: config.lr_multiplier, constraints, tags })
    }

    fn scores(&self, ctx: &Ctx) -> Result<Scores> {
        let used = |p: &Parameter| ctx.value(p).mul_scalar(self.lr_multiplier);
        let mut between = used(&self.transitions)?;
        let mut ends = match &self.ends {
            Some((start, end)) => Some((used(start)?, used(end)?)),
            None => None,
        };
        if let Some(allowed) = &self.constraints {
            between = restrict(&between, &allowed.between)?;
            let free = Tensor::zeros(&[self.tags], between.dtype());
            let (start, end) = ends.unwrap_or((free.clone(), free));
            ends = Some((restrict(&start, &allowed.start)?, restrict(&end, &allowed.end)?));
        }
        Ok(Scores { between, ends })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.dense.prepare(precision)
    }

    /// Mean over sequences of `log Z - score(labels)`, `labels [T]`; 0 for an empty batch.
    pub fn loss(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed, labels: &[usize]) -> Result<Tensor> {
        check_labels(labels, self.tags, batch)?;
        if let Some(constraints) = &self.constraints {
            for b in 0..batch.sequences() {
                if let Some((t, why)) = constraints.violation(&labels[batch.range(b)]) {
                    return Err(Error::Input(format!("labels of sequence {b}, token {t}: {why}")));
                }
            }
        }
        let emissions = self.dense.forward(ctx, hidden)?; // [T, C]
        let losses = crf_loss(&emissions, self.scores(ctx)?.view(), labels, batch)?; // [B]
        let count = (0..batch.sequences()).filter(|&b| batch.length(b) > 0).count();
        Ok(losses.sum_all()?.mul_scalar(1.0 / count.max(1) as f64)?)
    }

    /// The best tags of every sequence (Viterbi; ties go to the lowest tag).
    pub fn decode(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed) -> Result<Vec<Vec<usize>>> {
        Ok(self.decode_scored(ctx, hidden, batch)?.into_iter().map(|(tags, _)| tags).collect())
    }

    /// The best tags of every sequence with their score.
    pub fn decode_scored(
        &self,
        ctx: &mut Ctx,
        hidden: &Tensor,
        batch: &Packed,
    ) -> Result<Vec<(Vec<usize>, f64)>> {
        let emissions = self.dense.forward(ctx, hidden)?.detach();
        Ok(crf_best_path(&emissions, self.scores(ctx)?.detach().view(), batch)?)
    }

    /// `P(y_t = c)` of every token, `[T, C]`; no gradient.
    pub fn marginals(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed) -> Result<Tensor> {
        let emissions = self.dense.forward(ctx, hidden)?.detach();
        Ok(crf_marginals(&emissions, self.scores(ctx)?.detach().view(), batch)?)
    }
}

//! Linear-chain conditional random field: loss, marginals, best path.
//! Definition:  score(y) = start[y_1] + sum f_t[y_t] + sum g[y_{t-1}, y_t] + end[y_n]; loss = log Z - score
//! Shapes:      emissions [T, C], transitions [C, C] (from, to), start and end [C] -> loss [B]
//! Gradient:    fused, forward-backward.  Cost O(T C^2), serial in the longest sequence
//! Reference:   Lafferty et al., 2001.                 Vectors: memm-crf.json

use bert4rs_kernels::crf as kernel;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Packed, Result, Tensor};

/// Scores between tags; `-inf` forbids.
#[derive(Clone, Copy)]
pub struct Transitions<'a> {
    /// From the previous tag (row) to the next (column), `[C, C]`.
    pub between: &'a Tensor,
    /// Scores of the first and of the last tag, `[C]` each.
    pub ends: Option<(&'a Tensor, &'a Tensor)>,
}

impl Transitions<'_> {
    fn refuse_gradient(&self, op: &'static str, emissions: &Tensor) -> Result<()> {
        let ends = self.ends.into_iter().flat_map(<[&Tensor; 2]>::from);
        [emissions, self.between].into_iter().chain(ends).try_for_each(|x| x.refuse_gradient(op))
    }

    fn check(&self, op: &'static str, emissions: &Tensor, batch: &Packed) -> Result<usize> {
        let &[tokens, tags] = emissions.shape() else {
            return Error::shape(op, format!("emissions {:?}: expected [T, C]", emissions.shape()));
        };
        let ends_fit = self.ends.is_none_or(|(s, e)| s.shape() == [tags] && e.shape() == [tags]);
        if tokens != batch.tokens() || self.between.shape() != [tags, tags] || !ends_fit || tags == 0 {
            return Error::shape(
                op,
                format!(
                    "emissions {:?}, transitions {:?}, {} packed tokens do not fit",
                    emissions.shape(),
                    self.between.shape(),
                    batch.tokens()
                ),
            );
        }
        Ok(tags)
    }
}

/// Runs `$body` with `$crf` bound to the kernel's view of the tensors.
macro_rules! with_kernel {
    ($T:ident, $batch:expr, $tags:expr, $between:expr, $ends:expr, $crf:ident => $body:expr) => {{
        let (start, end) = match $ends {
            Some((s, e)) => (Some(s.values::<$T>()?), Some(e.values::<$T>()?)),
            None => (None, None),
        };
        let $crf = kernel::Crf {
            offsets: $batch.offsets(),
            tags: $tags,
            transitions: $between.values::<$T>()?,
            start,
            end,
        };
        $body
    }};
}

/// `log Z - score` of the gold `labels [T]`, per sequence; 0 for an empty one.
pub fn crf_loss(
    emissions: &Tensor,
    transitions: Transitions,
    labels: &[usize],
    batch: &Packed,
) -> Result<Tensor> {
    let tags = transitions.check("crf_loss", emissions, batch)?;
    if labels.len() != batch.tokens() {
        return Error::shape("crf_loss", format!("{} labels for {} tokens", labels.len(), batch.tokens()));
    }
    if let Some((t, label)) = labels.iter().enumerate().find(|(_, l)| **l >= tags) {
        return Error::value("crf_loss", format!("label {label} at token {t} of {tags} tags"));
    }
    let loss = float!("crf_loss", emissions, T => {
        let mut loss = unset::<T>(batch.sequences());
        with_kernel!(T, batch, tags, transitions.between, transitions.ends, crf => {
            kernel::forward(&crf, emissions.values::<T>()?, labels, &mut loss);
        });
        if let Some(b) = loss.iter().position(|l| !l.is_finite()) {
            return Error::value("crf_loss", format!("the gold labels of sequence {b} are forbidden by the transitions, or its scores are not finite"));
        }
        Ok::<_, Error>(Storage::from(loss))
    })?;
    let mut inputs = vec![emissions, transitions.between];
    if let Some((start, end)) = transitions.ends {
        inputs.extend([start, end]);
    }
    let (labels, batch) = (labels.to_vec(), batch.clone());
    let sequences = batch.sequences();
    Ok(Tensor::made("crf_loss", true, loss, vec![sequences], &inputs, move |step| {
        let emissions = &step.inputs[0];
        let ends = step.inputs.get(2).zip(step.inputs.get(3));
        float!("crf_loss", emissions, T => {
            let mut d_f = unset::<T>(emissions.elements());
            let (mut d_g, mut d_s, mut d_e) = (unset::<T>(tags * tags), unset::<T>(tags), unset::<T>(tags));
            with_kernel!(T, batch, tags, step.inputs[1], ends, crf => {
                let d_ends = if ends.is_some() { Some((&mut d_s[..], &mut d_e[..])) } else { None };
                kernel::backward(&crf, emissions.values::<T>()?, &labels, step.grad.values()?, &mut d_f, &mut d_g, d_ends);
            });
            let mut grads = vec![
                Some(Tensor::constant(Storage::from(d_f), emissions.shape().to_vec())),
                Some(Tensor::constant(Storage::from(d_g), vec![tags, tags])),
            ];
            if ends.is_some() {
                grads.extend([d_s, d_e].map(|d| Some(Tensor::constant(Storage::from(d), vec![tags]))));
            }
            Ok(grads)
        })
    }))
}

/// `P(y_t = c)` of every token, `[T, C]`; no gradient.
pub fn crf_marginals(emissions: &Tensor, transitions: Transitions, batch: &Packed) -> Result<Tensor> {
    transitions.refuse_gradient("crf_marginals", emissions)?;
    let tags = transitions.check("crf_marginals", emissions, batch)?;
    let storage = float!("crf_marginals", emissions, T => {
        let mut out = unset::<T>(emissions.elements());
        with_kernel!(T, batch, tags, transitions.between, transitions.ends, crf => {
            kernel::marginals(&crf, emissions.values::<T>()?, &mut out);
        });
        Ok::<_, Error>(Storage::from(out))
    })?;
    Ok(Tensor::constant(storage, emissions.shape().to_vec()))
}

/// The best tags and their score, per sequence (Viterbi; ties go to the lowest tag); no gradient.
pub fn crf_best_path(
    emissions: &Tensor,
    transitions: Transitions,
    batch: &Packed,
) -> Result<Vec<(Vec<usize>, f64)>> {
    transitions.refuse_gradient("crf_best_path", emissions)?;
    let tags = transitions.check("crf_best_path", emissions, batch)?;
    float!("crf_best_path", emissions, T => {
        with_kernel!(T, batch, tags, transitions.between, transitions.ends, crf => {
            let paths = kernel::viterbi(&crf, emissions.values::<T>()?);
            Ok(paths.into_iter().map(|(path, score)| (path, bert4rs_kernels::Real::to_f64(score))).collect())
        })
    })
}

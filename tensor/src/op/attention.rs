//! Scaled dot-product attention over a packed batch, several heads at once.
//! Definition:  out_i = sum_j softmax_j(scale <q_i, k_j>) v_j over the tokens the mask lets i see
//! Shapes:      q, k, v, out [T, H K].  Cost O(sum over sequences of L^2 H K), memory O(T)
//! Gradient:    fused; probabilities are recomputed from one log-sum-exp per row and head
//! Numerics:    dropout acts on probabilities, its mask is recomputed from the seed

use std::sync::Arc;

use bert4rs_kernels::attention as kernel;
use bert4rs_kernels::random::Dropout;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Packed, Result, Tensor};

/// Which tokens of its own sequence a token sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All of them (BERT).
    Full,
    /// Itself and those before it (GPT).
    Causal,
    /// UniLM: the first `n[b]` tokens of sequence `b` see each other, later tokens see what is
    /// before them.
    Prefix(Arc<Vec<usize>>),
}

impl Mask {
    fn view(&self) -> kernel::Mask<'_> {
        match self {
            Mask::Full => kernel::Mask::Full,
            Mask::Causal => kernel::Mask::Causal,
            Mask::Prefix(n) => kernel::Mask::Prefix(n),
        }
    }
}

/// How to attend.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Heads that share the last axis.
    pub heads: usize,
    /// Factor of the inner products, usually `1 / sqrt(K)`.
    pub scale: f64,
    /// Which tokens are seen.
    pub mask: Mask,
    /// Dropout of probabilities: rate and seed.
    pub dropout: Option<(f64, u64)>,
}

/// Attention of `q, k, v [T, H K]`; see the head of this file.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, batch: &Packed, how: &Attention) -> Result<Tensor> {
    let &[tokens, width] = q.shape() else {
        return Error::shape("attention", format!("q {:?}: expected [T, H K]", q.shape()));
    };
    if k.shape() != q.shape()
        || v.shape() != q.shape()
        || tokens != batch.tokens()
        || how.heads == 0
        || width % how.heads != 0
    {
        return Error::shape(
            "attention",
            format!(
                "q {:?}, k {:?}, v {:?}, {} heads, {} packed tokens do not fit",
                q.shape(),
                k.shape(),
                v.shape(),
                how.heads,
                batch.tokens()
            ),
        );
    }
    if let Mask::Prefix(n) = &how.mask
        && n.len() != batch.sequences()
    {
        return Error::shape(
            "attention",
            format!("{} prefix lengths for {} sequences", n.len(), batch.sequences()),
        );
    }
    if let Some((rate, _)) = how.dropout
        && !(0.0..1.0).contains(&rate)
    {
        return Error::value("attention", format!("dropout rate {rate} is outside 0..1"));
    }
    let keep = [q, k, v].iter().any(|x| x.is_tracked());
    let rows = if keep { tokens } else { 0 };
    let (storage, lse) = float!("attention", q, T => {
        let (mut out, mut lse) = (unset::<T>(tokens * width), unset::<T>(rows * how.heads));
        let kernel = settings(how, batch, width);
        kernel::forward(&kernel, q.values::<T>()?, k.values()?, v.values()?, &mut out, &mut lse);
        Ok::<_, Error>((Storage::from(out), Storage::from(lse)))
    })?;
    let lse = Tensor::constant(lse, vec![rows, how.heads]);
    let (how, batch) = (how.clone(), batch.clone());
    Ok(Tensor::made("attention", true, storage, vec![tokens, width], &[q, k, v], move |step| {
        float!("attention", step.grad, T => {
            let mut grads = [0, 1, 2].map(|_| unset::<T>(tokens * width));
            let [dq, dk, dv] = &mut grads;
            let [q, k, v] = [0, 1, 2].map(|i| step.inputs[i].values::<T>());
            let (out, d_out) = (step.output.values()?, step.grad.values()?);
            kernel::backward(&settings(&how, &batch, width), q?, k?, v?, out, lse.values()?, d_out, dq, dk, dv);
            Ok(grads.map(|g| Some(Tensor::constant(Storage::from(g), vec![tokens, width]))).into())
        })
    }))
}

fn settings<'a>(how: &'a Attention, batch: &'a Packed, width: usize) -> kernel::Attention<'a> {
    kernel::Attention {
        heads: how.heads,
        key_size: width / how.heads,
        scale: how.scale,
        offsets: batch.offsets(),
        mask: how.mask.view(),
        dropout: how.dropout.filter(|(rate, _)| *rate > 0.0).map(|(rate, seed)| Dropout::new(rate, seed)),
    }
}

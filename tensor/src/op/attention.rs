//! Scaled dot-product attention over a packed batch, several heads at once.
//! Definition:  out_i = sum_j softmax_j(scale <q_i, k_j>) v_j over the tokens the mask lets i see
//! Shapes:      q, k, v, out [T, H K].  Cost O(sum over sequences of L^2 H K), memory O(T)
//! Gradient:    fused; probabilities are recomputed from one log-sum-exp per row and head
//! Numerics:    dropout acts on probabilities, its mask is recomputed from the seed

use std::sync::Arc;

use bert4rs_kernels::Real;
use bert4rs_kernels::attention::{self as kernel, Gradients, Rows};
use bert4rs_kernels::random::Dropout;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Element, Error, Packed, Result, Tensor};

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
    if k.shape() != q.shape() || v.shape() != q.shape() {
        let (q, k, v) = (q.shape(), k.shape(), v.shape());
        return Error::shape("attention", format!("q {q:?}, k {k:?}, v {v:?} do not fit"));
    }
    attend(&[q, k, v], [tokens, width], batch, how)
}

/// As [`attention`], queries, keys and values side by side in `x [T, 3 H K]`: the result of one product.
pub fn joint_attention(x: &Tensor, batch: &Packed, how: &Attention) -> Result<Tensor> {
    match x.shape() {
        &[tokens, three] if three % 3 == 0 => attend(&[x], [tokens, three / 3], batch, how),
        other => Error::shape("attention", format!("x {other:?}: expected [T, 3 H K]")),
    }
}

/// Of one joint operand, or of three.
fn attend(
    operands: &[&Tensor],
    [tokens, width]: [usize; 2],
    batch: &Packed,
    how: &Attention,
) -> Result<Tensor> {
    check([tokens, width], batch, how)?;
    let keep = operands.iter().any(|x| x.is_tracked());
    let rows = if keep { tokens } else { 0 };
    let (storage, lse) = float!("attention", operands[0], T => {
        let (mut out, mut lse) = (unset::<T>(tokens * width), unset::<T>(rows * how.heads));
        let inputs = inputs::<T>(operands, width)?;
        kernel::forward(&settings(how, batch, width), inputs, &mut out, &mut lse);
        Ok::<_, Error>((Storage::from(out), Storage::from(lse)))
    })?;
    let lse = Tensor::constant(lse, vec![rows, how.heads]);
    let (how, batch) = (how.clone(), batch.clone());
    Ok(Tensor::made("attention", true, storage, vec![tokens, width], operands, move |step| {
        float!("attention", step.grad, T => {
            let operands: Vec<&Tensor> = step.inputs.iter().collect();
            let inputs = inputs::<T>(&operands, width)?;
            let how = settings(&how, &batch, width);
            let (out, lse, d_out) = (step.output.values()?, lse.values()?, step.grad.values()?);
            let done = |d, width| Some(Tensor::constant(Storage::from(d), vec![tokens, width]));
            if operands.len() == 1 {
                let mut d = unset::<T>(3 * tokens * width);
                kernel::backward(&how, inputs, out, lse, d_out, Gradients::Joint(&mut d));
                return Ok(vec![done(d, 3 * width)]);
            }
            let mut grads = [0, 1, 2].map(|_| unset::<T>(tokens * width));
            let slices = grads.each_mut().map(|d| &mut d[..]);
            kernel::backward(&how, inputs, out, lse, d_out, Gradients::Apart(slices));
            Ok(grads.map(|d| done(d, width)).into())
        })
    }))
}

fn check([tokens, width]: [usize; 2], batch: &Packed, how: &Attention) -> Result<()> {
    if tokens != batch.tokens() || how.heads == 0 || width % how.heads != 0 {
        let (heads, packed) = (how.heads, batch.tokens());
        let message = format!("q [{tokens}, {width}], {heads} heads and {packed} packed tokens do not fit");
        return Error::shape("attention", message);
    }
    if let Mask::Prefix(n) = &how.mask
        && n.len() != batch.sequences()
    {
        let message = format!("{} prefix lengths for {} sequences", n.len(), batch.sequences());
        return Error::shape("attention", message);
    }
    match how.dropout {
        Some((rate, _)) if !(0.0..1.0).contains(&rate) => {
            Error::value("attention", format!("dropout rate {rate} is outside 0..1"))
        }
        _ => Ok(()),
    }
}

/// Queries, keys and values of one joint operand, or of three.
fn inputs<'a, T: Element + Real>(operands: &[&'a Tensor], width: usize) -> Result<[Rows<'a, T>; 3]> {
    match operands {
        &[q, k, v] => {
            let rows = |x: &'a Tensor| Ok::<_, Error>(Rows { data: x.values::<T>()?, stride: width });
            Ok([rows(q)?, rows(k)?, rows(v)?])
        }
        joint => Ok(Rows::joint(joint[0].values::<T>()?, width)),
    }
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

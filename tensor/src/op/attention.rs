//! Scaled dot-product attention over a packed batch, several heads at once.
//! Definition:  out_i = sum_j softmax_j(scale <q_i, k_j> + bias[h, j - i]) v_j over the tokens that the
//!              mask and the window let i see
//! Shapes:      q, k [T, H K]; v, out [T, H V]; bias [H, 2 S - 1], the middle column is distance 0; k, v
//!              [M, ..] where each sequence sees keys of other tokens, such as those of another text.
//!              Cost O(sum over sequences of L W H K), W = L or the keys of the window, memory O(T)
//! Gradient:    fused; probabilities are recomputed from one log-sum-exp per row and head
//! Numerics:    dropout acts on probabilities, its mask is recomputed from the seed

use std::sync::Arc;

use bert4rs_kernels::Real;
use bert4rs_kernels::attention::{self as kernel, DistanceBias, Gradients, Rows};
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
    /// Largest distance of a token that is seen, if there is one.
    pub window: Option<usize>,
    /// Added to scaled scores by head and distance `j - i` of key and query: `[H, 2 S - 1]` for
    /// distances below `S`, which is at least the longest sequence.
    pub bias: Option<Tensor>,
    /// Dropout of probabilities: rate and seed.
    pub dropout: Option<(f64, u64)>,
    /// Where keys and values of each sequence begin and end, if not where its queries do. Masks, windows and
    /// biases take the queries of a sequence for the last of its keys.
    pub keys: Option<Packed>,
}

impl Attention {
    /// Without dropout, window and bias, for keys of the same tokens.
    pub fn new(heads: usize, scale: f64, mask: Mask) -> Self {
        Self { heads, scale, mask, window: None, bias: None, dropout: None, keys: None }
    }
}

/// Attention of `q, k [T, H K]` and `v [T, H V]`; see the head of this file.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, batch: &Packed, how: &Attention) -> Result<Tensor> {
    let (&[tokens, keys], &[rows, values]) = (q.shape(), v.shape()) else {
        let (q, v) = (q.shape(), v.shape());
        return Error::shape("attention", format!("q {q:?}, v {v:?}: expected [T, H K] and [T, H V]"));
    };
    if k.shape() != [rows, keys] || rows != how.keys.as_ref().unwrap_or(batch).tokens() {
        let (q, k, v) = (q.shape(), k.shape(), v.shape());
        return Error::shape("attention", format!("q {q:?}, k {k:?}, v {v:?} do not fit"));
    }
    attend(&[q, k, v], tokens, [keys, keys, values], batch, how)
}

/// As [`attention`], queries, keys and values side by side in `x [T, 2 H K + H V]`, the result of one
/// product; `key_size` is `K`.
pub fn joint_attention(x: &Tensor, key_size: usize, batch: &Packed, how: &Attention) -> Result<Tensor> {
    let keys = how.heads * key_size;
    if how.keys.is_some() {
        return Error::value("attention", "keys of other tokens do not stand beside queries");
    }
    match x.shape() {
        &[tokens, width] if width >= 2 * keys => {
            attend(&[x], tokens, [keys, keys, width - 2 * keys], batch, how)
        }
        other => {
            let message = format!("x {other:?}: expected [T, 2 H K + H V], H K = {keys}");
            Error::shape("attention", message)
        }
    }
}

/// Of one joint operand, or of three.
fn attend(
    operands: &[&Tensor],
    tokens: usize,
    widths: [usize; 3],
    batch: &Packed,
    how: &Attention,
) -> Result<Tensor> {
    check(tokens, widths, batch, how)?;
    let (width, rows_of_keys) = (widths[2], how.keys.as_ref().unwrap_or(batch).tokens());
    let count = operands.len();
    let all: Vec<&Tensor> = operands.iter().copied().chain(&how.bias).collect();
    let keep = all.iter().any(|x| x.is_tracked());
    let rows = if keep { tokens } else { 0 };
    let (storage, lse) = float!("attention", operands[0], T => {
        let (mut out, mut lse) = (unset::<T>(tokens * width), unset::<T>(rows * how.heads));
        let inputs = inputs::<T>(operands, widths)?;
        let bias = how.bias.as_ref().map(bias::<T>).transpose()?;
        kernel::forward(&settings(how, batch, widths), inputs, bias, &mut out, &mut lse);
        Ok::<_, Error>((Storage::from(out), Storage::from(lse)))
    })?;
    let lse = Tensor::constant(lse, vec![rows, how.heads]);
    let (how, batch) = (Attention { bias: None, ..how.clone() }, batch.clone());
    Ok(Tensor::made("attention", true, storage, vec![tokens, width], &all, move |step| {
        float!("attention", step.grad, T => {
            let operands: Vec<&Tensor> = step.inputs[..count].iter().collect();
            let inputs = inputs::<T>(&operands, widths)?;
            let how = settings(&how, &batch, widths);
            let (out, lse, d_out) = (step.output.values()?, lse.values()?, step.grad.values()?);
            let added = step.inputs.get(count);
            let mut d_bias = unset::<T>(added.map_or(0, |bias| bias.elements()));
            let bias = added.map(bias::<T>).transpose()?.map(|bias| (bias, &mut d_bias[..]));
            let done = |d, shape: [usize; 2]| Some(Tensor::constant(Storage::from(d), shape.to_vec()));
            let mut grads = if count == 1 {
                let width = widths.iter().sum();
                let mut d = unset::<T>(tokens * width);
                kernel::backward(&how, inputs, out, lse, d_out, bias, Gradients::Joint(&mut d));
                vec![done(d, [tokens, width])]
            } else {
                let [query, key, value] = widths;
                let shapes = [[tokens, query], [rows_of_keys, key], [rows_of_keys, value]];
                let mut d = shapes.map(|[rows, width]| unset::<T>(rows * width));
                let slices = d.each_mut().map(|d| &mut d[..]);
                kernel::backward(&how, inputs, out, lse, d_out, bias, Gradients::Apart(slices));
                d.into_iter().zip(shapes).map(|(d, shape)| done(d, shape)).collect()
            };
            grads.extend(added.map(|b| Some(Tensor::constant(Storage::from(d_bias), b.shape().to_vec()))));
            Ok(grads)
        })
    }))
}

fn bias<T: Element + Real>(bias: &Tensor) -> Result<DistanceBias<'_, T>> {
    let span = bias.shape().last().copied().unwrap_or(0).div_ceil(2);
    Ok(DistanceBias { values: bias.values::<T>()?, span })
}

fn check(tokens: usize, [keys, _, values]: [usize; 3], batch: &Packed, how: &Attention) -> Result<()> {
    if tokens != batch.tokens() || how.heads == 0 || keys % how.heads != 0 || values % how.heads != 0 {
        let (heads, packed) = (how.heads, batch.tokens());
        let message = format!(
            "q [{tokens}, {keys}], v [.., {values}], {heads} heads and {packed} packed tokens do not fit"
        );
        return Error::shape("attention", message);
    }
    let of_keys = how.keys.as_ref().unwrap_or(batch);
    if of_keys.sequences() != batch.sequences() {
        let (keys, queries) = (of_keys.sequences(), batch.sequences());
        return Error::shape("attention", format!("keys of {keys} sequences for queries of {queries}"));
    }
    let is_free = how.mask == Mask::Full && how.window.is_none() && how.bias.is_none();
    if let Some(b) = (0..batch.sequences()).find(|&b| !is_free && batch.length(b) > of_keys.length(b)) {
        let (queries, keys) = (batch.length(b), of_keys.length(b));
        let message =
            format!("sequence {b} has {queries} queries and {keys} keys under a mask, window or bias");
        return Error::shape("attention", message);
    }
    let longest = of_keys.longest();
    if let Some(bias) = &how.bias
        && !matches!(bias.shape(), &[heads, columns]
            if heads == how.heads && columns % 2 == 1 && columns.div_ceil(2) >= longest)
    {
        let (shape, heads) = (bias.shape(), how.heads);
        let message = format!("bias {shape:?}: expected [{heads}, 2 S - 1], S at least {longest}");
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
fn inputs<'a, T: Element + Real>(operands: &[&'a Tensor], widths: [usize; 3]) -> Result<[Rows<'a, T>; 3]> {
    match operands {
        &[q, k, v] => {
            let rows = |x: &'a Tensor, stride| Ok::<_, Error>(Rows { data: x.values::<T>()?, stride });
            Ok([rows(q, widths[0])?, rows(k, widths[1])?, rows(v, widths[2])?])
        }
        joint => Ok(Rows::joint(joint[0].values::<T>()?, widths)),
    }
}

fn settings<'a>(how: &'a Attention, batch: &'a Packed, widths: [usize; 3]) -> kernel::Attention<'a> {
    kernel::Attention {
        heads: how.heads,
        key_size: widths[0] / how.heads,
        value_size: widths[2] / how.heads,
        scale: how.scale,
        offsets: batch.offsets(),
        keys: how.keys.as_ref().map(Packed::offsets),
        mask: how.mask.view(),
        window: how.window,
        dropout: how.dropout.filter(|(rate, _)| *rate > 0.0).map(|(rate, seed)| Dropout::new(rate, seed)),
    }
}

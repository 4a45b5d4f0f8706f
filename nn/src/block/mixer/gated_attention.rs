//! Gated attention unit: one head between gates, in place of attention and feed-forward part.
//! Definition:  [u, v, z] = silu(x W_i + b_i);  q, k = rope(z g_q + c_q), rope(z g_k + c_k);
//!              a = q k^T / sqrt(s);  y = (u * weights(a) v) W_o + b_o
//! Shapes:      x [T, D], u, v [T, size], z [T, s] -> [T, D].  Cost O(T D size + T L (s + size))
//! Numerics:    scores and weights of one text at a time; what is not seen weighs exactly 0
//! Reference:   Hua et al., Transformer quality in linear time, 2022; Su, GAU-alpha, 2022.
//!              Vectors: flash-gau.json

use bert4rs_tensor::op::Activation;
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::per_text::per_text;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Error as TensorError, Packed, Parameter, ParameterKind, Tensor};

use super::mixed_chunk::{Operands, mixed_chunk};
use super::visible::{masked, visible};
use crate::block::{Linear, Sight, Surroundings, Watch};
use crate::encoder::GatedWeights;
use crate::{Builder, Ctx, Init, Result};

/// What a gated attention unit is made of.
#[derive(Clone, Copy, Debug)]
pub struct GatedAttentionShape {
    /// Width of the gates.
    pub size: usize,
    /// Width of queries and keys.
    pub key_size: usize,
    /// How scores become weights.
    pub weights: GatedWeights,
    /// Tokens of a chunk, with sums between chunks.
    pub chunk: Option<usize>,
    /// Dropout of weights.
    pub dropout: f64,
}

/// The unit.
#[derive(Clone)]
pub struct GatedAttention {
    input: Linear,
    query: Affine,
    key: Affine,
    /// Queries and keys of the sums between chunks.
    linear: Option<[Affine; 2]>,
    output: Linear,
    shape: GatedAttentionShape,
}

/// A gain per channel, and a shift where the encoder has biases.
#[derive(Clone)]
struct Affine {
    gain: Parameter,
    shift: Option<Parameter>,
}

impl Affine {
    fn new(mut builder: Builder, size: usize, bias: bool) -> Result<Self> {
        let gain = builder.parameter("weight", &[size], ParameterKind::NormGain, Init::Ones)?;
        let mut shift = || builder.parameter("bias", &[size], ParameterKind::NormShift, Init::Zeros);
        Ok(Self { gain, shift: bias.then(&mut shift).transpose()? })
    }

    fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let x = x.mul(&ctx.value(&self.gain))?;
        match &self.shift {
            None => Ok(x),
            Some(shift) => Ok(x.add(&ctx.value(shift))?),
        }
    }
}

impl GatedAttention {
    /// Named as in GAU-alpha's files: `gau.i_dense`, `gau.q_scaleoffset`, `gau.k_scaleoffset`,
    /// `gau.o_dense`; with chunks also `gau.linear_q_scaleoffset` and `gau.linear_k_scaleoffset`.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        shape: GatedAttentionShape,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let GatedAttentionShape { size, key_size, .. } = shape;
        let mut at = builder.at("gau");
        let input = Linear::new(&mut at.at("i_dense"), width, 2 * size + key_size, bias, init)?;
        let mut affine = |name: &str| Affine::new(at.at(format!("{name}_scaleoffset")), key_size, bias);
        let (query, key) = (affine("q")?, affine("k")?);
        let linear = match shape.chunk {
            None => None,
            Some(_) => Some([affine("linear_q")?, affine("linear_k")?]),
        };
        let output = Linear::new(&mut at.at("o_dense"), size, width, bias, init)?;
        Ok(Self { input, query, key, linear, output, shape })
    }

    /// Arranges the weights of both products for inference.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.input.prepare(precision)?;
        self.output.prepare(precision)
    }

    /// The result plus `residual`.
    pub fn forward(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        around: &Surroundings,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let GatedAttentionShape { size, key_size, weights, chunk, dropout } = self.shape;
        let all = self.input.forward_with(ctx, x, Some(Activation::Silu), None)?; // [T, 2 size + s]
        let (u, v) = (all.narrow(-1, 0, size)?, all.narrow(-1, size, size)?);
        let z = all.narrow(-1, 2 * size, key_size)?;
        let turned = |part: &Affine, queries: bool| {
            let x = part.forward(ctx, &z)?; // [T, s]
            match &around.rotation {
                None => Ok(x),
                Some(rotation) if queries => rotation.turn_queries(&x, 1),
                Some(rotation) => rotation.turn(&x, 1),
            }
        };
        let (q, k) = (turned(&self.query, true)?, turned(&self.key, false)?);
        let gathered = match (&self.linear, chunk) {
            (Some([linear_q, linear_k]), Some(chunk)) => {
                let (q_linear, k_linear) = (turned(linear_q, true)?, turned(linear_k, false)?);
                let operands = Operands { q: &q, k: &k, q_linear: &q_linear, k_linear: &k_linear, v: &v };
                mixed_chunk(operands, around.batch, chunk, *around.mask == Mask::Causal)?
            }
            (Some(_), None) | (None, _) => {
                if let Some(watch) = around.watch {
                    show(&q, &k, around, weights, watch)?;
                }
                let drop = ctx.seed(dropout).map(|seed| (dropout, seed));
                gather(&q, &k, &v, around.batch, around.mask, weights, drop)?
            }
        };
        self.output.forward_with(ctx, &u.mul(&gathered)?, None, residual)
    }
}

/// Shows the weights of every text, as [`gather`] makes them.
fn show(q: &Tensor, k: &Tensor, around: &Surroundings, how: GatedWeights, watch: &Watch) -> Result<()> {
    let batch = around.batch;
    for text in (0..batch.sequences()).filter(|&b| batch.length(b) > 0) {
        let rows = |x: &Tensor| x.narrow(0, batch.offsets()[text], batch.length(text));
        let a = weigh(&scores(&rows(q)?, &rows(k)?)?, how, around.mask, text)?; // [n, n]
        watch(Sight::Weights { text, weights: &a.reshape(&[1, a.shape()[0], a.shape()[1]])? })?;
    }
    Ok(())
}

/// `q k^T / sqrt(s)` of a text, `[n, n]`.
fn scores(q: &Tensor, k: &Tensor) -> std::result::Result<Tensor, TensorError> {
    q.matmul_t(k)?.mul_scalar((q.shape()[1] as f64).sqrt().recip())
}

/// `weights(q k^T / sqrt(s)) v` of every text, `[T, size]`; `drop` is the rate and seed of a dropout of
/// weights.
pub fn gather(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    batch: &Packed,
    mask: &Mask,
    weights: GatedWeights,
    drop: Option<(f64, u64)>,
) -> Result<Tensor> {
    let width = v.shape().last().copied().unwrap_or(0);
    let mask = mask.clone();
    Ok(per_text(&[q, k, v], &[], batch, width, move |b, x, _| {
        let mut a = weigh(&scores(&x[0], &x[1])?, weights, &mask, b)?; // [n, n]
        if let Some((rate, seed)) = drop {
            a = a.dropout(rate, seed.wrapping_add(b as u64))?;
        }
        a.matmul(&x[2])
    })?)
}

/// The weights of scores `[n, n]` of text `b`.
pub fn weigh(
    scores: &Tensor,
    weights: GatedWeights,
    mask: &Mask,
    b: usize,
) -> std::result::Result<Tensor, TensorError> {
    let (n, dtype) = (scores.shape()[0], scores.dtype());
    let seen = if *mask == Mask::Full { None } else { Some(visible(mask, b, n, dtype)?) };
    // How many tokens each row sees, [n, 1] or one number for all.
    let count = match &seen {
        None => Tensor::full(n as f64, &[1, 1], dtype),
        Some(seen) => seen.sum(-1, true)?,
    };
    let squares = || {
        let squares = scores.relu()?.square()?;
        match &seen {
            None => Ok(squares),
            Some(seen) => squares.mul(seen),
        }
    };
    match weights {
        GatedWeights::SquaredRelu => squares()?.div(&count),
        GatedWeights::SquaredReluFixed { length } => squares()?.mul_scalar(1.0 / length as f64),
        GatedWeights::SquaredReluSum => {
            let squares = squares()?;
            // A row without a positive score gives zeros.
            let sums = squares.sum(-1, true)?;
            let smallest = Tensor::scalar(f64::from(f32::MIN_POSITIVE), dtype);
            squares.div(&sums.maximum(&smallest)?)
        }
        GatedWeights::Softmax => masked(scores, mask, b)?.softmax(),
        GatedWeights::SoftmaxPlus => {
            let factor = |l: &f64| l.max(16.0).ln() / 512f64.ln();
            let factors: Vec<f64> = count.to_f64_vec().iter().map(factor).collect();
            let factors = Tensor::new::<f64>(factors, count.shape())?.cast(dtype)?;
            masked(&scores.mul(&factors)?, mask, b)?.softmax()
        }
    }
}

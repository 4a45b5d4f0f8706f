//! Lightweight and dynamic convolution: weighted sums over a window, one weight per head.
//! Definition:  o_i = sum_j softmax_j(w_h) x_(i + j - (k - 1) / 2), zeros outside the text; channel c
//!              is of head c H / D. Dynamic: w = x_i W. Causal: the window ends at i. As a mixer between
//!              a gated linear unit and a product
//! Shapes:      x [T, D], w [H, k] or W [H k, D] -> [T, D].  Cost O(T k D)
//! Reference:   Wu et al., Pay less attention, 2019.      Vectors: non-transformer-mixers.json

use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::op::unfold::unfold;
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use crate::block::Linear;
use crate::{Builder, Ctx, Error, Init, Result};

/// The gate, the window's weights, the product after it.
#[derive(Clone)]
pub struct LightConvolution {
    gate: Linear,
    weights: Weights,
    output: Linear,
    heads: usize,
    window: usize,
}

#[derive(Clone)]
enum Weights {
    Learned(Parameter),
    Dynamic(Linear),
}

impl LightConvolution {
    /// `convolution.gate [2 D, D]`, `convolution.weight [H, k]` or, dynamic, `convolution.window`
    /// `[H k, D]`, and `convolution.output`.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        (window, heads, dynamic): (usize, usize, bool),
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let mut at = builder.at("convolution");
        let gate = Linear::new(&mut at.at("gate"), width, 2 * width, bias, init)?;
        let weights = if dynamic {
            Weights::Dynamic(Linear::new(&mut at.at("window"), width, heads * window, false, init)?)
        } else {
            Weights::Learned(at.parameter("weight", &[heads, window], ParameterKind::Matrix, init)?)
        };
        let output = Linear::new(&mut at.at("output"), width, width, bias, init)?;
        Ok(Self { gate, weights, output, heads, window })
    }

    /// Arranges the weights of products for inference.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        if let Weights::Dynamic(product) = &mut self.weights {
            product.prepare(precision)?;
        }
        self.gate.prepare(precision)?;
        self.output.prepare(precision)
    }

    /// The result plus `residual`.
    pub fn forward(
        &self,
        ctx: &Ctx,
        x: &Tensor,
        batch: &Packed,
        causal: bool,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let width = x.shape().last().copied().unwrap_or(0);
        let both = self.gate.forward(ctx, x)?; // [T, 2 D]
        let x = both.narrow(-1, 0, width)?.mul(&both.narrow(-1, width, width)?.sigmoid()?)?;
        let logits = match &self.weights {
            Weights::Learned(weights) => ctx.value(weights), // [H, k]
            Weights::Dynamic(product) => product.forward(ctx, &x)?, // [T, H k]
        };
        let window = self.window;
        let logits = logits.reshape(&[logits.elements() / (self.heads * window), self.heads, window])?;
        let sums = light_convolution(&x, &logits, batch, causal)?;
        self.output.forward_with(ctx, &sums, None, residual)
    }
}

/// The weighted sums, by logits `[1, H, k]` for all tokens or `[T, H, k]` for each.
pub fn light_convolution(x: &Tensor, logits: &Tensor, batch: &Packed, causal: bool) -> Result<Tensor> {
    let (&[tokens, width], &[rows, heads, window]) = (x.shape(), logits.shape()) else {
        let message = format!("light convolution: x {:?}, logits {:?}", x.shape(), logits.shape());
        return Err(Error::Input(message));
    };
    let weights = logits.softmax()?.permute(&[0, 2, 1])?.reshape(&[rows, window, heads, 1])?;
    let taps = if causal {
        // The first half of a window twice as long ends at the token itself.
        unfold(x, batch, 2 * window - 1, 1)?.narrow(-1, 0, window * width)?
    } else {
        unfold(x, batch, window, 1)?
    };
    let taps = taps.reshape(&[tokens, window, heads, width / heads])?;
    Ok(taps.mul(&weights)?.sum(1, false)?.reshape(&[tokens, width])?)
}

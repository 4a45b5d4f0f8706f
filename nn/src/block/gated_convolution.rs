//! Dilated gated convolution.
//! Definition:  y = x (1 - g) + c g, c = conv(x), g = sigmoid(conv'(x)); zeros outside the sequence
//! Shapes:      x [T, D] -> [T, D].  Cost O(T window D^2)
//! Reference:   Su, a DGCNN for reading comprehension, 2018.

use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::op::unfold::unfold;
use bert4rs_tensor::{Packed, Tensor};

use super::Linear;
use crate::{Builder, Ctx, Init, Result};

/// Two convolutions as one product, and the gate between them.
#[derive(Clone)]
pub struct GatedConvolution {
    product: Linear,
    window: usize,
    dilation: usize,
}

impl GatedConvolution {
    /// `convolution.weight [2 D, window D]`: rows of `c`, then rows of `g`; column blocks from the
    /// leftmost token of the window to the rightmost.
    pub fn new(
        builder: &mut Builder,
        width: usize,
        window: usize,
        dilation: usize,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let product = Linear::new(&mut builder.at("convolution"), window * width, 2 * width, bias, init)?;
        Ok(Self { product, window, dilation })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.product.prepare(precision)
    }

    /// `x (1 - g) + c g`
    pub fn forward(&self, ctx: &Ctx, x: &Tensor, batch: &Packed) -> Result<Tensor> {
        let width = x.shape().last().copied().unwrap_or(0);
        let both = self.product.forward(ctx, &unfold(x, batch, self.window, self.dilation)?)?; // [T, 2 D]
        let (c, g) = (both.narrow(-1, 0, width)?, both.narrow(-1, width, width)?.sigmoid()?);
        Ok(x.add(&c.sub(x)?.mul(&g)?)?)
    }
}

//! Products over positions, the same for all channels: MLP-Mixer, ResMLP, feed-forward only.
//! Definition:  MLP-Mixer: W_2 gelu(W_1 x + b_1) + b_2;  ResMLP: W x + b;  feed-forward only: as
//!              MLP-Mixer, of x normalised over positions. Texts of n tokens use the first n rows and
//!              columns that stand for positions; the norm counts positions after them as zeros
//! Shapes:      x [T, D], W_1 [size, N], W_2 [N, size], W [N, N] -> [T, D], N = the longest text
//! Cost:        O(T size D), ResMLP O(T L D)
//! Reference:   Tolstikhin et al., MLP-Mixer; Touvron et al., ResMLP; Melas-Kyriazi, Do you even need
//!              attention?, all 2021.                     Vectors: non-transformer-mixers.json

use bert4rs_tensor::op::normalization::layer_norm;
use bert4rs_tensor::op::per_text::per_text;
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use crate::{Builder, Ctx, Init, Result};

const EPS: f64 = 1e-5; // of the norm over positions, as in the authors' code

/// One product over positions, or two with an activation between.
#[derive(Clone)]
pub struct PositionMixer {
    products: Vec<[Parameter; 2]>,
    /// Gain and shift of the norm over positions.
    norm: Option<[Parameter; 2]>,
    max_length: usize,
}

impl PositionMixer {
    /// ResMLP: `positions.weight [N, N]` and `positions.bias [N]`.
    pub fn linear(builder: &mut Builder, max_length: usize, init: Init) -> Result<Self> {
        let one = product(&mut builder.at("positions"), max_length, max_length, init)?;
        Ok(Self { products: vec![one], norm: None, max_length })
    }

    /// MLP-Mixer: `positions.inner` and `positions.outer`; with `norm`, `positions.LayerNorm`.
    pub fn two(
        builder: &mut Builder,
        max_length: usize,
        size: usize,
        norm: bool,
        init: Init,
    ) -> Result<Self> {
        let mut at = builder.at("positions");
        let norm = match norm {
            false => None,
            true => {
                let mut at = at.at("LayerNorm");
                let gain = at.parameter("weight", &[max_length], ParameterKind::NormGain, Init::Ones)?;
                Some([gain, at.parameter("bias", &[max_length], ParameterKind::NormShift, Init::Zeros)?])
            }
        };
        let inner = product(&mut at.at("inner"), max_length, size, init)?;
        let outer = product(&mut at.at("outer"), size, max_length, init)?;
        Ok(Self { products: vec![inner, outer], norm, max_length })
    }

    /// The mixed rows of every text.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor, batch: &Packed) -> Result<Tensor> {
        let width = x.shape().last().copied().unwrap_or(0);
        let parameters = self.products.iter().chain(&self.norm).flatten();
        let values: Vec<Tensor> = parameters.map(|p| ctx.value(p)).collect();
        let (products, max_length) = (self.products.len(), self.max_length);
        let values: Vec<&Tensor> = values.iter().collect();
        Ok(per_text(&[x], &values, batch, width, move |_, x, w| {
            let n = x[0].shape()[0];
            let (products, norm) = w.split_at(2 * products);
            let mut x = x[0].clone(); // [n, D]
            if let [gain, shift] = norm {
                let rest = Tensor::zeros(&[max_length - n, width], x.dtype());
                let columns = Tensor::concat(&[&x, &rest], 0)?.t()?; // [D, N]
                x = layer_norm(&columns, Some(gain), Some(shift), EPS)?.t()?; // [N, D]
            }
            let rows = |t: &Tensor, wanted: bool| if wanted { t.narrow(0, 0, n) } else { Ok(t.clone()) };
            for (i, product) in products.chunks_exact(2).enumerate() {
                let (first, last) = (i == 0, 2 * (i + 1) == products.len());
                if !first {
                    x = x.gelu()?;
                }
                let mut weight = rows(&product[0], last)?;
                if first {
                    weight = weight.narrow(1, 0, x.shape()[0])?;
                }
                let bias = rows(&product[1], last)?;
                x = weight.matmul(&x)?.add(&bias.reshape(&[bias.elements(), 1])?)?;
            }
            Ok(x)
        })?)
    }
}

fn product(at: &mut Builder, inputs: usize, outputs: usize, init: Init) -> Result<[Parameter; 2]> {
    let weight = at.parameter("weight", &[outputs, inputs], ParameterKind::Matrix, init)?;
    Ok([weight, at.parameter("bias", &[outputs], ParameterKind::Bias, Init::Zeros)?])
}

//! How a part of a layer is joined to the residual stream.
//! Definition:  post norm: norm(x + s f(x)); pre norm: x + s f(norm(x)); sandwich: x + s norm'(f(norm(x)));
//!              DeepNorm: norm(alpha x + s f(x)); Admin: norm(omega x + s f(x)); stack: norm(f(x)); s = 1, a
//!              number or learned
//! Shapes:      x [T, D], omega [D], s [] or [D] -> [T, D]
//! Reference:   Su, 2021 (see weight_init.rs); Wang et al., DeepNet, 2022; Liu et al., Admin, 2020;
//!              Bachlechner et al., ReZero, 2020; Ding et al., CogView (sandwich), 2021.

use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use super::{Norm, PartKind, Sight, Watch, dropout};
use crate::encoder::{self, DropoutMask, EncoderConfig, ResidualScale, Wiring};
use crate::{Builder, Ctx, Init, Result};

/// A part of a layer: its result for an input, plus a residual if one is given.
pub type Part<'a> = &'a dyn Fn(&mut Ctx, &Tensor, Option<&Tensor>) -> Result<Tensor>;

/// The norm, the scales and the dropout around one part.
#[derive(Clone)]
pub struct Junction {
    norm: Norm,
    /// The norm of what the part puts out, between two.
    after: Option<Norm>,
    wiring: Wiring,
    stream: Stream,
    branch: Branch,
    dropout: f64,
    dropout_mask: DropoutMask,
}

/// The factor of what comes in.
#[derive(Clone)]
enum Stream {
    One,
    Nothing,
    Fixed(f64),
    Learned(Parameter),
}

/// The factor of what the part makes of it.
#[derive(Clone)]
enum Branch {
    One,
    Fixed(f64),
    Learned(Parameter),
}

impl Junction {
    /// `PLACE.LayerNorm`, `PLACE.LayerNorm_after`, `PLACE.residual_scale` and `PLACE.omega`, as far as the
    /// config has them.
    pub fn new(
        builder: &mut Builder,
        place: &str,
        config: &EncoderConfig,
        norm: encoder::Norm,
    ) -> Result<Self> {
        let width = config.hidden_size;
        let mut at = builder.at(place);
        let norm = Norm::new(&mut at.at("LayerNorm"), width, norm, config.bias)?;
        let after = match config.wiring {
            Wiring::Sandwich => {
                Some(Norm::new(&mut at.at("LayerNorm_after"), width, config.norm, config.bias)?)
            }
            Wiring::PostNorm
            | Wiring::PreNorm
            | Wiring::T5
            | Wiring::DeepNorm { .. }
            | Wiring::Admin
            | Wiring::Stack => None,
        };
        // Scales start where they should and decay nowhere, as gains.
        let mut learned = |name: &str, shape: &[usize], value: f64| {
            at.parameter(name, shape, ParameterKind::NormGain, Init::Constant { value })
        };
        let stream = match config.wiring {
            Wiring::PostNorm | Wiring::PreNorm | Wiring::T5 | Wiring::Sandwich => Stream::One,
            Wiring::DeepNorm { alpha } => {
                Stream::Fixed(alpha.unwrap_or_else(|| encoder::deep_norm_alpha(config.layers)))
            }
            Wiring::Admin => Stream::Learned(learned("omega", &[width], 1.0)?),
            Wiring::Stack => Stream::Nothing,
        };
        let branch = match config.residual_scale {
            ResidualScale::None => Branch::One,
            ResidualScale::Fixed { factor } => Branch::Fixed(factor),
            ResidualScale::Scalar { start } => Branch::Learned(learned("residual_scale", &[1], start)?),
            ResidualScale::Channels { start } => Branch::Learned(learned("residual_scale", &[width], start)?),
        };
        let (wiring, dropout, dropout_mask) = (config.wiring, config.dropout, config.dropout_mask);
        Ok(Self { norm, after, wiring, stream, branch, dropout, dropout_mask })
    }

    /// The joined stream. `part` gets the residual only when nothing happens to its result before the
    /// sum; it may then add it in the same pass as its last product.
    pub fn join(&self, ctx: &mut Ctx, x: &Tensor, batch: &Packed, part: Part) -> Result<Tensor> {
        let seed = ctx.seed(self.dropout);
        let inside = self.inside(ctx, x)?;
        let residual = self.residual(ctx, x)?;
        let sum = match (seed, &self.branch, &self.after) {
            (None, Branch::One, None) => part(ctx, &inside, residual.as_ref())?,
            (seed, _, _) => {
                let y = self.added(ctx, &inside, seed, batch, part)?;
                plus(y, residual.as_ref())?
            }
        };
        if self.wiring.reads_normed() { Ok(sum) } else { self.norm.forward(ctx, &sum) }
    }

    /// As [`Junction::join`], and shows both sides of the sum.
    pub(crate) fn observe(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        batch: &Packed,
        part: Part,
        kind: PartKind,
        watch: &Watch,
    ) -> Result<Tensor> {
        let seed = ctx.seed(self.dropout);
        let inside = self.inside(ctx, x)?;
        let stream = self.residual(ctx, x)?;
        let branch = self.added(ctx, &inside, seed, batch, part)?;
        watch(Sight::Sum { part: kind, stream: stream.as_ref(), branch: &branch })?;
        let sum = plus(branch, stream.as_ref())?;
        if self.wiring.reads_normed() { Ok(sum) } else { self.norm.forward(ctx, &sum) }
    }

    /// What comes in, with its factor.
    fn residual(&self, ctx: &Ctx, x: &Tensor) -> Result<Option<Tensor>> {
        Ok(match &self.stream {
            Stream::One => Some(x.clone()),
            Stream::Nothing => None,
            Stream::Fixed(factor) => Some(x.mul_scalar(*factor)?),
            Stream::Learned(omega) => Some(x.mul(&ctx.value(omega))?),
        })
    }

    /// What the part adds, with the norm behind it, dropout and its factor.
    fn added(
        &self,
        ctx: &mut Ctx,
        inside: &Tensor,
        seed: Option<u64>,
        batch: &Packed,
        part: Part,
    ) -> Result<Tensor> {
        let mut y = part(ctx, inside, None)?;
        if let Some(norm) = &self.after {
            y = norm.forward(ctx, &y)?;
        }
        if let Some(seed) = seed {
            y = dropout(&y, self.dropout, seed, self.dropout_mask, batch)?;
        }
        Ok(match &self.branch {
            Branch::One => y,
            Branch::Fixed(factor) => y.mul_scalar(*factor)?,
            Branch::Learned(scale) => y.mul(&ctx.value(scale))?,
        })
    }

    /// As [`Junction::join`]. With Admin's wiring it first sets `omega` to the root of `spread`, the
    /// variance of the stream so far, and adds to it the variance of what the part makes of `x`.
    pub fn profile(
        &self,
        ctx: &mut Ctx,
        x: &Tensor,
        batch: &Packed,
        part: Part,
        spread: &mut f64,
    ) -> Result<Tensor> {
        if let Stream::Learned(omega) = &self.stream {
            omega.set(&Tensor::full(spread.sqrt(), omega.value().shape(), omega.value().dtype()))?;
            let inside = self.inside(ctx, x)?;
            let y = part(ctx, &inside, None)?.detach().to_f64_vec();
            let mean = y.iter().sum::<f64>() / y.len().max(1) as f64;
            *spread += y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / y.len().max(1) as f64;
        }
        self.join(ctx, x, batch, part)
    }

    /// What the part reads.
    fn inside(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        if self.wiring.reads_normed() { self.norm.forward(ctx, x) } else { Ok(x.clone()) }
    }
}

/// `y`, plus `residual` where there is one.
pub(crate) fn plus(y: Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    match residual {
        None => Ok(y),
        Some(x) => Ok(y.add(x)?),
    }
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::{DType, Params, Rng};

    use super::*;

    #[test]
    fn a_part_between_two_norms_adds_a_vector_of_unit_variance() {
        let norm = encoder::Norm::Layer { eps: 0.0, gain: true };
        let config = EncoderConfig {
            hidden_size: 2,
            dropout: 0.0,
            wiring: Wiring::Sandwich,
            norm,
            ..Default::default()
        };
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
        let junction = Junction::new(&mut builder, "part", &config, norm).unwrap();
        let batch = Packed::from_lengths(&[2]);
        let x = Tensor::new(vec![1.0, 3.0, 5.0, 4.0], &[2, 2]).unwrap();
        let triple: Part = &|_, x, residual| plus(x.mul_scalar(3.0)?.add_scalar(7.0)?, residual);
        let y = junction.join(&mut Ctx::inference(), &x, &batch, triple).unwrap();
        assert_eq!(y.to_f64_vec(), [0.0, 4.0, 6.0, 3.0]);
        assert!(params.get("part.LayerNorm_after.weight").is_some());
    }
}

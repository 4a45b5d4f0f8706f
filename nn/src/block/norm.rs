//! Norms with their parameters, by what the config names.
//! Definition:  layer: g (x - mean) / sqrt(variance + eps) + b; RMS: g x / sqrt(mean square + eps); scale:
//!              one g, g x / max(|x|, eps); affine: g x + b
//! Shapes:      x [T, D], g, b [D], of scale g [1] -> [T, D]
//! Reference:   see weight_init.rs

use bert4rs_tensor::op::normalization::{layer_norm, rms_norm};
use bert4rs_tensor::{Parameter, ParameterKind, Tensor};

use crate::encoder::Norm as Kind;
use crate::{Builder, Ctx, Init, Result};

/// A normalisation of rows.
#[derive(Clone)]
pub struct Norm {
    kind: Kind,
    gain: Option<Parameter>,
    shift: Option<Parameter>,
}

impl Norm {
    /// `weight [width]` and `bias [width]`, as far as the kind has them; a shift only with `bias`.
    pub fn new(builder: &mut Builder, width: usize, kind: Kind, bias: bool) -> Result<Self> {
        let (has_gain, has_shift) = match kind {
            Kind::None => (false, false),
            Kind::Layer { gain, .. } => (gain, gain && bias),
            Kind::Rms { gain, .. } => (gain, false),
            Kind::Scale { .. } => (true, false),
            Kind::Affine => (true, bias),
        };
        let (extent, start) = match kind {
            Kind::Scale { .. } => (1, Init::Constant { value: (width as f64).sqrt() }),
            Kind::None | Kind::Layer { .. } | Kind::Rms { .. } | Kind::Affine => (width, Init::Ones),
        };
        let mut parameter = |wanted: bool, name, kind, init| {
            wanted.then(|| builder.parameter(name, &[extent], kind, init)).transpose()
        };
        let gain = parameter(has_gain, "weight", ParameterKind::NormGain, start)?;
        let shift = parameter(has_shift, "bias", ParameterKind::NormShift, Init::Zeros)?;
        Ok(Self { kind, gain, shift })
    }

    /// The normalised rows; `x` itself for no norm.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let gain = self.gain.as_ref().map(|p| ctx.value(p));
        let shift = self.shift.as_ref().map(|p| ctx.value(p));
        Ok(match self.kind {
            Kind::None => x.clone(),
            Kind::Layer { eps, .. } => layer_norm(x, gain.as_ref(), shift.as_ref(), eps)?,
            Kind::Rms { eps, .. } => rms_norm(x, gain.as_ref(), eps)?,
            Kind::Scale { eps } => {
                // The maximum of squares: the root then has a gradient everywhere.
                let smallest = Tensor::scalar((eps * eps).max(f64::from(f32::MIN_POSITIVE)), x.dtype());
                let lengths = x.square()?.sum(-1, true)?.maximum(&smallest)?.sqrt()?;
                scaled(&x.div(&lengths)?, gain.as_ref(), None)?
            }
            Kind::Affine => scaled(x, gain.as_ref(), shift.as_ref())?,
        })
    }
}

fn scaled(x: &Tensor, gain: Option<&Tensor>, shift: Option<&Tensor>) -> Result<Tensor> {
    let x = gain.map_or_else(|| Ok(x.clone()), |gain| x.mul(gain))?;
    Ok(shift.map_or_else(|| Ok(x.clone()), |shift| x.add(shift))?)
}

//! Layer norm and RMS norm with their parameters, by what the config names.
//! Shapes:      x [T, D] -> [T, D]

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
            Kind::Layer { .. } => (true, bias),
            Kind::Rms { gain, .. } => (gain, false),
        };
        let mut parameter = |wanted: bool, name, kind, init| {
            wanted.then(|| builder.parameter(name, &[width], kind, init)).transpose()
        };
        let gain = parameter(has_gain, "weight", ParameterKind::NormGain, Init::Ones)?;
        let shift = parameter(has_shift, "bias", ParameterKind::NormShift, Init::Zeros)?;
        Ok(Self { kind, gain, shift })
    }

    /// The normalised rows; `x` itself for no norm.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let gain = self.gain.as_ref().map(|p| ctx.value(p));
        let shift = self.shift.as_ref().map(|p| ctx.value(p));
        Ok(match self.kind {
            Kind::None => x.clone(),
            Kind::Layer { eps } => layer_norm(x, gain.as_ref(), shift.as_ref(), eps)?,
            Kind::Rms { eps, .. } => rms_norm(x, gain.as_ref(), eps)?,
        })
    }
}

//! Layer norm and RMS norm over the last axis. Fused. Cost O(elements).
//! Definition:  layer: (x - mean) / sqrt(variance + eps) * gain + shift
//!              RMS:   x / sqrt(mean(x^2) + eps) * gain

use bert4rs_kernels::norm;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor};

fn check(op: &'static str, x: &Tensor, parameters: &[Option<&Tensor>]) -> Result<usize> {
    let Some(&width) = x.shape().last() else {
        return Error::shape(op, "a scalar has no axis to normalise");
    };
    if width == 0 {
        return Error::shape(op, format!("x {:?} has no columns to normalise", x.shape()));
    }
    for p in parameters.iter().flatten() {
        if p.shape() != [width] || p.dtype() != x.dtype() {
            return Error::shape(
                op,
                format!("parameter {:?} {:?} for x {:?} {:?}", p.dtype(), p.shape(), x.dtype(), x.shape()),
            );
        }
    }
    Ok(width)
}

/// Layer norm of `x [.., D]` with optional `gain [D]` and `shift [D]` (a shift needs a gain).
pub fn layer_norm(x: &Tensor, gain: Option<&Tensor>, shift: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let width = check("layer_norm", x, &[gain, shift])?;
    if shift.is_some() && gain.is_none() {
        return Error::value("layer_norm", "a shift without a gain");
    }
    let rows = x.elements() / width.max(1);
    let (storage, mean, deviation) = float!("layer_norm", x, T => {
        let mut y = unset::<T>(x.elements());
        let (mut mean, mut deviation) = (unset::<T>(rows), unset::<T>(rows));
        let gain = gain.map(|g| g.values::<T>()).transpose()?;
        let shift = shift.map(|s| s.values::<T>()).transpose()?;
        norm::layer_norm_forward(x.values::<T>()?, width, gain, shift, eps, &mut y, &mut mean, &mut deviation);
        Ok::<_, Error>((Storage::from(y), Storage::from(mean), Storage::from(deviation)))
    })?;
    let (mean, deviation) = (Tensor::constant(mean, vec![rows]), Tensor::constant(deviation, vec![rows]));
    let mut inputs = vec![x];
    inputs.extend(gain);
    inputs.extend(shift);
    Ok(Tensor::made("layer_norm", true, storage, x.shape().to_vec(), &inputs, move |step| {
        let x = &step.inputs[0];
        float!("layer_norm", x, T => {
            let mut d_x = unset::<T>(x.elements());
            let mut d_gain = unset::<T>(width);
            let mut d_shift = unset::<T>(width);
            let count = step.inputs.len();
            let gain = step.inputs.get(1).map(|g| g.values::<T>()).transpose()?;
            norm::layer_norm_backward(
                x.values::<T>()?, width, gain, mean.values()?, deviation.values()?, step.grad.values()?, &mut d_x,
                if count > 1 { Some(&mut d_gain) } else { None },
                if count > 2 { Some(&mut d_shift) } else { None },
            );
            let mut grads = vec![Some(Tensor::constant(Storage::from(d_x), x.shape().to_vec()))];
            for d in [d_gain, d_shift].into_iter().take(count - 1) {
                grads.push(Some(Tensor::constant(Storage::from(d), vec![width])));
            }
            Ok(grads)
        })
    }))
}

/// RMS norm of `x [.., D]` with an optional `gain [D]`.
pub fn rms_norm(x: &Tensor, gain: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let width = check("rms_norm", x, &[gain])?;
    let rows = x.elements() / width.max(1);
    let (storage, scale) = float!("rms_norm", x, T => {
        let (mut y, mut scale) = (unset::<T>(x.elements()), unset::<T>(rows));
        let gain = gain.map(|g| g.values::<T>()).transpose()?;
        norm::rms_norm_forward(x.values::<T>()?, width, gain, eps, &mut y, &mut scale);
        Ok::<_, Error>((Storage::from(y), Storage::from(scale)))
    })?;
    let scale = Tensor::constant(scale, vec![rows]);
    let mut inputs = vec![x];
    inputs.extend(gain);
    Ok(Tensor::made("rms_norm", true, storage, x.shape().to_vec(), &inputs, move |step| {
        let x = &step.inputs[0];
        float!("rms_norm", x, T => {
            let mut d_x = unset::<T>(x.elements());
            let mut d_gain = unset::<T>(width);
            let has_gain = step.inputs.len() > 1;
            let gain = step.inputs.get(1).map(|g| g.values::<T>()).transpose()?;
            norm::rms_norm_backward(
                x.values::<T>()?, width, gain, scale.values()?, step.grad.values()?, &mut d_x,
                if has_gain { Some(&mut d_gain) } else { None },
            );
            let mut grads = vec![Some(Tensor::constant(Storage::from(d_x), x.shape().to_vec()))];
            if has_gain {
                grads.push(Some(Tensor::constant(Storage::from(d_gain), vec![width])));
            }
            Ok(grads)
        })
    }))
}

//! What optimizers do to whole tensors, in place: no gradients, no tape.
//! Definition:  accumulate: s += x;  moving average: a = d a + (1 - d) x;  AdamW: see its kernel
//! Numerics:    bit-equal for any number of threads; the squared norm is summed in f64

use bert4rs_kernels::optimizer as kernel;
pub use bert4rs_kernels::optimizer::AdamW;
use bert4rs_kernels::{Real, parallel};

use crate::storage::float;
use crate::tensor::SharedValues;
use crate::{DType, Element, Error, Parameter, Result, Tensor, profile};

/// One AdamW step of `parameter`; the moments `m` and `v` start as zeros and are changed in place.
pub fn adamw(
    settings: &AdamW,
    parameter: &Parameter,
    gradient: &Tensor,
    m: &mut Tensor,
    v: &mut Tensor,
) -> Result<()> {
    if settings.step == 0 {
        return Error::value("adamw", "steps are counted from 1");
    }
    let shape = parameter.leaf().shape().to_vec();
    if [gradient.shape(), m.shape(), v.shape()] != [&shape[..]; 3] {
        let name = parameter.name();
        let got = format!("gradient {:?}, moments {:?} and {:?}", gradient.shape(), m.shape(), v.shape());
        return Error::shape("adamw", format!("{name} has shape {shape:?}, but {got}"));
    }
    float!("adamw", gradient, T => {
        let gradient = gradient.values::<T>()?;
        change::<T, _>(m, |m| change::<T, _>(v, |v| {
            parameter.update::<T>(|theta| kernel::adamw(settings, theta, gradient, m, v))
        }))???;
        Ok(())
    })
}

/// The sum of squares of all elements of all tensors, in f64; not finite when an element is not.
pub fn squared_norm<'a>(xs: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let _scope = profile::scope("squared_norm");
    let (mut singles, mut doubles) = (Vec::new(), Vec::new());
    for x in xs {
        match x.dtype() {
            DType::F32 => singles.push(x.values::<f32>()?),
            DType::F64 | DType::I64 => doubles.push(x.values::<f64>()?), // an error for integers
        }
    }
    Ok(kernel::squared_norm(&singles) + kernel::squared_norm(&doubles))
}

/// `sum += x`
pub fn accumulate(sum: &mut Tensor, x: &Tensor) -> Result<()> {
    same_shape("accumulate", sum, x)?;
    float!("accumulate", x, T => {
        let x = x.values::<T>()?;
        change::<T, _>(sum, |sum| each(sum, x, |s, x| s + x))
    })
}

/// `average = decay * average + (1 - decay) * x`
pub fn moving_average(average: &mut Tensor, x: &Tensor, decay: f64) -> Result<()> {
    same_shape("moving_average", average, x)?;
    float!("moving_average", x, T => {
        let x = x.values::<T>()?;
        let gain = T::from_f64(1.0 - decay);
        change::<T, _>(average, |average| each(average, x, |a, x| a + gain * (x - a)))
    })
}

fn same_shape(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.shape() == b.shape() {
        return Ok(());
    }
    Error::shape(op, format!("shapes {:?} and {:?} differ", a.shape(), b.shape()))
}

fn each<T: Real>(out: &mut [T], x: &[T], f: impl Fn(T, T) -> T + Sync) {
    parallel::rows(out, 1, 1, |first, out| {
        out.iter_mut().zip(&x[first..]).for_each(|(o, &x)| *o = f(*o, x));
    });
}

/// Lends the elements of `tensor` for a change in place (copied first when somebody else holds them).
fn change<T: Element, R>(tensor: &mut Tensor, change: impl FnOnce(&mut [T]) -> R) -> Result<R> {
    let shape = tensor.shape().to_vec();
    let mut values = SharedValues(tensor.storage().clone());
    let got = values.0.dtype();
    *tensor = Tensor::zeros(&[0], got); // lets go of the old value
    let done = T::shared(&mut values).map(change);
    *tensor = Tensor::constant(values.0, shape);
    done.ok_or(Error::DType { op: "optimizer", expected: std::any::type_name::<T>(), got })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParameterKind, Params};

    fn vector(xs: &[f64]) -> Tensor {
        Tensor::new(xs.to_vec(), &[xs.len()]).unwrap()
    }

    #[test]
    fn sums_and_averages_happen_in_place() {
        let mut s = vector(&[1.0, 2.0]);
        let held = s.clone();
        accumulate(&mut s, &vector(&[10.0, 20.0])).unwrap();
        moving_average(&mut s, &vector(&[1.0, 2.0]), 0.75).unwrap();
        assert_eq!(s.to_f64_vec(), [8.5, 17.0]);
        assert_eq!(held.to_f64_vec(), [1.0, 2.0], "a value that somebody holds never changes");
        assert_eq!(squared_norm([&s]).unwrap(), 8.5 * 8.5 + 17.0 * 17.0);
        assert!(squared_norm([&vector(&[1.0, f64::NAN])]).unwrap().is_nan());
        assert!(accumulate(&mut s, &vector(&[1.0])).unwrap_err().to_string().contains("differ"));
        assert!(accumulate(&mut s, &Tensor::zeros(&[2], DType::F32)).is_err());
        assert_eq!(s.to_f64_vec(), [8.5, 17.0]);
    }

    #[test]
    fn adamw_refuses_what_does_not_fit() {
        let mut params = Params::new();
        let w = params.add("w", &vector(&[1.0, 2.0]), ParameterKind::Matrix).unwrap();
        let (mut m, mut v) = (vector(&[0.0; 2]), vector(&[0.0; 2]));
        let settings = AdamW {
            lr: 0.5,
            beta1: 0.9,
            beta2: 0.999,
            eps: 0.0,
            weight_decay: 0.0,
            step: 1,
            gradient_scale: 1.0,
        };
        adamw(&settings, &w, &vector(&[3.0, -3.0]), &mut m, &mut v).unwrap();
        let moved = w.value().to_f64_vec();
        assert!((moved[0] - 0.5).abs() < 1e-12 && (moved[1] - 2.5).abs() < 1e-12, "{moved:?}");
        let error = adamw(&settings, &w, &vector(&[3.0]), &mut m, &mut v).unwrap_err().to_string();
        assert!(error.contains("w has shape [2], but gradient [1]"), "{error}");
        let mut narrow = Tensor::zeros(&[2], DType::F32);
        assert!(adamw(&settings, &w, &vector(&[3.0, 1.0]), &mut narrow, &mut v).is_err());
        assert!(adamw(&AdamW { step: 0, ..settings }, &w, &vector(&[1.0, 1.0]), &mut m, &mut v).is_err());
    }
}

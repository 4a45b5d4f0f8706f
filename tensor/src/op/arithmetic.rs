//! Element by element, with broadcasting: `+ - * /`, maximum, selection. Cost O(elements).

use bert4rs_kernels::{Real, parallel};

use crate::buffer::{Buffer, Pooled, unset};
use crate::shape::{broadcast, broadcast_strides, elements};
use crate::storage::{Storage, float};
use crate::{DType, Element, Error, Result, Tensor};

impl Tensor {
    /// `self + other`, broadcast.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        binary(
            "add",
            self,
            other,
            |x, y| x + y,
            |x, y| x + y,
            |step| Ok((Some(step.grad.clone()), Some(step.grad.clone()))),
        )
    }

    /// `self - other`, broadcast.
    pub fn sub(&self, other: &Tensor) -> Result<Tensor> {
        binary(
            "sub",
            self,
            other,
            |x, y| x - y,
            |x, y| x - y,
            |step| {
                let b = if step.needs[1] { Some(step.grad.neg()?) } else { None };
                Ok((Some(step.grad.clone()), b))
            },
        )
    }

    /// `self * other`, broadcast.
    pub fn mul(&self, other: &Tensor) -> Result<Tensor> {
        binary(
            "mul",
            self,
            other,
            |x, y| x * y,
            |x, y| x * y,
            |step| {
                let a = if step.needs[0] { Some(step.grad.mul(&step.inputs[1])?) } else { None };
                let b = if step.needs[1] { Some(step.grad.mul(&step.inputs[0])?) } else { None };
                Ok((a, b))
            },
        )
    }

    /// `self / other`, broadcast.
    pub fn div(&self, other: &Tensor) -> Result<Tensor> {
        binary(
            "div",
            self,
            other,
            |x, y| x / y,
            |x, y| x / y,
            |step| {
                let a = step.grad.div(&step.inputs[1])?;
                let b = if step.needs[1] { Some(a.mul(&step.output)?.neg()?) } else { None };
                Ok((Some(a), b))
            },
        )
    }

    /// The larger of two elements, broadcast; where equal, the gradient goes to `self`.
    pub fn maximum(&self, other: &Tensor) -> Result<Tensor> {
        let larger = |x: &Tensor, y: &Tensor| compare(&x.detach(), &y.detach(), |a, b| a >= b);
        let mask = larger(self, other)?;
        Tensor::select(&mask, self, other)
    }

    /// `a` where `mask` is not 0, `b` elsewhere, broadcast. Masked-out values and their gradients are
    /// never looked at, so infinities and NaN in them do no harm.
    pub fn select(mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let shape = broadcast("select", &broadcast("select", mask.shape(), a.shape())?, b.shape())?;
        if a.dtype() != b.dtype() {
            return Err(Error::DType { op: "select", expected: "two tensors of one type", got: b.dtype() });
        }
        let mask = mask.detach().broadcast_to(&shape)?;
        let chosen: Vec<bool> = mask.to_f64_vec().iter().map(|&m| m != 0.0).collect();
        let (x, y) = (a.broadcast_to(&shape)?, b.broadcast_to(&shape)?);
        let storage = float!("select", x, T => {
            let (xs, ys) = (x.values::<T>()?, y.values::<T>()?);
            let out: Vec<T> = chosen.iter().zip(xs.iter().zip(ys)).map(|(&c, (&x, &y))| if c { x } else { y }).collect();
            Ok::<_, Error>(Storage::from(out))
        })?;
        Ok(Tensor::made("select", false, storage, shape, &[&x, &y], move |step| {
            let zero = step.grad.zeros_like();
            let a = Tensor::select(&mask, &step.grad, &zero)?;
            let b = Tensor::select(&mask, &zero, &step.grad)?;
            Ok(vec![Some(a), Some(b)])
        }))
    }

    /// `self + value`.
    pub fn add_scalar(&self, value: f64) -> Result<Tensor> {
        self.add(&Tensor::scalar(value, self.dtype()))
    }

    /// `self * value`.
    pub fn mul_scalar(&self, value: f64) -> Result<Tensor> {
        self.mul(&Tensor::scalar(value, self.dtype()))
    }

    /// 1 where `self > other`, else 0, broadcast, in the dtype of `self`; no gradient.
    pub fn greater(&self, other: &Tensor) -> Result<Tensor> {
        self.refuse_gradient("greater")?;
        other.refuse_gradient("greater")?;
        compare(self, other, |a, b| a > b)
    }

    /// `self + other` for gradients of one shape, in place when nobody else holds `self`.
    pub(crate) fn add_reusing(self, other: Tensor) -> Result<Tensor> {
        if self.is_tracked() || other.is_tracked() || self.dtype() != other.dtype() {
            return self.add(&other);
        }
        let (shape, storage) = (self.shape().to_vec(), self.storage().clone());
        drop(self);
        let mut values = crate::tensor::SharedValues(storage);
        float!("add", other, T => {
            let b = other.values::<T>()?;
            if let Some(a) = T::shared(&mut values) {
                add_into(a, b);
            }
            Ok::<_, Error>(())
        })?;
        Ok(Tensor::constant(values.0, shape))
    }

    /// This tensor stretched to `shape`.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Tensor> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        if broadcast("broadcast_to", self.shape(), shape)? != shape {
            return Error::shape("broadcast_to", format!("{:?} does not stretch to {shape:?}", self.shape()));
        }
        let zeros = Tensor::zeros(shape, self.dtype());
        self.add(&zeros)
    }

    /// Sums over the axes along which `shape` would be stretched to this shape: the adjoint of
    /// [`Tensor::broadcast_to`].
    pub fn sum_to(&self, shape: &[usize]) -> Result<Tensor> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        let mut x = self.clone();
        while x.rank() > shape.len() {
            x = x.sum(0, false)?;
        }
        for i in 0..shape.len() {
            if shape[i] == 1 && x.shape()[i] != 1 {
                x = x.sum(i as isize, true)?;
            }
        }
        if x.shape() != shape {
            return Error::shape("sum_to", format!("{:?} does not sum to {shape:?}", self.shape()));
        }
        Ok(x)
    }
}

fn add_into<T: Real>(a: &mut [T], b: &[T]) {
    parallel::rows(a, 1, 1, |first, a| {
        for (x, &y) in a.iter_mut().zip(&b[first..]) {
            *x += y;
        }
    });
}

fn compare(a: &Tensor, b: &Tensor, f: impl Fn(f64, f64) -> bool + Copy + Sync + Send) -> Result<Tensor> {
    let shape = broadcast("compare", a.shape(), b.shape())?;
    let out =
        zip(&a.to_f64_vec(), a.shape(), &b.to_f64_vec(), b.shape(), &shape, move |x, y| f64::from(f(x, y)));
    Tensor::constant(out.into(), shape).cast(a.dtype())
}

type Pair = (Option<Tensor>, Option<Tensor>);

fn binary(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    f32_rule: impl Fn(f32, f32) -> f32 + Sync + Send,
    f64_rule: impl Fn(f64, f64) -> f64 + Sync + Send,
    backward: impl Fn(&crate::gradient::Step) -> Result<Pair> + Send + Sync + 'static,
) -> Result<Tensor> {
    if a.dtype() != b.dtype() {
        let expected = if a.dtype() == DType::F32 { "F32 as on the left" } else { "the type on the left" };
        return Err(Error::DType { op, expected, got: b.dtype() });
    }
    let shape = broadcast(op, a.shape(), b.shape())?;
    let storage = match a.dtype() {
        DType::F32 => Storage::from(zip(a.values()?, a.shape(), b.values()?, b.shape(), &shape, f32_rule)),
        DType::F64 => Storage::from(zip(a.values()?, a.shape(), b.values()?, b.shape(), &shape, f64_rule)),
        got @ DType::I64 => return Err(Error::DType { op, expected: "floating-point tensors", got }),
    };
    Ok(Tensor::made(op, false, storage, shape, &[a, b], move |step| {
        let (a, b) = backward(step)?;
        let fit = |g: Option<Tensor>, i: usize| match g {
            Some(g) if step.needs[i] => g.sum_to(step.inputs[i].shape()).map(Some),
            _ => Ok(None),
        };
        Ok(vec![fit(a, 0)?, fit(b, 1)?])
    }))
}

/// `f` over two broadcast operands.
fn zip<T: Element + Pooled>(
    a: &[T],
    a_shape: &[usize],
    b: &[T],
    b_shape: &[usize],
    shape: &[usize],
    f: impl Fn(T, T) -> T + Sync,
) -> Buffer<T> {
    let n = elements(shape);
    let mut out = unset::<T>(n);
    if n == 0 {
        return out;
    }
    if a.len() == n && b.len() == n {
        parallel::rows(&mut out, 1, 2, |first, out| {
            for (o, (&x, &y)) in out.iter_mut().zip(a[first..].iter().zip(&b[first..])) {
                *o = f(x, y);
            }
        });
        return out;
    }
    // The last axis is a plain inner loop with strides 0 or 1; the others are walked as an odometer.
    let (sa, sb) = (broadcast_strides(a_shape, shape), broadcast_strides(b_shape, shape));
    let last = shape.len() - 1;
    let width = shape[last];
    parallel::rows(&mut out, width, 2 * width, |first, block| {
        for (r, row) in block.chunks_mut(width).enumerate() {
            let (mut at_a, mut at_b, mut rest) = (0, 0, first + r);
            for axis in (0..last).rev() {
                let i = rest % shape[axis];
                rest /= shape[axis];
                at_a += i * sa[axis];
                at_b += i * sb[axis];
            }
            match (sa[last], sb[last]) {
                (0, 0) => row.fill(f(a[at_a], b[at_b])),
                (0, _) => row.iter_mut().zip(&b[at_b..]).for_each(|(o, &y)| *o = f(a[at_a], y)),
                (_, 0) => row.iter_mut().zip(&a[at_a..]).for_each(|(o, &x)| *o = f(x, b[at_b])),
                _ => row
                    .iter_mut()
                    .zip(a[at_a..].iter().zip(&b[at_b..]))
                    .for_each(|(o, (&x, &y))| *o = f(x, y)),
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward;

    fn tensor(xs: &[f64], shape: &[usize]) -> Tensor {
        Tensor::new(xs.to_vec(), shape).unwrap()
    }

    #[test]
    fn operands_broadcast_like_numpy() {
        let a = tensor(&[1., 2., 3., 4., 5., 6.], &[2, 3]);
        let row = tensor(&[10., 20., 30.], &[3]);
        let column = tensor(&[100., 200.], &[2, 1]);
        assert_eq!(a.add(&row).unwrap().to_f64_vec(), [11., 22., 33., 14., 25., 36.]);
        assert_eq!(column.sub(&row).unwrap().to_f64_vec(), [90., 80., 70., 190., 180., 170.]);
        assert_eq!(a.mul_scalar(2.0).unwrap().to_f64_vec(), [2., 4., 6., 8., 10., 12.]);
        assert_eq!(
            a.add(&tensor(&[1., 2.], &[2])).unwrap_err().to_string(),
            "add: shapes [2, 3] and [2] do not broadcast"
        );
        assert_eq!(tensor(&[], &[0, 3]).add(&row).unwrap().shape(), [0, 3]);
    }

    #[test]
    fn gradients_are_summed_over_stretched_axes() {
        let row = tensor(&[1., 2., 3.], &[3]).tracked();
        let a = tensor(&[1., 2., 3., 4., 5., 6.], &[2, 3]);
        let gradients = backward(a.mul(&row).unwrap().sum_all().unwrap()).unwrap();
        assert_eq!(gradients.of(&row).unwrap().to_f64_vec(), [5., 7., 9.]);
    }

    #[test]
    fn selection_hides_infinities_in_value_and_gradient() {
        let mask = tensor(&[1., 0.], &[2]);
        let a = tensor(&[2., f64::INFINITY], &[2]).tracked();
        let y = Tensor::select(&mask, &a, &tensor(&[0., 7.], &[2])).unwrap();
        assert_eq!(y.to_f64_vec(), [2., 7.]);
        assert_eq!(backward(y.sum_all().unwrap()).unwrap().of(&a).unwrap().to_f64_vec(), [1., 0.]);
    }

    #[test]
    fn types_must_agree() {
        let error = tensor(&[1.], &[1]).add(&Tensor::zeros(&[1], DType::F32)).unwrap_err().to_string();
        assert_eq!(error, "add: expected the type on the left, got F32");
    }
}

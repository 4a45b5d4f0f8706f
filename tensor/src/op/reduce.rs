//! Sums, means, maxima and log-sum-exp along an axis. Cost O(elements).

use bert4rs_kernels::{Real, parallel, real};

use crate::shape::{axis, split};
use crate::storage::{Storage, float};
use crate::{Element, Error, Result, Tensor};

impl Tensor {
    /// The sum of all elements, a scalar.
    pub fn sum_all(&self) -> Result<Tensor> {
        let storage = float!("sum_all", self, T => {
            Ok::<_, Error>(Storage::from(vec![real::sum(self.values::<T>()?)]))
        })?;
        Ok(Tensor::made("sum_all", false, storage, vec![], &[self], |step| {
            Ok(vec![Some(step.grad.broadcast_to(step.inputs[0].shape())?)])
        }))
    }

    /// The mean of all elements, a scalar; 0 for none.
    pub fn mean_all(&self) -> Result<Tensor> {
        self.sum_all()?.mul_scalar(1.0 / self.elements().max(1) as f64)
    }

    /// Sums along an axis (negative: from the end); `keep` leaves an extent of 1.
    pub fn sum(&self, along: isize, keep: bool) -> Result<Tensor> {
        let i = axis("sum", along, self.shape())?;
        let (before, extent, after) = split(self.shape(), i);
        let storage = float!("sum", self, T => {
            Ok::<_, Error>(Storage::from(sum_axis::<T>(self.values()?, before, extent, after)))
        })?;
        let kept = kept_shape(self.shape(), i);
        let shape = if keep { kept.clone() } else { dropped_shape(self.shape(), i) };
        Ok(Tensor::made("sum", false, storage, shape, &[self], move |step| {
            Ok(vec![Some(step.grad.reshape(&kept)?.broadcast_to(step.inputs[0].shape())?)])
        }))
    }

    /// The mean along an axis.
    pub fn mean(&self, along: isize, keep: bool) -> Result<Tensor> {
        let i = axis("mean", along, self.shape())?;
        self.sum(along, keep)?.mul_scalar(1.0 / self.shape()[i].max(1) as f64)
    }

    /// The largest element along an axis; the gradient goes to the first of equals. An axis of
    /// extent 0 is an error.
    pub fn max(&self, along: isize, keep: bool) -> Result<Tensor> {
        let i = axis("max", along, self.shape())?;
        let (before, extent, after) = split(self.shape(), i);
        if extent == 0 {
            return Error::shape("max", format!("axis {along} of shape {:?} is empty", self.shape()));
        }
        let winners = self.detach().argmax(along)?;
        let winners = winners.values::<i64>()?.to_vec();
        let mut mask = vec![0.0; self.elements()];
        for b in 0..before {
            for a in 0..after {
                mask[(b * extent + winners[b * after + a] as usize) * after + a] = 1.0;
            }
        }
        let mask = Tensor::new(mask, self.shape())?.cast(self.dtype())?;
        Tensor::select(&mask, self, &Tensor::scalar(0.0, self.dtype()))?.sum(along, keep)
    }

    /// The position of the first largest element along an axis, as integers; no gradient. An axis of
    /// extent 0 is an error.
    pub fn argmax(&self, along: isize) -> Result<Tensor> {
        self.refuse_gradient("argmax")?;
        let i = axis("argmax", along, self.shape())?;
        let (before, extent, after) = split(self.shape(), i);
        if extent == 0 {
            return Error::shape("argmax", format!("axis {along} of shape {:?} is empty", self.shape()));
        }
        let x = self.to_f64_vec();
        let mut out = Vec::with_capacity(before * after);
        for b in 0..before {
            for a in 0..after {
                let at = |j: usize| x[(b * extent + j) * after + a];
                out.push((1..extent).fold(0, |best, j| if at(j) > at(best) { j } else { best }) as i64);
            }
        }
        Tensor::new(out, &dropped_shape(self.shape(), i))
    }

    /// `ln(sum(e^x))` along an axis, finite for large inputs; `-inf` when every element is.
    pub fn log_sum_exp(&self, along: isize, keep: bool) -> Result<Tensor> {
        let i = axis("log_sum_exp", along, self.shape())?;
        let (before, extent, after) = split(self.shape(), i);
        let kept = kept_shape(self.shape(), i);
        let storage = float!("log_sum_exp", self, T => {
            let x = self.values::<T>()?;
            let mut out = Vec::with_capacity(before * after);
            for b in 0..before {
                for a in 0..after {
                    let at = |j: usize| x[(b * extent + j) * after + a];
                    let top = (0..extent).map(at).fold(T::NEG_INFINITY, Real::max);
                    let total: T = (0..extent).map(|j| Real::exp(at(j) - top)).sum();
                    out.push(if top == T::NEG_INFINITY { top } else { top + Real::ln(total) });
                }
            }
            Ok::<_, Error>(Storage::from(out))
        })?;
        let shape = if keep { kept.clone() } else { dropped_shape(self.shape(), i) };
        Ok(Tensor::made("log_sum_exp", false, storage, shape, &[self], move |step| {
            // The share of each element, from the largest down so that no digits are lost; rows of
            // -inf only have none.
            let x = &step.inputs[0];
            let (zero, one) = (Tensor::scalar(0.0, x.dtype()), Tensor::scalar(1.0, x.dtype()));
            let top = x.detach().max(i as isize, true)?;
            let top =
                Tensor::select(&top.greater(&Tensor::scalar(f64::NEG_INFINITY, x.dtype()))?, &top, &zero)?;
            let terms = x.sub(&top)?.exp()?;
            let total = terms.sum(i as isize, true)?;
            let share = terms.div(&Tensor::select(&total.detach().greater(&zero)?, &total, &one)?)?;
            Ok(vec![Some(share.mul(&step.grad.reshape(&kept)?)?)])
        }))
    }
}

fn sum_axis<T: Real + Element>(x: &[T], before: usize, extent: usize, after: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; before * after];
    if after == 1 {
        parallel::rows(&mut out, 1, extent, |first, out| {
            for (i, o) in out.iter_mut().enumerate() {
                let b = first + i;
                *o = real::sum(&x[b * extent..(b + 1) * extent]);
            }
        });
    } else if before == 1 {
        bert4rs_kernels::activation::sum_rows(x, after, &mut out);
    } else {
        parallel::rows(&mut out, after, after * extent, |first, out| {
            for (i, row) in out.chunks_mut(after).enumerate() {
                for j in 0..extent {
                    let at = ((first + i) * extent + j) * after;
                    row.iter_mut().zip(&x[at..at + after]).for_each(|(o, &v)| *o += v);
                }
            }
        });
    }
    out
}

fn kept_shape(shape: &[usize], axis: usize) -> Vec<usize> {
    let mut kept = shape.to_vec();
    kept[axis] = 1;
    kept
}

fn dropped_shape(shape: &[usize], axis: usize) -> Vec<usize> {
    let mut dropped = shape.to_vec();
    dropped.remove(axis);
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward;

    fn tensor(xs: &[f64], shape: &[usize]) -> Tensor {
        Tensor::new(xs.to_vec(), shape).unwrap()
    }

    #[test]
    fn sums_along_every_axis() {
        let x = tensor(&(0..24).map(f64::from).collect::<Vec<_>>(), &[2, 3, 4]);
        assert_eq!(x.sum(0, false).unwrap().to_f64_vec()[..3], [12., 14., 16.]);
        assert_eq!(x.sum(1, false).unwrap().to_f64_vec(), [12., 15., 18., 21., 48., 51., 54., 57.]);
        assert_eq!(x.sum(-1, true).unwrap().shape(), [2, 3, 1]);
        assert_eq!(x.mean_all().unwrap().item().unwrap(), 11.5);
        assert!(x.sum(3, false).unwrap_err().to_string().contains("axis 3"));
    }

    #[test]
    fn the_first_of_equal_maxima_wins() {
        let x = tensor(&[1., 3., 3., 2., 2., 0.], &[2, 3]).tracked();
        let y = x.max(1, false).unwrap();
        assert_eq!(y.to_f64_vec(), [3., 2.]);
        let gradients = backward(y.sum_all().unwrap()).unwrap();
        assert_eq!(gradients.of(&x).unwrap().to_f64_vec(), [0., 1., 0., 1., 0., 0.]);
    }

    #[test]
    fn log_sum_exp_survives_extremes() {
        let x = tensor(&[1e4, 1e4, f64::NEG_INFINITY, f64::NEG_INFINITY], &[2, 2]).tracked();
        let y = x.log_sum_exp(1, false).unwrap();
        assert_eq!(y.to_f64_vec(), [1e4 + 2f64.ln(), f64::NEG_INFINITY]);
        let gradients = crate::grad(&y.narrow(0, 0, 1).unwrap().sum_all().unwrap(), &[&x], false).unwrap();
        assert_eq!(gradients[0].to_f64_vec(), [0.5, 0.5, 0., 0.]);
    }
}

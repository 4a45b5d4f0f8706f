//! Moving elements without changing them: reshape, permute, narrow, concatenate. All elementary.

use crate::buffer::zeros;
use crate::shape::{axis, elements, split};
use crate::storage::{Storage, float};
use crate::{Element, Error, Result, Tensor};

impl Tensor {
    /// The same elements in another shape; no copy.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        if shape == self.shape() {
            return Ok(self.clone());
        }
        if elements(shape) != self.elements() {
            return Error::shape(
                "reshape",
                format!(
                    "{:?} has {} elements, {shape:?} has {}",
                    self.shape(),
                    self.elements(),
                    elements(shape)
                ),
            );
        }
        Ok(Tensor::made("reshape", false, self.storage().clone(), shape.to_vec(), &[self], |step| {
            Ok(vec![Some(step.grad.reshape(step.inputs[0].shape())?)])
        }))
    }

    /// Reorders the axes: axis `i` of the result is axis `order[i]` of this tensor.
    pub fn permute(&self, order: &[usize]) -> Result<Tensor> {
        let rank = self.rank();
        let mut inverse = vec![rank; rank];
        for (i, &o) in order.iter().enumerate() {
            if o < rank {
                inverse[o] = i;
            }
        }
        if order.len() != rank || inverse.contains(&rank) {
            return Error::shape(
                "permute",
                format!("{order:?} does not order the {rank} axes of {:?}", self.shape()),
            );
        }
        let mut strides = vec![1; rank];
        for i in (1..rank).rev() {
            strides[i - 1] = strides[i] * self.shape()[i];
        }
        let shape: Vec<usize> = order.iter().map(|&o| self.shape()[o]).collect();
        let steps: Vec<usize> = order.iter().map(|&o| strides[o]).collect();
        let storage = match self.storage() {
            Storage::F32(x) => Storage::from(walk(x, &shape, &steps)),
            Storage::F64(x) => Storage::from(walk(x, &shape, &steps)),
            Storage::I64(x) => Storage::from(walk(x, &shape, &steps)),
        };
        Ok(Tensor::made("permute", false, storage, shape, &[self], move |step| {
            Ok(vec![Some(step.grad.permute(&inverse)?)])
        }))
    }

    /// Swaps two axes (negative: from the end).
    pub fn transpose(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (axis("transpose", a, self.shape())?, axis("transpose", b, self.shape())?);
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.swap(a, b);
        self.permute(&order)
    }

    /// The transpose of a matrix.
    pub fn t(&self) -> Result<Tensor> {
        self.transpose(-1, -2)
    }

    /// `len` entries from `start` along an axis.
    pub fn narrow(&self, along: isize, start: usize, len: usize) -> Result<Tensor> {
        let i = axis("narrow", along, self.shape())?;
        let (before, extent, after) = split(self.shape(), i);
        let end = start.saturating_add(len);
        if end > extent {
            return Error::shape("narrow", format!("{start}..{end} of an axis of extent {extent}"));
        }
        let mut shape = self.shape().to_vec();
        shape[i] = len;
        let storage = match self.storage() {
            Storage::F32(x) => Storage::from(cut(x, before, extent, after, start, len)),
            Storage::F64(x) => Storage::from(cut(x, before, extent, after, start, len)),
            Storage::I64(x) => Storage::from(cut(x, before, extent, after, start, len)),
        };
        Ok(Tensor::made("narrow", false, storage, shape, &[self], move |step| {
            Ok(vec![Some(step.grad.pad(i, start, extent)?)])
        }))
    }

    /// Zeros of extent `extent` along an axis, with this tensor from `start`: the adjoint of `narrow`.
    fn pad(&self, i: usize, start: usize, extent: usize) -> Result<Tensor> {
        let (before, len, after) = split(self.shape(), i);
        let mut shape = self.shape().to_vec();
        shape[i] = extent;
        let storage = float!("pad", self, T => {
            let x = self.values::<T>()?;
            let mut out = zeros::<T>(elements(&shape));
            for b in 0..before {
                let at = (b * extent + start) * after;
                out[at..at + len * after].copy_from_slice(&x[b * len * after..(b + 1) * len * after]);
            }
            Ok::<_, Error>(Storage::from(out))
        })?;
        Ok(Tensor::made("pad", false, storage, shape, &[self], move |step| {
            Ok(vec![Some(step.grad.narrow(i as isize, start, len)?)])
        }))
    }

    /// Joins tensors along an axis; the other extents must agree.
    pub fn concat(parts: &[&Tensor], along: isize) -> Result<Tensor> {
        let Some(first) = parts.first() else {
            return Error::shape("concat", "nothing to join");
        };
        let i = axis("concat", along, first.shape())?;
        let mut shape = first.shape().to_vec();
        shape[i] = 0;
        for part in parts {
            let fits =
                part.rank() == shape.len() && (0..shape.len()).all(|j| j == i || part.shape()[j] == shape[j]);
            if !fits || part.dtype() != first.dtype() {
                return Error::shape(
                    "concat",
                    format!(
                        "{:?} {:?} beside {:?} {:?} along axis {along}",
                        part.dtype(),
                        part.shape(),
                        first.dtype(),
                        first.shape()
                    ),
                );
            }
            shape[i] += part.shape()[i];
        }
        let (before, total, after) = split(&shape, i);
        let extents: Vec<usize> = parts.iter().map(|p| p.shape()[i]).collect();
        let storage = float!("concat", first, T => {
            let values: Vec<&[T]> = parts.iter().map(|p| p.values::<T>()).collect::<Result<_>>()?;
            let mut out = Vec::with_capacity(before * total * after);
            for b in 0..before {
                for (x, e) in values.iter().zip(&extents) {
                    out.extend_from_slice(&x[b * e * after..(b + 1) * e * after]);
                }
            }
            Ok::<_, Error>(Storage::from(out))
        })?;
        Ok(Tensor::made("concat", false, storage, shape, parts, move |step| {
            let mut start = 0;
            let mut grads = Vec::with_capacity(extents.len());
            for (&e, &needed) in extents.iter().zip(&step.needs) {
                grads.push(if needed { Some(step.grad.narrow(i as isize, start, e)?) } else { None });
                start += e;
            }
            Ok(grads)
        }))
    }
}

fn walk<T: Element>(x: &[T], shape: &[usize], steps: &[usize]) -> Vec<T> {
    let mut out = Vec::with_capacity(x.len());
    if elements(shape) == 0 {
        return out;
    }
    let Some(last) = shape.len().checked_sub(1) else { return x.to_vec() };
    let mut index = vec![0; last];
    loop {
        let base: usize = index.iter().zip(steps).map(|(i, s)| i * s).sum();
        match steps[last] {
            1 => out.extend_from_slice(&x[base..base + shape[last]]),
            step => out.extend((0..shape[last]).map(|j| x[base + j * step])),
        }
        let Some(axis) = (0..last).rev().find(|&a| index[a] + 1 < shape[a]) else { return out };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

fn cut<T: Element>(x: &[T], before: usize, extent: usize, after: usize, start: usize, len: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(before * len * after);
    for b in 0..before {
        let at = (b * extent + start) * after;
        out.extend_from_slice(&x[at..at + len * after]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward;

    fn count(shape: &[usize]) -> Tensor {
        Tensor::new((0..elements(shape)).map(|i| i as f64).collect(), shape).unwrap()
    }

    #[test]
    fn permuting_moves_axes() {
        let x = count(&[2, 3, 4]);
        let y = x.permute(&[2, 0, 1]).unwrap();
        assert_eq!(y.shape(), [4, 2, 3]);
        assert_eq!(y.to_f64_vec()[..6], [0., 4., 8., 12., 16., 20.]);
        assert_eq!(y.permute(&[1, 2, 0]).unwrap().to_f64_vec(), x.to_f64_vec());
        assert!(x.permute(&[0, 1, 1]).is_err());
        assert_eq!(count(&[0, 2]).t().unwrap().shape(), [2, 0]);
    }

    #[test]
    fn narrow_and_concat_undo_each_other() {
        let x = count(&[2, 5]).tracked();
        let (a, b) = (x.narrow(1, 0, 2).unwrap(), x.narrow(1, 2, 3).unwrap());
        let y = Tensor::concat(&[&a, &b], 1).unwrap();
        assert_eq!(y.to_f64_vec(), x.to_f64_vec());
        let gradients = backward(y.mul(&y).unwrap().sum_all().unwrap()).unwrap();
        assert_eq!(gradients.of(&x).unwrap().to_f64_vec(), x.mul_scalar(2.0).unwrap().to_f64_vec());
        assert_eq!(x.narrow(1, 4, 2).unwrap_err().to_string(), "narrow: 4..6 of an axis of extent 5");
    }

    #[test]
    fn reshape_keeps_the_number_of_elements() {
        assert_eq!(
            count(&[2, 3]).reshape(&[4]).unwrap_err().to_string(),
            "reshape: [2, 3] has 6 elements, [4] has 4"
        );
    }
}

//! Shapes and broadcasting.

use crate::{Error, Result};

/// The extents of a tensor's axes, outermost first; `[]` is a scalar.
pub type Shape = Vec<usize>;

/// The number of elements of a shape.
pub(crate) fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The common shape of two operands: axes are aligned at the end, and an extent of 1 stretches.
pub(crate) fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Error::shape(op, format!("shapes {a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// Row-major strides of `shape`, 0 on axes that stretch to `target`.
pub(crate) fn broadcast_strides(shape: &[usize], target: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; target.len()];
    let mut step = 1;
    for i in (0..shape.len()).rev() {
        let j = target.len() - shape.len() + i;
        strides[j] = if shape[i] == 1 { 0 } else { step };
        step *= shape[i];
    }
    strides
}

/// `axis` counted from the end when negative, checked against the rank.
pub(crate) fn axis(op: &'static str, axis: isize, shape: &[usize]) -> Result<usize> {
    let rank = shape.len() as isize;
    let i = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&i) {
        Ok(i as usize)
    } else {
        Error::shape(op, format!("axis {axis} of a tensor of shape {shape:?}"))
    }
}

/// (product of extents before, extent of, product of extents after) an axis.
pub(crate) fn split(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (elements(&shape[..axis]), shape[axis], elements(&shape[axis + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_from_the_end() {
        assert_eq!(broadcast("t", &[4, 1, 3], &[2, 1]).unwrap(), [4, 2, 3]);
        assert_eq!(broadcast("t", &[], &[2]).unwrap(), [2]);
        let error = broadcast("add", &[2, 3], &[2, 4]).unwrap_err().to_string();
        assert_eq!(error, "add: shapes [2, 3] and [2, 4] do not broadcast");
    }

    #[test]
    fn stretched_axes_have_stride_zero() {
        assert_eq!(broadcast_strides(&[1, 3], &[4, 2, 3]), [0, 0, 1]);
        assert_eq!(broadcast_strides(&[4, 1, 3], &[4, 2, 3]), [3, 0, 1]);
    }
}

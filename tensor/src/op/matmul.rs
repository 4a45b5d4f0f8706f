//! Matrix products. Elementary. Cost O(M N K) per matrix.

use bert4rs_kernels::Real;
use bert4rs_kernels::gemm::{self, View};

use crate::buffer::unset;
use crate::shape::elements;
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor};

impl Tensor {
    /// `self @ other`: `[M, K] @ [K, N]`, or `[.., M, K] @ [.., K, N]` with equal leading axes, or
    /// `[.., M, K] @ [K, N]`.
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        product(self, false, other, false)
    }

    /// `self @ other^T`: `[.., M, K] @ [.., N, K]`, without moving elements.
    pub fn matmul_t(&self, other: &Tensor) -> Result<Tensor> {
        product(self, false, other, true)
    }
}

/// The product with either operand transposed in its last two axes.
fn product(a: &Tensor, a_t: bool, b: &Tensor, b_t: bool) -> Result<Tensor> {
    let fail = || {
        let (x, y) = (if a_t { "^T" } else { "" }, if b_t { "^T" } else { "" });
        Error::shape("matmul", format!("{:?}{x} @ {:?}{y} do not fit", a.shape(), b.shape()))
    };
    if a.dtype() != b.dtype() {
        return Err(Error::DType { op: "matmul", expected: "two tensors of one type", got: b.dtype() });
    }
    if a.rank() < 2 || b.rank() < 2 {
        return fail();
    }
    if b.rank() == 2 && a.rank() > 2 && !a_t {
        // One right operand for all: a single large product.
        let (rows, k) = (elements(&a.shape()[..a.rank() - 1]), a.shape()[a.rank() - 1]);
        let y = product(&a.reshape(&[rows, k])?, false, b, b_t)?;
        let mut shape = a.shape().to_vec();
        shape[a.rank() - 1] = y.shape()[1];
        return y.reshape(&shape);
    }
    let (batch, [ar, ac]) = last_two(a.shape());
    let (b_batch, [br, bc]) = last_two(b.shape());
    let (m, k) = if a_t { (ac, ar) } else { (ar, ac) };
    let (k_b, n) = if b_t { (bc, br) } else { (br, bc) };
    if k != k_b || batch != b_batch {
        return fail();
    }
    let count = elements(batch);
    let shape: Vec<usize> = batch.iter().copied().chain([m, n]).collect();
    let storage = float!("matmul", a, T => {
        let (x, y) = (a.values::<T>()?, b.values::<T>()?);
        let mut out = unset::<T>(count * m * n);
        if m * n > 0 {
            for (i, c) in out.chunks_mut(m * n).enumerate() {
                let left = view(&x[i * m * k..(i + 1) * m * k], ac, a_t);
                let right = view(&y[i * k * n..(i + 1) * k * n], bc, b_t);
                gemm::matmul(m, n, k, left, right, c, false);
            }
        }
        Ok::<_, Error>(Storage::from(out))
    })?;
    Ok(Tensor::made("matmul", false, storage, shape, &[a, b], move |step| {
        let (a, b, g) = (&step.inputs[0], &step.inputs[1], &step.grad);
        // C = op(A) op(B):  d op(A) = G op(B)^T,  d op(B) = op(A)^T G
        let d_a = match (step.needs[0], a_t) {
            (false, _) => None,
            (true, false) => Some(product(g, false, b, !b_t)?),
            (true, true) => Some(product(b, b_t, g, true)?),
        };
        let d_b = match (step.needs[1], b_t) {
            (false, _) => None,
            (true, false) => Some(product(a, !a_t, g, false)?),
            (true, true) => Some(product(g, true, a, a_t)?),
        };
        Ok(vec![d_a, d_b])
    }))
}

fn last_two(shape: &[usize]) -> (&[usize], [usize; 2]) {
    let (batch, last) = shape.split_at(shape.len() - 2);
    (batch, [last[0], last[1]])
}

fn view<T: Real>(data: &[T], columns: usize, transposed: bool) -> View<'_, T> {
    if transposed { View::transposed(data, columns) } else { View::row_major(data, columns) }
}

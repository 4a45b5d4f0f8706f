//! Scores that depend on a pair of positions through a table: gather and its adjoint.
//! Definition:  gather: y[h, i, j] = x[h, row(i, j), column(i, j)];  spread: x[h, i, c] = sum of
//!              y[h, i, j] over the j with column(i, j) = c
//! Shapes:      x [H, N, C], y [H, L, M]

use bert4rs_tensor::Tensor;

use crate::Result;

/// The number of `x [H, N, C]` that each pair `(i, j)` of `0..len` names: `[H, len, len]`.
pub fn gather_pairs(
    x: &Tensor,
    len: usize,
    place: impl Fn(usize, usize) -> (usize, usize),
) -> Result<Tensor> {
    let (heads, rows, columns) = (x.shape()[0], x.shape()[1], x.shape()[2]);
    let ids: Vec<usize> = (0..len * len)
        .map(|n| {
            let (row, column) = place(n / len, n % len);
            row * columns + column
        })
        .collect();
    let flat = x.permute(&[1, 2, 0])?.reshape(&[rows * columns, heads])?;
    Ok(flat.rows(&ids)?.reshape(&[len, len, heads])?.permute(&[2, 0, 1])?)
}

/// For each head and query the sums of `y [H, L, L]` over the keys of each column: `[H, L, columns]`.
pub fn spread_pairs(y: &Tensor, columns: usize, column: impl Fn(usize, usize) -> usize) -> Result<Tensor> {
    let (heads, len) = (y.shape()[0], y.shape()[1]);
    let ids: Vec<usize> = (0..len * len).map(|n| n / len * columns + column(n / len, n % len)).collect();
    let flat = y.permute(&[1, 2, 0])?.reshape(&[len * len, heads])?;
    let summed = flat.scatter_rows(&ids, len * columns)?;
    Ok(summed.reshape(&[len, columns, heads])?.permute(&[2, 0, 1])?)
}

//! Rows by number: gather, its adjoint scatter-add, and one element per row. All elementary.

use bert4rs_kernels::embedding;

use crate::buffer::{unset, zeros};
use crate::shape::elements;
use crate::storage::{Storage, float};
use crate::{DType, Error, Result, Tensor};

impl Tensor {
    /// Rows `ids` of a table `[V, ..]` -> `[N, ..]`: an embedding look-up. Cost O(N D).
    pub fn rows(&self, ids: &[usize]) -> Result<Tensor> {
        let (&count, rest) = self.shape().split_first().ok_or_else(|| no_rows("rows"))?;
        if let Some((at, id)) = ids.iter().enumerate().find(|(_, id)| **id >= count) {
            return Error::value("rows", format!("id {id} at position {at} of a table of {count} rows"));
        }
        let width = elements(rest);
        let shape: Vec<usize> = std::iter::once(ids.len()).chain(rest.iter().copied()).collect();
        let storage = float!("rows", self, T => {
            let mut out = unset::<T>(ids.len() * width);
            if width > 0 {
                embedding::gather(self.values::<T>()?, width, ids, &mut out);
            }
            Ok::<_, Error>(Storage::from(out))
        })?;
        let ids = ids.to_vec();
        Ok(Tensor::made("rows", false, storage, shape, &[self], move |step| {
            Ok(vec![Some(step.grad.scatter_rows(&ids, count)?)])
        }))
    }

    /// Adds row `i` of `[N, ..]` to row `ids[i]` of zeros `[count, ..]`: the adjoint of [`Tensor::rows`].
    pub fn scatter_rows(&self, ids: &[usize], count: usize) -> Result<Tensor> {
        let (&n, rest) = self.shape().split_first().ok_or_else(|| no_rows("scatter_rows"))?;
        if n != ids.len() {
            return Error::shape("scatter_rows", format!("{} ids for {n} rows", ids.len()));
        }
        if let Some(id) = ids.iter().find(|id| **id >= count) {
            return Error::value("scatter_rows", format!("id {id} of {count} rows"));
        }
        let width = elements(rest);
        let shape: Vec<usize> = std::iter::once(count).chain(rest.iter().copied()).collect();
        let storage = float!("scatter_rows", self, T => {
            let mut out = zeros::<T>(count * width);
            if width > 0 {
                embedding::scatter_add(self.values::<T>()?, width, ids, &mut out);
            }
            Ok::<_, Error>(Storage::from(out))
        })?;
        let ids = ids.to_vec();
        Ok(Tensor::made("scatter_rows", false, storage, shape, &[self], move |step| {
            Ok(vec![Some(step.grad.rows(&ids)?)])
        }))
    }

    /// Element `ids[i]` of row `i` of `[N, C]` -> `[N]`.
    pub fn pick(&self, ids: &[usize]) -> Result<Tensor> {
        let &[n, classes] = self.shape() else {
            return Error::shape("pick", format!("expected [N, C], got {:?}", self.shape()));
        };
        if n != ids.len() {
            return Error::shape("pick", format!("{} ids for {n} rows", ids.len()));
        }
        if let Some((row, id)) = ids.iter().enumerate().find(|(_, id)| **id >= classes) {
            return Error::value("pick", format!("id {id} in row {row} of {classes} columns"));
        }
        let flat: Vec<usize> = ids.iter().enumerate().map(|(row, id)| row * classes + id).collect();
        self.reshape(&[n * classes])?.rows(&flat)
    }

    /// The elements as indices; an error on negative numbers or another dtype.
    pub fn to_indices(&self) -> Result<Vec<usize>> {
        if self.dtype() != DType::I64 {
            return Err(Error::DType { op: "to_indices", expected: "I64", got: self.dtype() });
        }
        let convert = |&v: &i64| match usize::try_from(v) {
            Ok(i) => Ok(i),
            Err(_) => Error::value("to_indices", format!("negative index {v}")),
        };
        self.values::<i64>()?.iter().map(convert).collect()
    }
}

fn no_rows(op: &'static str) -> Error {
    Error::Shape { op, message: "a scalar has no rows".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward;

    #[test]
    fn duplicate_rows_add_their_gradients() {
        let table = Tensor::new(vec![1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2]).unwrap().tracked();
        let y = table.rows(&[2, 0, 2]).unwrap();
        assert_eq!(y.to_f64_vec(), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        let gradients = backward(y.sum_all().unwrap()).unwrap();
        assert_eq!(gradients.of(&table).unwrap().to_f64_vec(), [1.0, 1.0, 0.0, 0.0, 2.0, 2.0]);
        assert_eq!(
            table.rows(&[0, 3]).unwrap_err().to_string(),
            "rows: id 3 at position 1 of a table of 3 rows"
        );
        assert_eq!(table.rows(&[]).unwrap().shape(), [0, 2]);
    }

    #[test]
    fn pick_takes_one_element_a_row() {
        let x = Tensor::new(vec![1.0f64, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
        assert_eq!(x.pick(&[1, 0]).unwrap().to_f64_vec(), [2.0, 3.0]);
        assert!(x.pick(&[1, 2]).unwrap_err().to_string().contains("row 1"));
    }
}

//! Matryoshka: the first numbers of a vector are a vector too.
//! Definition:  sum over widths w of loss(first w numbers of every vector)
//! Shapes:      vectors [N, D] each -> scalar.  Cost: the loss once per width; the encoder runs once
//! Reference:   Matryoshka Representation Learning, 2022 (arXiv 2205.13147).  Vectors: none

use bert4rs_tensor::Tensor;

use crate::{Error, Result};

/// The sum of `loss` over cuts of all `vectors` to `widths`.
pub fn matryoshka(
    vectors: &[&Tensor],
    widths: &[usize],
    loss: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut total: Option<Tensor> = None;
    for &width in widths {
        let cut = |x: &&Tensor| match x.shape() {
            &[_, d] if (1..=d).contains(&width) => Ok(x.narrow(1, 0, width)?),
            shape => Err(Error::Input(format!(
                "matryoshka: {width} numbers of vectors {shape:?}: expected 1 to their width"
            ))),
        };
        let part = loss(&vectors.iter().map(cut).collect::<Result<Vec<_>>>()?)?;
        total = Some(match total {
            Some(total) => total.add(&part)?,
            None => part,
        });
    }
    total.ok_or_else(|| Error::Input("matryoshka: no width; expected at least one".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::cosine_regression;

    #[test]
    fn it_is_the_sum_of_the_loss_over_cuts() {
        let u = Tensor::new(vec![1.0, 2.0, -1.0, 0.5, 0.1, 3.0], &[2, 3]).unwrap();
        let v = Tensor::new(vec![0.3, 1.0, 1.0, -0.5, 2.0, 1.0], &[2, 3]).unwrap();
        let loss = |x: &[Tensor]| cosine_regression(&x[0], &x[1], &[1.0, 0.0]);
        let both = matryoshka(&[&u, &v], &[3, 2], loss).unwrap().item().unwrap();
        let cut = |x: &Tensor| x.narrow(1, 0, 2).unwrap();
        let parts = [loss(&[u.clone(), v.clone()]), loss(&[cut(&u), cut(&v)])];
        let sum: f64 = parts.into_iter().map(|l| l.unwrap().item().unwrap()).sum();
        assert!((both - sum).abs() < 1e-15);
    }

    #[test]
    fn a_width_that_is_not_there_is_refused() {
        let u = Tensor::new(vec![1.0, 2.0], &[1, 2]).unwrap();
        for widths in [&[3][..], &[0], &[]] {
            let error = matryoshka(&[&u], widths, |x| Ok(x[0].sum_all()?)).unwrap_err().to_string();
            assert!(error.contains("expected"), "{error}");
        }
    }
}

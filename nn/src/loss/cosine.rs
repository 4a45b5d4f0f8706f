//! Losses on the cosines and distances of pairs and triples.
//! Definition:  regression: mean (cos(u, v) - target)^2
//!              triplet: mean max(0, d(a, p) - d(a, n) + margin), d = 1 - cos or the Euclidean distance
//! Shapes:      u, v, a, p, n [N, D] -> scalar
//! Numerics:    a vector of zeros has cosine 0; equal vectors have distance 0 and gradient 0
//! Reference:   Sentence-BERT, 2019; FaceNet, 2015.    Vectors: none (gradient-checked here)

use bert4rs_tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::block::pooling::normalize;
use crate::{Error, Result};

/// The cosine of each pair of rows, `[N]`.
pub fn cosines(u: &Tensor, v: &Tensor) -> Result<Tensor> {
    if u.shape() != v.shape() || u.rank() != 2 {
        let message = format!("cosines: {:?} and {:?}: expected [N, D] twice", u.shape(), v.shape());
        return Err(Error::Input(message));
    }
    Ok(normalize(u)?.mul(&normalize(v)?)?.sum(1, false)?)
}

/// The mean squared difference of cosines and targets, usually 0..1.
pub fn cosine_regression(u: &Tensor, v: &Tensor, targets: &[f64]) -> Result<Tensor> {
    let targets = Tensor::new(targets.to_vec(), &[targets.len()])?.cast(u.dtype())?;
    Ok(cosines(u, v)?.sub(&targets)?.square()?.mean_all()?)
}

/// How far two vectors are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// `1 - cos`
    #[default]
    Cosine,
    /// The length of the difference.
    Euclidean,
}

/// An anchor is nearer to its positive than to its negative, by `margin`.
pub fn triplet(
    anchors: &Tensor,
    positives: &Tensor,
    negatives: &Tensor,
    margin: f64,
    distance: Distance,
) -> Result<Tensor> {
    let apart = |a: &Tensor, b: &Tensor| -> Result<Tensor> {
        Ok(match distance {
            Distance::Cosine => cosines(a, b)?.neg()?, // the 1 cancels
            Distance::Euclidean => {
                let squares = a.sub(b)?.square()?.sum(1, false)?;
                // Below 1e-24 the root's slope would be infinite.
                squares.maximum(&Tensor::scalar(1e-24, a.dtype()))?.sqrt()?
            }
        })
    };
    let excess = apart(anchors, positives)?.sub(&apart(anchors, negatives)?)?.add_scalar(margin)?;
    Ok(excess.relu()?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use bert4rs_testing::assert_gradients;

    use super::*;

    fn rows(values: &[f64]) -> Tensor {
        Tensor::new(values.to_vec(), &[values.len() / 2, 2]).unwrap()
    }

    #[test]
    fn by_hand() {
        let (u, v) = (rows(&[3.0, 4.0, 1.0, 0.0]), rows(&[4.0, 3.0, 0.0, 2.0]));
        assert!((cosines(&u, &v).unwrap().to_f64_vec()[0] - 0.96).abs() < 1e-15);
        let loss = cosine_regression(&u, &v, &[1.0, 0.5]).unwrap().item().unwrap();
        assert!((loss - (0.04f64.powi(2) + 0.25) / 2.0).abs() < 1e-15);
        let loss = triplet(&u, &u, &v, 0.5, Distance::Cosine).unwrap().item().unwrap();
        assert!((loss - (0.5 - 0.04) / 2.0).abs() < 1e-15);
        let loss = triplet(&u, &u, &v, 5.0, Distance::Euclidean).unwrap().item().unwrap();
        assert!((loss - (10.0 - 2f64.sqrt() - 5f64.sqrt()) / 2.0).abs() < 1e-11);
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let xs = [rows(&[0.3, 0.4, 1.0, 0.2]), rows(&[0.4, -0.3, 0.1, 0.9]), rows(&[0.4, 0.5, 1.1, -0.2])];
        assert_gradients("regression", &xs[..2], |xs| {
            Ok(cosine_regression(&xs[0], &xs[1], &[1.0, 0.2]).unwrap())
        });
        for distance in [Distance::Cosine, Distance::Euclidean] {
            assert_gradients(
                "triplet",
                &xs,
                |xs| Ok(triplet(&xs[0], &xs[1], &xs[2], 0.7, distance).unwrap()),
            );
        }
    }

    #[test]
    fn vectors_of_zeros_and_equal_vectors_have_finite_gradients() {
        let zero = rows(&[0.0, 0.0]).tracked();
        let other = rows(&[1.0, 2.0]);
        for loss in [
            cosine_regression(&zero, &other, &[1.0]),
            triplet(&zero, &zero, &other, 5.0, Distance::Euclidean),
        ] {
            let gradient = bert4rs_tensor::grad(&loss.unwrap(), &[&zero], false).unwrap();
            assert!(gradient[0].to_f64_vec().iter().all(|g| g.is_finite()));
        }
    }
}

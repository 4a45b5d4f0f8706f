//! Each row finds its own candidate among those of the batch: softmax over scaled cosines.
//! Definition:  SimCSE: 2N views, candidates are the other 2N - 1, the target is the other view
//!              multiple negatives: anchor i, candidates are all positives and hard negatives, target i
//!              loss = mean over rows of cross entropy(scale cos, target);  scale = 1 / temperature
//! Shapes:      vectors [2N, D] or anchors, positives [N, D], negatives [K, D] -> scalar
//! Numerics:    what is no candidate is -inf; one candidate only -> exactly 0.  Cost O(N (N + K) D)
//! Reference:   SimCSE, 2021; SimBERT, 2020; Henderson et al., 2017.
//!              Vectors: simcse.json, simbert-roformer-sim.json

use bert4rs_tensor::Tensor;

use super::cross_entropy;
use crate::block::pooling::normalize;
use crate::{Error, Result};

/// Where the two views of a text stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// Rows `2i` and `2i + 1`.
    Interleaved,
    /// Rows `i` and `N + i`.
    Concatenated,
}

/// How anchors choose among candidates.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Factor of the cosines.
    pub scale: f64,
    /// The anchor that each hard negative was made for.
    pub owners: &'a [usize],
    /// Added to an anchor's score of its own hard negatives: the logarithm of their weight.
    pub hard_negative_log_weight: f64,
    /// (anchor, candidate) that are not compared, positives first: equal texts, known positives.
    pub excluded: &'a [(usize, usize)],
    /// The mean with the loss of each positive that looks for its anchor.
    pub symmetric: bool,
}

impl Default for Choice<'_> {
    fn default() -> Self {
        Self { scale: 20.0, owners: &[], hard_negative_log_weight: 0.0, excluded: &[], symmetric: false }
    }
}

/// SimCSE without labels, and SimBERT's similarity of paraphrases. `excluded` are pairs of rows that are
/// not compared.
pub fn simcse(vectors: &Tensor, scale: f64, views: Views, excluded: &[(usize, usize)]) -> Result<Tensor> {
    let &[rows, _] = vectors.shape() else {
        return input(format!("vectors {:?}: expected [2N, D]", vectors.shape()));
    };
    if rows == 0 || !rows.is_multiple_of(2) {
        return input(format!("{rows} rows: expected two views of each text"));
    }
    let unit = normalize(vectors)?;
    let mut hidden: Vec<(usize, usize)> = (0..rows).map(|i| (i, i)).collect();
    hidden.extend(excluded);
    let other = |i: usize| match views {
        Views::Interleaved => i ^ 1,
        Views::Concatenated => (i + rows / 2) % rows,
    };
    let scores = hide(&scores(&unit, &unit, scale)?, &hidden)?; // [2N, 2N]
    cross_entropy(&scores, &(0..rows).map(|i| other(i) as i64).collect::<Vec<_>>(), 0.0)
}

/// Multiple negatives ranking; with hard negatives SimCSE with labels.
pub fn multiple_negatives(
    anchors: &Tensor,
    positives: &Tensor,
    negatives: Option<&Tensor>,
    how: &Choice,
) -> Result<Tensor> {
    if anchors.rank() != 2 || anchors.shape() != positives.shape() || anchors.shape()[0] == 0 {
        let (a, p) = (anchors.shape(), positives.shape());
        return input(format!("anchors {a:?}, positives {p:?}: expected one positive for each anchor"));
    }
    let n = anchors.shape()[0];
    let count = negatives.map_or(0, |x| x.shape()[0]);
    if how.owners.len() != count {
        return input(format!("{} owners of {count} hard negatives", how.owners.len()));
    }
    let (anchors, positives) = (normalize(anchors)?, normalize(positives)?);
    let candidates = match negatives {
        Some(negatives) => Tensor::concat(&[&positives, &normalize(negatives)?], 0)?, // [N + K, D]
        None => positives.clone(),
    };
    let mut forward = scores(&anchors, &candidates, how.scale)?; // [N, N + K]
    if how.hard_negative_log_weight != 0.0 && count > 0 {
        let mut weight = vec![0.0; n * (n + count)];
        for (k, &owner) in how.owners.iter().enumerate() {
            weight[owner * (n + count) + n + k] = how.hard_negative_log_weight;
        }
        forward = forward.add(&Tensor::new(weight, &[n, n + count])?.cast(forward.dtype())?)?;
    }
    let targets: Vec<i64> = (0..n as i64).collect();
    let loss = cross_entropy(&hide(&forward, how.excluded)?, &targets, 0.0)?;
    if !how.symmetric {
        return Ok(loss);
    }
    let flipped: Vec<(usize, usize)> =
        how.excluded.iter().filter(|(_, c)| *c < n).map(|&(a, c)| (c, a)).collect();
    let back = hide(&scores(&positives, &anchors, how.scale)?, &flipped)?; // [N, N]
    Ok(loss.add(&cross_entropy(&back, &targets, 0.0)?)?.mul_scalar(0.5)?)
}

/// How close the views of a text are: the mean of `|a - b|^2` of unit vectors (Wang and Isola, 2020).
pub fn alignment(a: &Tensor, b: &Tensor) -> Result<f64> {
    let apart = normalize(a)?.sub(&normalize(b)?)?.square()?.sum(1, false)?;
    Ok(apart.mean_all()?.item()?)
}

/// How evenly vectors fill the sphere: `log mean over i < j of exp(-t |a_i - a_j|^2)`; less is more even.
pub fn uniformity(a: &Tensor, t: f64) -> Result<f64> {
    let unit = normalize(a)?;
    let n = unit.shape()[0];
    let cosines = unit.matmul_t(&unit)?.to_f64_vec();
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    let terms: Vec<f64> = pairs.map(|(i, j)| -t * (2.0 - 2.0 * cosines[i * n + j])).collect();
    Ok(bert4rs_tensor::log_sum_exp::log_sum_exp(&terms) - (terms.len() as f64).ln())
}

fn scores(rows: &Tensor, candidates: &Tensor, scale: f64) -> Result<Tensor> {
    if !(scale.is_finite() && scale > 0.0) {
        return input(format!("scale {scale}: expected a positive number, usually 20"));
    }
    Ok(rows.matmul_t(candidates)?.mul_scalar(scale)?)
}

/// -inf at (row, column).
fn hide(scores: &Tensor, places: &[(usize, usize)]) -> Result<Tensor> {
    if places.is_empty() {
        return Ok(scores.clone());
    }
    let &[rows, columns] = scores.shape() else { return Ok(scores.clone()) };
    let mut shown = vec![1.0; rows * columns];
    for &(row, column) in places {
        if row >= rows || column >= columns {
            return input(format!("excluded ({row}, {column}) of scores [{rows}, {columns}]"));
        }
        shown[row * columns + column] = 0.0;
    }
    let shown = Tensor::new(shown, &[rows, columns])?.cast(scores.dtype())?;
    Ok(Tensor::select(&shown, scores, &Tensor::scalar(f64::NEG_INFINITY, scores.dtype()))?)
}

fn input<T>(message: String) -> Result<T> {
    Err(Error::Input(format!("in-batch softmax: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f64], rows: usize) -> Tensor {
        Tensor::new(values.to_vec(), &[rows, values.len() / rows]).unwrap()
    }

    #[test]
    fn two_anchors_by_hand() {
        let a = tensor(&[2.0, 0.0, 0.0, 3.0], 2);
        let loss = multiple_negatives(&a, &a, None, &Choice { scale: 1.0, ..Choice::default() }).unwrap();
        assert!((loss.item().unwrap() - (1.0 + (-1f64).exp()).ln()).abs() < 1e-15);
    }

    #[test]
    fn an_excluded_candidate_does_not_count() {
        let a = tensor(&[1.0, 0.0, 1.0, 0.0], 2);
        let how = Choice { excluded: &[(0, 1), (1, 0)], symmetric: true, ..Choice::default() };
        assert_eq!(multiple_negatives(&a, &a, None, &how).unwrap().item().unwrap(), 0.0);
        assert!(multiple_negatives(&a, &a, None, &Choice::default()).unwrap().item().unwrap() > 0.6);
        let twice = tensor(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 4);
        let apart: Vec<_> =
            [(0, 2), (0, 3), (1, 2), (1, 3)].iter().flat_map(|&(i, j)| [(i, j), (j, i)]).collect();
        assert_eq!(simcse(&twice, 20.0, Views::Interleaved, &apart).unwrap().item().unwrap(), 0.0);
    }

    #[test]
    fn a_hard_negative_raises_the_loss() {
        let (a, p) = (tensor(&[1.0, 0.0, 0.0, 1.0], 2), tensor(&[1.0, 0.2, 0.1, 1.0], 2));
        let hard = tensor(&[1.0, 0.1], 1);
        let easy = multiple_negatives(&a, &p, None, &Choice::default()).unwrap().item().unwrap();
        let how = Choice { owners: &[0], ..Choice::default() };
        let harder = multiple_negatives(&a, &p, Some(&hard), &how).unwrap().item().unwrap();
        let how = Choice { hard_negative_log_weight: 1.0, ..how };
        let hardest = multiple_negatives(&a, &p, Some(&hard), &how).unwrap().item().unwrap();
        assert!(easy < harder && harder < hardest, "{easy} {harder} {hardest}");
    }

    #[test]
    fn odd_rows_and_bad_scales_are_refused() {
        let three = tensor(&[1.0, 2.0, 3.0], 3);
        let error = |r: Result<Tensor>| r.unwrap_err().to_string();
        assert!(error(simcse(&three, 20.0, Views::Interleaved, &[])).contains("3 rows"));
        let two = tensor(&[1.0, 2.0], 2);
        assert!(error(simcse(&two, -1.0, Views::Interleaved, &[])).contains("positive number"));
        assert!(error(multiple_negatives(&two, &three, None, &Choice::default())).contains("one positive"));
    }
}

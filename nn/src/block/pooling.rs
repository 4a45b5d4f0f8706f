//! Pooling: one vector per text from the vectors of its tokens.
//! Definition:  cls: first token; last: last token; mean; max; mean_sqrt_len: sum / sqrt(L);
//!              weighted mean: weights 1, 2, .., L; first-last mean: mean of the means of two layers
//! Shapes:      hidden [T, D] -> [B, D].  Cost O(T D); a text without tokens is an error

use bert4rs_tensor::{Packed, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the tokens of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The first token.
    Cls,
    /// The mean of all tokens.
    Mean,
    /// The largest value of each channel.
    Max,
    /// The sum divided by the square root of the length.
    MeanSqrtLen,
    /// The mean with weights 1, 2, .., L: later tokens of a causal model know more.
    WeightedMean,
    /// The last token.
    Last,
    /// The mean over the first and the last layer: see [`first_last_mean`].
    FirstLastMean,
}

/// Pools `hidden [T, D]`. [`Pooling::FirstLastMean`] needs two layers and is an error here.
pub fn pool(hidden: &Tensor, batch: &Packed, how: Pooling) -> Result<Tensor> {
    check(hidden, batch)?;
    match how {
        Pooling::Cls => Ok(hidden.rows(&batch.offsets()[..batch.sequences()])?),
        Pooling::Last => {
            let last: Vec<usize> = batch.offsets()[1..].iter().map(|end| end - 1).collect();
            Ok(hidden.rows(&last)?)
        }
        Pooling::Mean => weighted_sum(hidden, batch, |_| 1.0, |length| length),
        Pooling::MeanSqrtLen => weighted_sum(hidden, batch, |_| 1.0, f64::sqrt),
        Pooling::WeightedMean => {
            weighted_sum(hidden, batch, |i| i + 1.0, |length| length * (length + 1.0) / 2.0)
        }
        Pooling::Max => {
            let mut rows = Vec::with_capacity(batch.sequences());
            for b in 0..batch.sequences() {
                rows.push(hidden.narrow(0, batch.offsets()[b], batch.length(b))?.max(0, true)?); // [1, D]
            }
            if rows.is_empty() {
                return Ok(hidden.narrow(0, 0, 0)?);
            }
            Ok(Tensor::concat(&rows.iter().collect::<Vec<_>>(), 0)?)
        }
        Pooling::FirstLastMean => {
            Err(Error::Input("first_last_mean pools two layers: use `first_last_mean`".into()))
        }
    }
}

/// The mean of the means of the first and the last layer (not the embedding).
pub fn first_last_mean(first: &Tensor, last: &Tensor, batch: &Packed) -> Result<Tensor> {
    Ok(pool(&first.add(last)?, batch, Pooling::Mean)?.mul_scalar(0.5)?)
}

/// Rows of length 1; a row shorter than 1e-12, as in torch, is divided by that instead.
pub fn normalize(vectors: &Tensor) -> Result<Tensor> {
    // The bound stands under the root, whose slope at 0 is infinite.
    let least = Tensor::scalar(1e-24, vectors.dtype());
    let length = vectors.square()?.sum(-1, true)?.maximum(&least)?.sqrt()?; // [.., 1]
    Ok(vectors.div(&length)?)
}

/// `sum over i of weight(i) hidden_i / total(L)` of every text.
fn weighted_sum(
    hidden: &Tensor,
    batch: &Packed,
    weight: impl Fn(f64) -> f64,
    total: impl Fn(f64) -> f64,
) -> Result<Tensor> {
    let (tokens, texts) = (batch.tokens(), batch.sequences());
    let column = |values: Vec<f64>, n: usize| Tensor::new(values, &[n, 1])?.cast(hidden.dtype());
    let weights = column(batch.positions().iter().map(|&i| weight(i as f64)).collect(), tokens)?;
    let totals = column((0..texts).map(|b| total(batch.length(b) as f64)).collect(), texts)?;
    Ok(hidden.mul(&weights)?.scatter_rows(&batch.sequence_of_tokens(), texts)?.div(&totals)?)
}

fn check(hidden: &Tensor, batch: &Packed) -> Result<()> {
    if hidden.rank() != 2 || hidden.shape()[0] != batch.tokens() {
        let message = format!("pooling: hidden {:?} for {} packed tokens", hidden.shape(), batch.tokens());
        return Err(Error::Input(message));
    }
    match (0..batch.sequences()).find(|&b| batch.length(b) == 0) {
        None => Ok(()),
        Some(b) => Err(Error::Input(format!(
            "pooling: text {b} of the batch has no tokens; encode it with its special tokens"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_tokens_by_hand() {
        let hidden = Tensor::new(vec![1.0, 5.0, 4.0, 2.0, 7.0, -1.0, 9.0, 9.0], &[4, 2]).unwrap();
        let batch = Packed::from_lengths(&[3, 1]);
        let first = |how| pool(&hidden, &batch, how).unwrap().to_f64_vec()[..2].to_vec();
        assert_eq!(first(Pooling::Cls), [1.0, 5.0]);
        assert_eq!(first(Pooling::Last), [7.0, -1.0]);
        assert_eq!(first(Pooling::Max), [7.0, 5.0]);
        assert_eq!(first(Pooling::Mean), [4.0, 2.0]);
        assert_eq!(first(Pooling::WeightedMean), [5.0, 1.0]);
        assert!((first(Pooling::MeanSqrtLen)[0] - 12.0 / 3f64.sqrt()).abs() < 1e-15);
        assert_eq!(first_last_mean(&hidden, &hidden, &batch).unwrap().to_f64_vec(), [4.0, 2.0, 9.0, 9.0]);
        for how in [Pooling::Cls, Pooling::Last, Pooling::Max, Pooling::Mean, Pooling::WeightedMean] {
            assert_eq!(pool(&hidden, &batch, how).unwrap().to_f64_vec()[2..], [9.0, 9.0], "{how:?}");
        }
    }

    #[test]
    fn normalized_rows_have_length_one_and_zeros_stay() {
        let vectors = Tensor::new(vec![3.0f32, -4.0, 0.0, 0.0], &[2, 2]).unwrap();
        assert_eq!(normalize(&vectors).unwrap().values::<f32>().unwrap(), [0.6, -0.8, 0.0, 0.0]);
    }

    #[test]
    fn a_text_without_tokens_is_an_error() {
        let hidden = Tensor::new(vec![1.0, 5.0], &[1, 2]).unwrap();
        let error = pool(&hidden, &Packed::from_lengths(&[1, 0]), Pooling::Mean).unwrap_err().to_string();
        assert!(error.contains("text 1") && error.contains("special tokens"), "{error}");
        assert!(pool(&hidden, &Packed::from_lengths(&[2]), Pooling::Mean).is_err());
    }
}

//! How large activations are in depth, and what is left there of the input.
//! Definition:  scale: root of the mean square;  share: b^2 / (s^2 + b^2) for a stream of scale s and a branch of
//!              scale b;  alike: mean correlation of two tokens of a text;  left: mean cosine of a token's
//!              vector and its embedding
//! Reference:   Su, on initialisation, 2021, and why BERT's deviation is 0.02, 2021; see signal.rs

use std::cell::RefCell;

use bert4rs_tensor::{Packed, Tensor};
use serde::Serialize;

use super::Batch;
use crate::block::{PartKind, Sight};
use crate::encoder::Encoder;
use crate::signal::{self, LayerPrediction};
use crate::{Ctx, Result};

/// Scales from the embedding to the last layer.
#[derive(Clone, Debug, Serialize)]
pub struct Activations {
    /// Of the embedded tokens.
    pub embedding: f64,
    /// How alike the embedded tokens of a text are.
    pub embedding_alike: f64,
    /// Layer by layer.
    pub layers: Vec<LayerActivation>,
}

/// What a layer puts out.
#[derive(Clone, Debug, Serialize)]
pub struct LayerActivation {
    /// Scale of the output.
    pub hidden: f64,
    /// How alike tokens of a text are.
    pub alike: f64,
    /// What is left of the input.
    pub left: f64,
    /// Around the part in which tokens see each other.
    pub mixer: Option<Sum>,
    /// Around the part that sees one token at a time.
    pub feed_forward: Option<Sum>,
    /// What the start of weights predicts; none for mixers without a prediction.
    pub predicted: Option<Predicted>,
}

/// Both sides of a residual sum.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sum {
    /// Scale of what was there before; none where there is no residual.
    pub stream: Option<f64>,
    /// Scale of what the part adds.
    pub branch: f64,
    /// The branch's share of the sum.
    pub share: f64,
}

/// Scales in a layer of a model with new weights.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Predicted {
    /// Of the output.
    pub hidden: f64,
    /// Of what the mixer adds.
    pub mixer: f64,
    /// Of what the feed-forward part adds.
    pub feed_forward: Option<f64>,
    /// How alike tokens of a text are.
    pub alike: f64,
    /// What is left of the input.
    pub left: f64,
}

impl From<LayerPrediction> for Predicted {
    fn from(of: LayerPrediction) -> Self {
        let LayerPrediction { mixer, feed_forward, hidden, alike, left } = of;
        Self { hidden, mixer, feed_forward, alike, left }
    }
}

/// Runs a batch and measures.
pub fn activations(encoder: &Encoder, batch: &Batch) -> Result<Activations> {
    let layer = || LayerActivation {
        hidden: f64::NAN,
        alike: f64::NAN,
        left: f64::NAN,
        mixer: None,
        feed_forward: None,
        predicted: None,
    };
    let layers: Vec<LayerActivation> = (0..encoder.config().layers).map(|_| layer()).collect();
    // How many outputs were seen, the embedding, the measures.
    let state = RefCell::new((0usize, None::<Tensor>, [f64::NAN; 2], layers));
    let packed = &batch.packed;
    let watch = |sight: Sight| -> Result<()> {
        let (seen, first, embedding, layers) = &mut *state.borrow_mut();
        match sight {
            Sight::Hidden(x) => {
                match (&*first, layers.get_mut(seen.wrapping_sub(1))) {
                    (Some(first), Some(layer)) => {
                        (layer.hidden, layer.alike) = (scale(x), alike(x, packed));
                        layer.left = cosine(x, first);
                    }
                    _ => {
                        *embedding = [scale(x), alike(x, packed)];
                        *first = Some(x.clone());
                    }
                }
                *seen += 1;
            }
            Sight::Sum { part, stream, branch } => {
                let (s, b) = (stream.map(scale), scale(branch));
                let before = s.unwrap_or(0.0);
                let all = before * before + b * b;
                let share = if all == 0.0 { 0.0 } else { b * b / all };
                let sum = Some(Sum { stream: s, branch: b, share });
                if let Some(layer) = layers.get_mut(seen.wrapping_sub(1)) {
                    match part {
                        PartKind::Mixer => layer.mixer = sum,
                        PartKind::FeedForward => layer.feed_forward = sum,
                    }
                }
            }
            Sight::Weights { .. } | Sight::Recurrence(_) => {}
        }
        Ok(())
    };
    encoder.observe(&mut Ctx::inference(), batch.input(), &batch.mask, &watch)?;
    let (_, _, [embedding, embedding_alike], mut layers) = state.into_inner();
    let predictions = signal::predict(encoder.config(), packed, &batch.mask, embedding, embedding_alike)?;
    for (layer, predicted) in layers.iter_mut().zip(predictions.into_iter().flatten()) {
        layer.predicted = Some(predicted.into());
    }
    Ok(Activations { embedding, embedding_alike, layers })
}

/// The root of the mean square.
pub fn scale(x: &Tensor) -> f64 {
    let values = x.to_f64_vec();
    (values.iter().map(|x| x * x).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// The mean correlation of two tokens of a text, over all texts: from the length of the sum of a text's rows.
fn alike(x: &Tensor, batch: &Packed) -> f64 {
    let (values, width) = (x.to_f64_vec(), x.shape().last().copied().unwrap_or(1).max(1));
    let (mut between, mut own) = (0.0, 0.0);
    for text in (0..batch.sequences()).filter(|&b| batch.length(b) > 1) {
        let rows = &values[batch.range(text).start * width..batch.range(text).end * width];
        let mut sum = vec![0.0; width];
        rows.chunks_exact(width).for_each(|row| sum.iter_mut().zip(row).for_each(|(s, x)| *s += x));
        let squares = rows.iter().map(|x| x * x).sum::<f64>();
        between += (sum.iter().map(|x| x * x).sum::<f64>() - squares) / (batch.length(text) - 1) as f64;
        own += squares;
    }
    if own == 0.0 { 0.0 } else { between / own }
}

/// The mean cosine of rows; of rows of other widths, or of zeros, 0.
fn cosine(x: &Tensor, y: &Tensor) -> f64 {
    if x.shape() != y.shape() {
        return 0.0;
    }
    let (x, y, width) = (x.to_f64_vec(), y.to_f64_vec(), x.shape().last().copied().unwrap_or(1).max(1));
    let rows = x.chunks_exact(width).zip(y.chunks_exact(width));
    let one = |(a, b): (&[f64], &[f64])| {
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let lengths = (inner(a, a) * inner(b, b)).sqrt();
        if lengths == 0.0 { 0.0 } else { inner(a, b) / lengths }
    };
    rows.map(one).sum::<f64>() / (x.len() / width).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_one_for_equal_rows_and_zero_for_right_angles() {
        let x = Tensor::new(vec![1.0, 2.0, 1.0, 2.0, 3.0, 0.0, 0.0, 3.0], &[4, 2]).unwrap();
        assert!((alike(&x, &Packed::from_lengths(&[2, 1, 1])) - 1.0).abs() < 1e-12);
        let right = x.narrow(0, 2, 2).unwrap();
        assert_eq!(alike(&right, &Packed::from_lengths(&[2])), 0.0);
        assert_eq!(alike(&right, &Packed::from_lengths(&[1, 1])), 0.0);
        assert!((cosine(&x, &x.mul_scalar(3.0).unwrap()) - 1.0).abs() < 1e-12);
        assert_eq!((scale(&right), cosine(&x, &right)), (4.5f64.sqrt(), 0.0));
    }
}

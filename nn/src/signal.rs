//! What an initialisation predicts: deviations, scales, and how much of the input is left in depth.
//! Definition:  post norm divides by sqrt(1 + v) after each branch of variance v; pre norm adds them up
//! Numerics:    moments of activations by Simpson's rule over -12 .. 12, about 1e-10
//! Reference:   Su, on initialisation, parametrisation and normalisation, 2021, and why BERT's deviation
//!              is 0.02, 2021; Wang et al., DeepNet, 2022; Liu et al., Admin, 2020.
//!              Vectors: init-parametrization-normalization.json, bert-init-std-0.02.json

mod stack;

use bert4rs_tensor::normal;

pub use stack::{LayerPrediction, predict, starts};

/// Which stack of a model with encoder and decoder layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// The layers of a model that has only these.
    Alone,
    /// The encoder beside a decoder.
    Encoder,
    /// The decoder beside an encoder.
    Decoder,
}

/// DeepNorm's factor of the residual stream and gain of branches, for `own` layers beside `other` ones
/// of the other stack.
pub fn deep_norm(stack: Stack, own: usize, other: usize) -> (f64, f64) {
    let (n, m) = (own as f64, other as f64);
    match stack {
        Stack::Alone => ((2.0 * n).powf(0.25), (8.0 * n).powf(-0.25)),
        Stack::Encoder => {
            let both = (n.powi(4) * m).powf(1.0 / 16.0);
            (0.81 * both, 0.87 / both)
        }
        Stack::Decoder => ((3.0 * n).powf(0.25), (12.0 * n).powf(-0.25)),
    }
}

/// The optimizer that a scale in depth is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Steps as large as gradients.
    Sgd,
    /// Steps of one size.
    Adam,
    /// Steps as large as weights.
    Lamb,
}

/// The factor of the residual stream and the gain of branches that keep the first step of an optimizer
/// at one size, whatever the layers.
pub fn depth_scale(update: Update, layers: usize) -> (f64, f64) {
    let n = 2.0 * layers as f64;
    match update {
        Update::Sgd => (n.powf(0.25), n.powf(-0.25)),
        Update::Adam => (n.sqrt(), n.sqrt().recip()),
        Update::Lamb => (1.0, n.sqrt().recip()),
    }
}

/// Admin's `omega` of every branch, from the variances of the branches.
pub fn admin_omegas(variances: &[f64]) -> Vec<f64> {
    let mut spread = 1.0;
    variances
        .iter()
        .map(|variance| {
            let omega = f64::sqrt(spread);
            spread += variance;
            omega
        })
        .collect()
}

/// How much of the input and of every branch is left at the end of post norm layers.
pub fn post_norm_weights(variances: &[f64]) -> (f64, Vec<f64>) {
    let mut left = 1.0;
    let mut branches: Vec<f64> = variances
        .iter()
        .rev()
        .map(|v| {
            left /= (1.0 + v).sqrt();
            left
        })
        .collect();
    branches.reverse();
    (left, branches)
}

/// Mean and second moment of `f` of a standard normal number.
pub fn moments(f: impl Fn(f64) -> f64) -> (f64, f64) {
    const HALF: usize = 6000;
    let step = 12.0 / HALF as f64;
    let (mut mean, mut second) = (0.0, 0.0);
    for i in 0..=2 * HALF {
        let x = (i as f64 - HALF as f64) * step;
        let simpson = if i == 0 || i == 2 * HALF { 1.0 } else { [2.0, 4.0][i % 2] };
        let weight = simpson * step / 3.0 * normal::density(x);
        let y = f(x);
        mean += weight * y;
        second += weight * y * y;
    }
    (mean, second)
}

/// Variances of the branches of a new BERT layer whose input has variance 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BranchVariance {
    /// Of one product of width `hidden`.
    pub linear: f64,
    /// Of attention that is uniform over `tokens` of pairwise `correlation`.
    pub attention: f64,
    /// Of a feed-forward part with GELU.
    pub feed_forward: f64,
}

/// The prediction for weights of true `deviation`.
pub fn branch_variance(
    [hidden, intermediate]: [usize; 2],
    deviation: f64,
    tokens: usize,
    correlation: f64,
) -> BranchVariance {
    let (variance, n) = (deviation * deviation, tokens as f64);
    let linear = hidden as f64 * variance;
    let gelu = |x: f64| x * normal::distribution(x);
    let second = moments(|x| gelu(linear.sqrt() * x)).1;
    BranchVariance {
        linear,
        attention: (1.0 + (n - 1.0) * correlation) / n * linear * linear,
        feed_forward: intermediate as f64 * variance * second,
    }
}

//! Findings of activations in depth.

use super::{Finding, Kind, ends, finding};
use crate::doctor::{Report, activation};
use crate::encoder::{EncoderConfig, ResidualScale, Wiring};

/// How often activations of a new model may be as large as predicted: predictions come within 1.3.
const OFF: f64 = 2.0;
/// How often the largest layer's output may be as large as the smallest's.
const GROWTH: f64 = 100.0;
/// Tokens that are more alike have nothing to tell them apart.
const ALIKE: f64 = 0.99;
/// Less of the input than this is lost in the noise of training.
const LOST: f64 = 0.01;
/// What a new post-norm stack should let through to train without warm-up: BERT's start lets 0.56 through 6 layers
/// and 0.37 through 12, LeCun's less than half through 2.
const CARRIED: f64 = 0.5;
/// A branch that adds less does nothing.
const DEAD: f64 = 1e-8;

pub(super) fn activations(config: &EncoderConfig, report: &Report) -> Vec<Finding> {
    let (mut all, layers) = (Vec::new(), &report.activations.layers);
    if report.new {
        all.extend(layers.iter().enumerate().find_map(|(i, layer)| unlike_prediction(i, layer)));
    }
    let outputs = || layers.iter().map(|layer| layer.hidden);
    if let Some((first, low, last, high)) = ends(outputs()).filter(|(_, low, _, high)| high > &(GROWTH * low))
    {
        all.push(finding(
            Kind::ActivationGrowth,
            format!("layer {last}"),
            format!("its output has scale {high:.3}, that of layer {first} {low:.3}"),
            "the layers of small outputs have no part in the answer; numbers beyond 65504 are lost in f16",
            "norms after every part (wiring post_norm), smaller starts, residual_scale, or fewer layers",
        ));
    }
    if let Some(last) = layers.last().filter(|last| last.alike > ALIKE) {
        all.push(finding(
            Kind::TokensAlike,
            format!("layer {}", layers.len() - 1),
            format!("tokens of a text correlate by {:.4}", last.alike),
            "every token says the same: nothing can be found in a text, and gradients of attention vanish",
            "fewer layers, smaller starts, or residual branches that weigh less (deep_norm, residual_scale)",
        ));
    }
    let residual = !matches!(config.wiring, Wiring::Stack);
    let post = matches!(config.wiring, Wiring::PostNorm | Wiring::DeepNorm { .. } | Wiring::Admin);
    if let Some(last) = layers.last().filter(|last| report.new && post && last.left < LOST) {
        all.push(finding(
            Kind::InputLost,
            format!("layer {}", layers.len() - 1),
            format!("of the embedding {:.4} is left after {} layers", last.left.max(0.0), layers.len()),
            "what the last layer learns from is noise of the first ones, so training begins blind",
            "a smaller start ([encoder] init, BERT's is half of LeCun's), wiring deep_norm or pre_norm",
        ));
    }
    let starts_dead = match config.residual_scale {
        ResidualScale::None => false,
        ResidualScale::Fixed { factor } => factor == 0.0,
        ResidualScale::Scalar { start } | ResidualScale::Channels { start } => start == 0.0,
    };
    for (i, layer) in layers.iter().enumerate().filter(|_| residual && !starts_dead) {
        for (name, sum) in [("mixer", layer.mixer), ("feed-forward part", layer.feed_forward)] {
            if let Some(sum) = sum.filter(|sum| sum.share < DEAD) {
                all.push(finding(
                    Kind::DeadBranch,
                    format!("layer {i}"),
                    format!("the {name} adds {:.1e} of the sum", sum.share),
                    "the layer costs time and does nothing",
                    "look at its weights above; a part that training switched off can be left out",
                ));
            }
        }
    }
    all
}

fn unlike_prediction(i: usize, layer: &activation::LayerActivation) -> Option<Finding> {
    let predicted = layer.predicted?;
    let branch = |sum: Option<activation::Sum>| sum.map(|sum| sum.branch);
    let fed = branch(layer.feed_forward).zip(predicted.feed_forward);
    let pairs = [
        ("what attention adds", branch(layer.mixer).zip(Some(predicted.mixer))),
        ("what the feed-forward part adds", fed),
        ("the output", Some((layer.hidden, predicted.hidden))),
    ];
    let off = |(_, pair): &&(&str, Option<(f64, f64)>)| {
        pair.is_some_and(|(seen, predicted)| {
            predicted > 0.0 && !(1.0 / OFF..=OFF).contains(&(seen / predicted))
        })
    };
    let (name, (seen, predicted)) = pairs.iter().find(off).and_then(|(name, pair)| Some((name, (*pair)?)))?;
    Some(finding(
        Kind::ActivationScale,
        format!("layer {i}"),
        format!("{name} has scale {seen:.3}, the start of weights predicts {predicted:.3}"),
        "the weights are not those of the config, or the config's parts do not fit together",
        "look at the scales of this layer's parameters",
    ))
}

/// A new post-norm stack that lets little of its input through, in a run without warm-up.
pub fn no_warm_up(config: &EncoderConfig, report: &Report) -> Option<Finding> {
    let left = report.activations.layers.last()?.left;
    (report.new && config.wiring == Wiring::PostNorm && left < CARRIED).then(|| {
        finding(
            Kind::NoWarmUp,
            "[train] warmup_ratio",
            format!("post-norm, {} layers, no warm-up: a new stack lets {left:.2} of its input through", config.layers),
            "the upper layers learn from what the lower ones, still random, make of the input, and the loss often \
             stays where it is or diverges",
            "warmup_ratio = 0.1, wiring deep_norm or pre_norm, or a smaller start",
        )
    })
}

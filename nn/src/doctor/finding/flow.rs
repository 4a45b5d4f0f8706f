//! Findings of gradients.

use super::{Finding, Kind, ends, finding};
use crate::doctor::Report;
use crate::doctor::recurrent::{Reach, Verdict};
use crate::encoder::EncoderConfig;

/// The same for gradients, each in proportion to the activations it belongs to.
const FLOW: f64 = 100.0;
/// Steps that a new recurrent layer should reach back.
const REACH: usize = 5;

pub(super) fn gradients(config: &EncoderConfig, report: &Report) -> Vec<Finding> {
    let (gradients, mut all) = (&report.gradients, Vec::new());
    if !gradients.not_finite.is_empty() {
        all.push(finding(
            Kind::GradientNotFinite,
            gradients.not_finite[0].clone(),
            format!("gradients of {} parameters are NaN or infinite", gradients.not_finite.len()),
            "a step would destroy the model",
            "smaller starts or weights; norms where there are none",
        ));
        return all;
    }
    let scales = std::iter::once(report.activations.embedding)
        .chain(report.activations.layers.iter().map(|layer| layer.hidden));
    let (of, flow): (&str, Vec<f64>) = match gradients.hidden.is_empty() {
        // The last is seen after the norm at the end, if there is one, which gives it scale 1.
        false => {
            let last = gradients.hidden.len() - 1;
            let one = |(i, (g, s)): (usize, (&f64, f64))| {
                if i == last && config.has_final_norm() { *g } else { g * s }
            };
            ("outputs of layers", gradients.hidden.iter().zip(scales).enumerate().map(one).collect())
        }
        true => ("parameters", gradients.layers.clone()),
    };
    if let Some((first, low, last, high)) =
        ends(flow.into_iter()).filter(|(_, low, _, high)| high > &(FLOW * low))
    {
        let name = |i: usize| match (gradients.hidden.is_empty(), i) {
            (false, 0) => "the embedding".to_string(),
            (false, i) => format!("layer {}", i - 1),
            (true, i) => format!("layer {i}"),
        };
        let word = if last < first { "grows" } else { "vanishes" };
        all.push(finding(
            Kind::GradientRatio,
            name(first),
            format!(
                "the gradient of {of} {word} on its way back: {low:.2e} at {}, {high:.2e} at {}",
                name(first),
                name(last)
            ),
            "one learning rate cannot fit all layers: some stand still while others run away",
            "smaller starts, wiring deep_norm or pre_norm, a warm-up, factors by layer (train.lr_factors)",
        ));
    }
    if !gradients.without.is_empty() {
        let (count, named) =
            (gradients.without.len(), gradients.without.iter().take(5).cloned().collect::<Vec<_>>());
        all.push(finding(
            Kind::NoGradient,
            gradients.without[0].clone(),
            format!("{count} parameters get no gradient: {}", named.join(", ")),
            "training does not move them",
            "is a weight behind them 0, or does the batch not reach them? freeze or remove what nothing uses",
        ));
    }
    all
}

pub(super) fn recurrent(reach: &Reach) -> Option<Finding> {
    let direction = if reach.reverse { "backward" } else { "forward" };
    let place = format!("layer {}, {direction}", reach.layer);
    let last = reach.norms.last()?;
    match reach.verdict {
        Verdict::Explodes => Some(finding(
            Kind::RecurrentExplodes,
            place,
            format!(
                "the gradient of the last state is {:.1e} times as large {} tokens before",
                last.norm, last.distance
            ),
            "one long text decides a step",
            "clip gradients (train.max_grad_norm = 1), smaller recurrent weights",
        )),
        Verdict::Vanishes if reach.reach < REACH.min(reach.tokens - 1) => Some(finding(
            Kind::RecurrentVanishes,
            place,
            format!(
                "less than a hundredth of the gradient of the last state reaches {} tokens back; the gate keeps \
                 {:.2} of the state in the mean",
                reach.reach + 1,
                reach.mean_keep
            ),
            "what a token means for tokens farther on cannot be learned",
            "a forget gate's bias of 1 or more, or a mixer that sees far: attention, dilated_gated_convolution",
        )),
        Verdict::Vanishes | Verdict::Reaches => None,
    }
}

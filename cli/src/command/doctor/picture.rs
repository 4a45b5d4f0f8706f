//! The diagnosis as pictures.

use bert4rs_lab::plot::{Axis, Lines, Plot, Series, stacked};
use bert4rs_tasks::doctor::Diagnosis;

/// One file: scales, gradients, entropy and, for recurrent layers, what is left of a gradient.
pub fn svg(diagnosis: &Diagnosis) -> String {
    let report = &diagnosis.report;
    let mut plots = vec![scales(diagnosis), gradients(diagnosis)];
    if !report.entropy.is_empty() {
        plots.push(entropy(diagnosis));
    }
    if !report.recurrent.is_empty() {
        plots.push(recurrent(diagnosis));
    }
    stacked(&plots)
}

fn over_layers(values: impl Iterator<Item = Option<f64>>) -> Vec<(f64, f64)> {
    values.enumerate().filter_map(|(i, value)| Some((i as f64, value?))).collect()
}

fn lines(title: String, x: Axis, y: Axis, series: Vec<Series>) -> Plot {
    Plot::Lines(Lines { title, x, y, series: series.into_iter().filter(|s| !s.points.is_empty()).collect() })
}

fn scales(diagnosis: &Diagnosis) -> Plot {
    let layers = || diagnosis.report.activations.layers.iter();
    let series = vec![
        Series::new("output", over_layers(layers().map(|l| Some(l.hidden)))),
        Series::new("predicted", over_layers(layers().map(|l| Some(l.predicted?.hidden)))),
        Series::new("mixer", over_layers(layers().map(|l| Some(l.mixer?.branch)))),
        Series::new("predicted", over_layers(layers().map(|l| Some(l.predicted?.mixer)))),
        Series::new("feed-forward", over_layers(layers().map(|l| Some(l.feed_forward?.branch)))),
        Series::new("predicted", over_layers(layers().map(|l| l.predicted?.feed_forward))),
    ];
    let title = format!("{}: scale of activations", diagnosis.model);
    lines(title, Axis::linear("layer"), Axis::log("root of the mean square"), series)
}

fn gradients(diagnosis: &Diagnosis) -> Plot {
    let gradients = &diagnosis.report.gradients;
    let of = |values: &[f64]| over_layers(values.iter().copied().map(Some));
    let series = vec![
        // The first is the embedding's.
        Series::new("of outputs", of(gradients.hidden.get(1..).unwrap_or_default())),
        Series::new("of parameters", of(&gradients.layers)),
    ];
    let title = format!("{}: length of gradients", diagnosis.model);
    lines(title, Axis::linear("layer"), Axis::log("length"), series)
}

fn entropy(diagnosis: &Diagnosis) -> Plot {
    let series = diagnosis.report.entropy.iter();
    let series = series.map(|entropy| {
        let name = format!("{} tokens", entropy.length);
        Series::new(name, over_layers(entropy.layers.iter().map(|layer| layer.mean)))
    });
    let title = format!("{}: entropy of attention", diagnosis.model);
    lines(title, Axis::linear("layer"), Axis::linear("share of ln n"), series.collect())
}

fn recurrent(diagnosis: &Diagnosis) -> Plot {
    let series = diagnosis.report.recurrent.iter().map(|reach| {
        let name = format!("layer {} {}", reach.layer, if reach.reverse { "backward" } else { "forward" });
        Series::new(name, reach.norms.iter().map(|n| (n.distance as f64, n.norm)))
    });
    let title = format!("{}: what is left of the gradient of the last state", diagnosis.model);
    lines(title, Axis::log("tokens back"), Axis::log("norm"), series.collect())
}

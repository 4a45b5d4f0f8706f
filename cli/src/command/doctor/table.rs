//! The diagnosis as a table for people.

use std::fmt::Write as _;

use bert4rs_tasks::doctor::{Diagnosis, SubjectKind};

/// Everything but single parameters and heads, which `--json` has.
pub fn text(diagnosis: &Diagnosis) -> String {
    let report = &diagnosis.report;
    let kind = match diagnosis.kind {
        SubjectKind::Preset => "preset",
        SubjectKind::Config => "configuration",
        SubjectKind::Folder => "folder",
    };
    let weights = if report.new { "new weights" } else { "trained weights" };
    let mut text = format!(
        "{} ({kind}), {} parameters, {weights}; batch: {}\n\n",
        diagnosis.model, diagnosis.parameters, diagnosis.batch
    );
    layers(&mut text, diagnosis);
    let gradients = &report.gradients;
    let _ = writeln!(
        text,
        "\nloss {:.4} ({}); gradient of all parameters {:.3e}, of the embedding's {:.3e}",
        gradients.loss, gradients.loss_kind, gradients.all, gradients.embedding
    );
    for rows in &report.rows {
        let _ = writeln!(
            text,
            "{}: {} rows of length {:.3}; {:.2} % far outside, {} of zeros, {} equal to another",
            rows.table,
            rows.rows,
            rows.median,
            100.0 * rows.far_share,
            rows.zero,
            rows.equal
        );
    }
    recurrent(&mut text, diagnosis);
    findings(&mut text, diagnosis);
    text
}

fn layers(text: &mut String, diagnosis: &Diagnosis) {
    let report = &diagnosis.report;
    let lengths: Vec<String> = report.entropy.iter().map(|e| format!("{:>6}", e.length)).collect();
    let over = if lengths.is_empty() { "" } else { "  entropy / ln n at" };
    let _ = writeln!(
        text,
        "{:>5} {:>17} {:>15} {:>23} {:>23} {:>13} {:>19}{over}",
        "", "weights", "output", "mixer", "feed-forward", "", "gradient of"
    );
    let _ = writeln!(
        text,
        "{:>5} {:>8} {:>8} {:>7} {:>7} {:>8} {:>7} {:>6} {:>8} {:>7} {:>6} {:>6} {:>6} {:>9} {:>9} {}",
        "layer",
        "scale",
        "start",
        "scale",
        "start",
        "scale",
        "start",
        "share",
        "scale",
        "start",
        "share",
        "alike",
        "left",
        "output",
        "weights",
        lengths.join(" ")
    );
    let activations = &report.activations;
    let hidden = |i: usize| number(report.gradients.hidden.get(i).copied(), 9, 2, true);
    let _ = writeln!(
        text,
        "{:>5} {:>17} {:>7.3} {:>7} {:>23} {:>23} {:>6.3} {:>6.3} {}",
        "input",
        "",
        activations.embedding,
        "",
        "",
        "",
        activations.embedding_alike,
        1.0,
        hidden(0)
    );
    for (i, layer) in activations.layers.iter().enumerate() {
        let (scale, start) = weights(diagnosis, i);
        let predicted = layer.predicted;
        let _ = write!(text, "{i:>5} {} {} ", number(scale, 8, 4, false), number(start, 8, 4, false));
        let _ = write!(text, "{:>7.3} {} ", layer.hidden, number(predicted.map(|p| p.hidden), 7, 3, false));
        for (sum, start) in [
            (layer.mixer, predicted.map(|p| p.mixer)),
            (layer.feed_forward, predicted.and_then(|p| p.feed_forward)),
        ] {
            let of = |f: fn(bert4rs_tasks::doctor::Sum) -> f64, width| number(sum.map(f), width, 3, false);
            let _ = write!(
                text,
                "{} {} {} ",
                of(|s| s.branch, 8),
                number(start, 7, 3, false),
                of(|s| s.share, 6)
            );
        }
        let group = report.gradients.layers.len() * i / activations.layers.len();
        let of_weights = number(report.gradients.layers.get(group).copied(), 9, 2, true);
        let _ = write!(text, "{:>6.3} {:>6.3} {} {of_weights}", layer.alike, layer.left, hidden(i + 1));
        for entropy in &report.entropy {
            let mean = entropy.layers.get(i).and_then(|layer| layer.mean);
            let _ = write!(text, " {}", number(mean, 6, 3, false));
        }
        let _ = writeln!(text);
    }
}

/// A number, or a dash.
fn number(value: Option<f64>, width: usize, digits: usize, exponent: bool) -> String {
    match (value, exponent) {
        (None, _) => format!("{:>width$}", "-"),
        (Some(value), true) => format!("{value:>width$.digits$e}"),
        (Some(value), false) => format!("{value:>width$.digits$}"),
    }
}

/// The scale of a layer's matrices together, and of new ones; layers that share have their group's.
fn weights(diagnosis: &Diagnosis, layer: usize) -> (Option<f64>, Option<f64>) {
    let report = &diagnosis.report;
    let group = report.gradients.layers.len() * layer / report.activations.layers.len().max(1);
    let matrices = || report.tensors.iter().filter(|t| t.layer == Some(group) && t.shape.len() > 1);
    let (mut count, mut squares, mut starts) = (0.0, 0.0, Some(0.0));
    for tensor in matrices() {
        let numbers = tensor.shape.iter().product::<usize>() as f64;
        count += numbers;
        squares += numbers * tensor.scale * tensor.scale;
        starts = starts.zip(tensor.start).map(|(sum, start)| sum + numbers * start * start);
    }
    let root = |sum: f64| (count > 0.0).then(|| (sum / count).sqrt());
    (root(squares), starts.and_then(root))
}

fn recurrent(text: &mut String, diagnosis: &Diagnosis) {
    for reach in &diagnosis.report.recurrent {
        let direction = if reach.reverse { "backward" } else { "forward" };
        let norms: Vec<String> =
            reach.norms.iter().map(|n| format!("{}: {:.1e}", n.distance, n.norm)).collect();
        let _ = writeln!(
            text,
            "layer {}, {direction}: the gate keeps {:.3} (horizon {:.1} tokens), {:.1} % of gates at an end; a \
             hundredth of the gradient of the last state reaches {} of {} tokens back ({:?})\n  left by distance  {}{}",
            reach.layer,
            reach.mean_keep,
            reach.horizon,
            100.0 * reach.saturated,
            reach.reach,
            reach.tokens - 1,
            reach.verdict,
            norms.join("  "),
            if reach.exact { "" } else { "  (estimated)" }
        );
    }
}

fn findings(text: &mut String, diagnosis: &Diagnosis) {
    let findings = &diagnosis.report.findings;
    if findings.is_empty() {
        text.push_str("\nno warnings\n");
        return;
    }
    let _ = writeln!(text, "\n{} warning{}", findings.len(), if findings.len() == 1 { "" } else { "s" });
    for (i, finding) in findings.iter().enumerate() {
        let _ = writeln!(
            text,
            "{:>3}. {}: {}\n     why: {}\n     try: {}",
            i + 1,
            finding.place,
            finding.seen,
            finding.why,
            finding.remedy
        );
    }
}

//! Findings of what attention looks at.

use super::{Finding, Kind, finding};
use crate::doctor::{Report, entropy};

/// A head that looks at one key.
const COLLAPSED: f64 = 0.02;
/// A head that looks at all keys alike.
const UNIFORM: f64 = 0.9995;

pub(super) fn entropies(report: &Report) -> Vec<Finding> {
    let mut all = Vec::new();
    let layers = report.entropy.iter().map(|e| e.layers.len()).max().unwrap_or(0);
    for layer in 0..layers {
        let by_length: Vec<&entropy::LayerEntropy> = report
            .entropy
            .iter()
            .filter_map(|e| e.layers.get(layer))
            .filter(|l| !l.heads.is_empty())
            .collect();
        let Some(heads) = by_length.iter().map(|l| l.heads.len()).min() else { continue };
        let always = |test: &dyn Fn(f64) -> bool| -> Vec<usize> {
            (0..heads).filter(|&h| by_length.iter().all(|l| test(l.heads[h]))).collect()
        };
        let collapsed = always(&|share| share < COLLAPSED);
        if !collapsed.is_empty() && 4 * collapsed.len() >= heads {
            let mean = by_length[0].mean.unwrap_or(0.0);
            all.push(finding(
                Kind::EntropyCollapse,
                format!("layer {layer}"),
                format!(
                    "{} of {heads} heads look at one token, at every length (heads {collapsed:?}; the layer's entropy is \
                     {mean:.3} of ln n)",
                    collapsed.len()
                ),
                "a softmax that is 0 or 1 passes no gradient: such heads learn nothing more",
                "a lower learning rate or a warm-up; look at the scales of this layer's queries and keys",
            ));
        }
        if !report.new && always(&|share| share > UNIFORM).len() == heads {
            all.push(finding(
                Kind::EntropyUniform,
                format!("layer {layer}"),
                format!("all {heads} heads look at all tokens alike, at every length"),
                "the layer averages; it has not learned where to look",
                "train longer or with a higher learning rate; look at the scales of its queries and keys",
            ));
        }
    }
    all
}

//! Findings of parameters by themselves.

use bert4rs_tensor::ParameterKind;

use super::{Finding, Kind, finding};
use crate::doctor::embedding::{self, Rows};
use crate::doctor::parameter::TensorScale;

/// What is seen in a new matrix may differ so much from its start, beside chance.
const START: f64 = 0.1;
/// How often a layer's parameter may be as large as in the other layers.
const ODD: f64 = 4.0;
/// Gains move less than weights (Su, 2021, sees 1.5 as much).
const ODD_GAIN: f64 = 3.0;
/// Far rows are a finding from this share of a table, or this many times the median.
const FAR_SHARE: f64 = 0.001;
const FAR_TIMES: f64 = 10.0;

pub(super) fn not_finite(tensor: &TensorScale) -> Finding {
    let count: usize = tensor.shape.iter().product();
    finding(
        Kind::NotFinite,
        &tensor.name,
        format!("{} of {count} numbers are NaN or infinite", tensor.not_finite),
        "every text that meets them gets no answer",
        "go back to an earlier checkpoint; lower the learning rate or clip gradients (train.max_grad_norm)",
    )
}

pub(super) fn scale(tensor: &TensorScale, new: bool) -> Option<Finding> {
    let TensorScale { name, scale, start, others, kind, .. } = tensor;
    let count = tensor.shape.iter().product::<usize>() as f64;
    let is_weight = matches!(kind, ParameterKind::Matrix | ParameterKind::Embedding);
    if *scale == 0.0 && start.is_some_and(|start| start > 0.0) {
        return Some(finding(
            Kind::ZeroWeights,
            name,
            "all numbers are 0",
            "nothing goes through it, and what lies behind it gets no gradient",
            "was it left out when the file was written? compare with the source: bert4rs verify A B",
        ));
    }
    if let (true, true, Some(start)) = (new, is_weight, start.filter(|start| *start > 0.0)) {
        // The scale of n random numbers deviates by 1 / sqrt(2 n).
        if (scale / start - 1.0).abs() > START + 4.0 / (2.0 * count).sqrt() {
            return Some(finding(
                Kind::StartScale,
                name,
                format!("scale {scale:.4}, the config's start gives {start:.4}"),
                "signals and gradients are then another size than depth, norms and learning rate are made for",
                "let the encoder make its weights by [encoder] init",
            ));
        }
    }
    let bound = if is_weight { ODD } else { ODD_GAIN };
    let compared = is_weight || *kind == ParameterKind::NormGain;
    let others = others.filter(|others| compared && *others > 0.0)?;
    let ratio = scale / others;
    (!(1.0 / bound..=bound).contains(&ratio)).then(|| {
        finding(
            Kind::OddLayer,
            name,
            format!("scale {scale:.4}, in the other layers {others:.4}: {ratio:.2} times"),
            "one layer then drowns the others, or is drowned by them",
            "if it was not meant: was this tensor read from another model, or scaled twice?",
        )
    })
}

pub(super) fn far_rows(rows: &Rows) -> Option<Finding> {
    let most = rows.farthest.first().map_or(1.0, |(_, ratio)| ratio.max(1.0 / ratio));
    (rows.far_share > FAR_SHARE || most > FAR_TIMES).then(|| {
        let named: Vec<String> = rows.farthest.iter().map(|(row, ratio)| format!("{row} ({ratio:.2})")).collect();
        finding(
            Kind::FarRows,
            &rows.table,
            format!(
                "{} of {} rows are longer than {} times the median or shorter than a third: {}",
                rows.far,
                rows.rows,
                embedding::FAR,
                named.join(", ")
            ),
            "a text with such a token is answered by this token alone; rare tokens that were trained with a high \
             learning rate end like this",
            "look the ids up in the vocabulary; set their rows to the mean of their neighbours, or lower the \
             learning rate of embeddings (train.lr_factors)",
        )
    })
}

pub(super) fn untrained_rows(rows: &Rows) -> Option<Finding> {
    // One row of zeros is the padding's.
    (rows.zero > 1 || rows.equal > 0).then(|| {
        let pair = rows.first_equal.map(|(a, b)| format!(" (rows {a} and {b}, say)")).unwrap_or_default();
        finding(
            Kind::UntrainedRows,
            &rows.table,
            format!("{} rows of zeros, {} rows equal to another{pair}", rows.zero, rows.equal),
            "these tokens were never trained, or cannot be told apart",
            "train on texts that have them, or leave them out: bert4rs convert --keep-tokens FILE",
        )
    })
}

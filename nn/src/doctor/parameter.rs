//! How large parameters are, against how a new model's start and against the other layers.
//! Definition:  scale: root of the mean square;  start: that of the numbers a new parameter gets;  others: the median
//!              scale of the parameters of the same name in the other layers

use std::collections::HashMap;

use bert4rs_tensor::{ParameterKind, Params};
use serde::Serialize;

use super::activation::scale;
use crate::encoder::EncoderConfig;
use crate::{Result, signal};

/// One parameter.
#[derive(Clone, Debug, Serialize)]
pub struct TensorScale {
    /// Its name.
    pub name: String,
    /// The layer it belongs to; of layers that share, the group.
    pub layer: Option<usize>,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its scale.
    pub scale: f64,
    /// The scale a new one has; none for those of a head.
    pub start: Option<f64>,
    /// The median scale of the same parameter in the other layers, where there are two of them.
    pub others: Option<f64>,
    /// Numbers that are NaN or infinite.
    pub not_finite: usize,
    /// What it is for.
    #[serde(skip)]
    pub kind: ParameterKind,
}

/// All parameters, in their order.
pub fn tensors(config: &EncoderConfig, params: &Params) -> Result<Vec<TensorScale>> {
    let starts: HashMap<String, f64> =
        signal::starts(config)?.into_iter().map(|start| (start.name.clone(), start.scale())).collect();
    let mut all: Vec<TensorScale> = params
        .iter()
        .map(|p| {
            let (name, value) = (p.name().to_string(), p.value());
            let not_finite = value.to_f64_vec().iter().filter(|x| !x.is_finite()).count();
            let (layer, start) = (place(&name).map(|(layer, _)| layer), starts.get(&name).copied());
            let shape = value.shape().to_vec();
            TensorScale {
                name,
                layer,
                shape,
                scale: scale(&value),
                start,
                others: None,
                not_finite,
                kind: p.kind(),
            }
        })
        .collect();
    let mut by_part: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
    for (i, tensor) in all.iter().enumerate() {
        if let Some((_, part)) = place(&tensor.name) {
            by_part.entry(part.to_string()).or_default().push((i, tensor.scale));
        }
    }
    for same in by_part.values().filter(|same| same.len() > 2) {
        for (i, _) in same {
            let mut others: Vec<f64> = same.iter().filter(|(j, _)| j != i).map(|(_, scale)| *scale).collect();
            others.sort_by(f64::total_cmp);
            // The lower of two in the middle: of two others one may be the odd one.
            all[*i].others = Some(others[(others.len() - 1) / 2]);
        }
    }
    Ok(all)
}

/// The layer, or group of layers, that a parameter belongs to, and its name there.
pub fn place(name: &str) -> Option<(usize, &str)> {
    let rest = ["encoder.layer.", "encoder.group."].iter().find_map(|start| name.strip_prefix(start))?;
    let (layer, part) = rest.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_layer() {
        assert_eq!(place("encoder.layer.11.output.dense.weight"), Some((11, "output.dense.weight")));
        assert_eq!(place("encoder.group.0.gate.input.bias"), Some((0, "gate.input.bias")));
        assert_eq!(place("encoder.final_norm.weight"), None);
        assert_eq!(place("embeddings.word_embeddings.weight"), None);
    }
}

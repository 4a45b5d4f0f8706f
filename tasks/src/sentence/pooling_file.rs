//! `1_Pooling/config.json`, as written before and since release 6 of sentence-transformers.

use std::collections::BTreeMap;

use bert4rs_nn::block::pooling::Pooling;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(super) struct PoolingConfig {
    /// Since release 6: one name or a list of names.
    pooling_mode: Option<Value>,
    include_prompt: Option<bool>,
    /// Before: `pooling_mode_cls_token = true` and so on.
    #[serde(flatten)]
    flags: BTreeMap<String, Value>,
}

/// Names since release 6, and flags before it, in the order in which vectors stand side by side.
const KINDS: [(Pooling, &str, &str); 6] = [
    (Pooling::Cls, "cls", "pooling_mode_cls_token"),
    (Pooling::Max, "max", "pooling_mode_max_tokens"),
    (Pooling::Mean, "mean", "pooling_mode_mean_tokens"),
    (Pooling::MeanSqrtLen, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"),
    (Pooling::WeightedMean, "weightedmean", "pooling_mode_weightedmean_tokens"),
    (Pooling::Last, "lasttoken", "pooling_mode_lasttoken"),
];

impl PoolingConfig {
    pub(super) fn excludes_prompt(&self) -> bool {
        self.include_prompt == Some(false)
    }

    pub(super) fn poolings(&self) -> Result<Vec<Pooling>, String> {
        let known = |kind: fn(&(Pooling, &'static str, &'static str)) -> &'static str, name: &str| {
            KINDS.iter().find(|k| kind(k) == name).map(|k| k.0)
        };
        let supported = || KINDS.map(|(_, name, _)| name).join(", ");
        let one = |name: &str| match name {
            "mean_sqrt_len" => Ok(Pooling::MeanSqrtLen),
            name => known(|k| k.1, name)
                .ok_or_else(|| format!("pooling {name:?} is not supported; supported are {}", supported())),
        };
        let found = match &self.pooling_mode {
            Some(Value::String(name)) => vec![one(name)?],
            Some(Value::Array(names)) => names
                .iter()
                .map(|name| one(name.as_str().unwrap_or_default()))
                .collect::<Result<Vec<_>, _>>()?,
            Some(other) => return Err(format!("pooling_mode {other}: expected a name or a list of names")),
            None => {
                let on = |name: &str| self.flags.get(name) == Some(&Value::Bool(true));
                for (name, _) in self.flags.iter().filter(|(n, _)| n.starts_with("pooling_mode_") && on(n)) {
                    if known(|k| k.2, name).is_none() {
                        let name = name.trim_start_matches("pooling_mode_");
                        return Err(format!(
                            "pooling {name:?} is not supported; supported are {}",
                            supported()
                        ));
                    }
                }
                KINDS.iter().filter(|(_, _, flag)| on(flag)).map(|k| k.0).collect()
            }
        };
        if found.is_empty() {
            return Err("names no pooling; expected one such as pooling_mode_mean_tokens = true".into());
        }
        Ok(found)
    }
}

/// The file in the form that every release reads.
pub(super) fn write(width: usize, hows: &[Pooling]) -> Value {
    let mut file = json!({ "word_embedding_dimension": width, "include_prompt": true });
    for (how, _, flag) in KINDS {
        file[flag] = hows.contains(&how).into();
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for how in KINDS.map(|k| k.0) {
            let file: PoolingConfig = serde_json::from_value(write(8, &[how])).unwrap();
            assert_eq!(file.poolings(), Ok(vec![how]));
        }
        let file: PoolingConfig =
            serde_json::from_value(json!({"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}))
                .unwrap();
        assert_eq!(file.poolings(), Ok(vec![Pooling::Cls, Pooling::Max]));
    }
}

//! Names of variables in TensorFlow's checkpoints of BERT's family, as Hugging Face names them.
//!
//! Read:      Google's BERT, ALBERT and ELECTRA (the discriminator), NEZHA, RoFormer, SimBERT, and
//!            what bert4keras saves, which has Google's names
//! Layout:    a `kernel` is `[in, out]` there and `[out, in]` here; tables and
//!            `cls/seq_relationship/output_weights` are the same
//! Left out:  what optimizers keep beside the variables, counters of steps, and ELECTRA's generator

use std::collections::BTreeMap;

/// A variable of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name there.
    pub name: String,
    /// Whether its two axes change places.
    pub turned: bool,
}

/// Which model the variables are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Bert,
    Albert,
    Electra,
}

/// Last parts of names under which optimizers keep what belongs to a variable.
const SLOTS: [&str; 10] = [
    "adam_m",
    "adam_v",
    "lamb_m",
    "lamb_v",
    "Adam",
    "Adam_1",
    "AdamWeightDecayOptimizer",
    "AdamWeightDecayOptimizer_1",
    "LAMBOptimizer",
    "LAMBOptimizer_1",
];
/// What counts steps.
const COUNTERS: [&str; 4] = ["global_step", "beta1_power", "beta2_power", "loss_scale"];

pub(super) fn family<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> Family {
    if names.clone().any(|name| name.contains("/inner_group_")) {
        return Family::Albert;
    }
    if names.any(|name| name.starts_with("electra/")) { Family::Electra } else { Family::Bert }
}

/// The variables by their names at Hugging Face.
pub(super) fn translate(names: &[String]) -> Result<BTreeMap<String, Variable>, String> {
    if let Some(name) = names.iter().find(|name| name.ends_with(".ATTRIBUTES/VARIABLE_VALUE")) {
        return Err(format!(
            "holds an object graph ({name}), whose names say nothing of the model; save the model's \
             variables by name with tf.compat.v1.train.Saver"
        ));
    }
    let family = family(names.iter().map(String::as_str));
    let mut all: BTreeMap<String, Variable> = BTreeMap::new();
    for name in names {
        let Some(theirs) = hugging_face(name, family) else { continue };
        let turned = name.ends_with("/kernel");
        if let Some(first) = all.insert(theirs.clone(), Variable { name: name.clone(), turned }) {
            return Err(format!("{} and {name} are both {theirs}; remove one", first.name));
        }
    }
    Ok(all)
}

/// The name there; none for what no model needs.
fn hugging_face(name: &str, family: Family) -> Option<String> {
    let last = name.rsplit('/').next().unwrap_or(name);
    if SLOTS.contains(&last) || COUNTERS.contains(&last) {
        return None;
    }
    if family == Family::Electra
        && (name.starts_with("generator/") || name.starts_with("generator_predictions/"))
    {
        return None;
    }
    let (start, end) = match last {
        "output_weights" if name == last => ("classifier/", "weight"), // of a fine-tuned classifier
        "output_bias" if name == last => ("classifier/", "bias"),
        "kernel" | "gamma" => (name.strip_suffix(last)?, "weight"),
        "beta" => (name.strip_suffix(last)?, "bias"),
        "word_embeddings" | "position_embeddings" | "token_type_embeddings" => (name, "/weight"),
        "output_weights" => (name.strip_suffix(last)?, "weight"),
        "output_bias" => (name.strip_suffix(last)?, "bias"),
        _ => (name, ""),
    };
    let parts: Vec<String> = format!("{start}{end}").split('/').map(numbered).collect();
    let dotted = parts.join(".");
    Some(match family {
        Family::Bert => {
            dotted.replacen("bert.encoder.embedding_hidden_mapping_in.", "bert.embeddings_project.", 1)
        }
        Family::Electra => dotted.replacen(".dense_1.", ".dense_prediction.", 1),
        Family::Albert => albert(&dotted),
    })
}

/// `layer_3` as `layer.3`.
fn numbered(part: &str) -> String {
    match part.strip_prefix("layer_") {
        Some(index) if index.bytes().all(|b| b.is_ascii_digit()) => format!("layer.{index}"),
        _ => part.to_string(),
    }
}

/// Parts of ALBERT's names there and here, the longer ones first.
const ALBERT: [(&str, &str); 14] = [
    ("cls.predictions.transform.", "predictions."),
    ("cls.predictions.", "predictions."),
    ("cls.seq_relationship.", "sop_classifier.classifier."),
    ("bert.pooler.dense.", "albert.pooler."),
    ("bert.encoder.transformer.", "albert.encoder."),
    ("bert.", "albert."),
    ("attention_1.self.", "attention."),
    ("attention_1.output.dense.", "attention.dense."),
    ("ffn_1.intermediate.output.dense.", "ffn_output."),
    ("ffn_1.intermediate.dense.", "ffn."),
    ("LayerNorm_1.", "full_layer_layer_norm."),
    ("LayerNorm.", "attention.LayerNorm."),
    ("group_", "albert_layer_groups."),
    ("inner_group_", "albert_layers."),
];

fn albert(dotted: &str) -> String {
    let replaced = |text: &str, pairs: &[(&str, &str)]| {
        let found = pairs.iter().find_map(|(from, to)| Some((text.strip_prefix(from)?, to)));
        found.map_or(text.to_string(), |(rest, to)| format!("{to}{rest}"))
    };
    let name = replaced(dotted, &ALBERT[..6]);
    // encoder.group_G.inner_group_I.REST
    let Some((group, rest)) = name.strip_prefix("albert.encoder.group_").and_then(|n| n.split_once('.'))
    else {
        return name;
    };
    let Some((inner, rest)) = rest.strip_prefix("inner_group_").and_then(|n| n.split_once('.')) else {
        return name;
    };
    let rest = replaced(rest, &ALBERT[6..12]);
    format!("albert.encoder.{}{group}.{}{inner}.{rest}", ALBERT[12].1, ALBERT[13].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, family: Family) -> String {
        hugging_face(name, family).unwrap()
    }

    #[test]
    fn variables_of_bert() {
        for (there, here) in [
            ("bert/embeddings/word_embeddings", "bert.embeddings.word_embeddings.weight"),
            ("bert/embeddings/LayerNorm/gamma", "bert.embeddings.LayerNorm.weight"),
            (
                "bert/encoder/layer_11/attention/self/query/kernel",
                "bert.encoder.layer.11.attention.self.query.weight",
            ),
            ("bert/encoder/layer_0/output/LayerNorm/beta", "bert.encoder.layer.0.output.LayerNorm.bias"),
            ("bert/encoder/embedding_hidden_mapping_in/bias", "bert.embeddings_project.bias"),
            ("bert/pooler/dense/kernel", "bert.pooler.dense.weight"),
            ("cls/predictions/output_bias", "cls.predictions.bias"),
            ("cls/predictions/transform/LayerNorm/gamma", "cls.predictions.transform.LayerNorm.weight"),
            ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight"),
            ("output_weights", "classifier.weight"),
        ] {
            assert_eq!(one(there, Family::Bert), here);
        }
    }

    #[test]
    fn variables_of_albert_and_electra() {
        let inner = "bert/encoder/transformer/group_0/inner_group_1";
        let layer = "albert.encoder.albert_layer_groups.0.albert_layers.1";
        for (there, here) in [
            ("attention_1/self/key/kernel", "attention.key.weight"),
            ("attention_1/output/dense/bias", "attention.dense.bias"),
            ("LayerNorm/gamma", "attention.LayerNorm.weight"),
            ("ffn_1/intermediate/dense/kernel", "ffn.weight"),
            ("ffn_1/intermediate/output/dense/kernel", "ffn_output.weight"),
            ("LayerNorm_1/beta", "full_layer_layer_norm.bias"),
        ] {
            assert_eq!(one(&format!("{inner}/{there}"), Family::Albert), format!("{layer}.{here}"));
        }
        for (there, here) in [
            ("bert/embeddings/LayerNorm/beta", "albert.embeddings.LayerNorm.bias"),
            (
                "bert/encoder/embedding_hidden_mapping_in/kernel",
                "albert.encoder.embedding_hidden_mapping_in.weight",
            ),
            ("bert/pooler/dense/kernel", "albert.pooler.weight"),
            ("cls/predictions/transform/dense/kernel", "predictions.dense.weight"),
            ("cls/predictions/output_bias", "predictions.bias"),
            ("cls/seq_relationship/output_weights", "sop_classifier.classifier.weight"),
        ] {
            assert_eq!(one(there, Family::Albert), here);
        }
        let electra = |name| hugging_face(name, Family::Electra);
        assert_eq!(
            electra("discriminator_predictions/dense_1/kernel").unwrap(),
            "discriminator_predictions.dense_prediction.weight"
        );
        assert_eq!(electra("electra/embeddings_project/bias").unwrap(), "electra.embeddings_project.bias");
        assert_eq!(electra("generator/encoder/layer_0/output/dense/bias"), None);
    }

    #[test]
    fn what_optimizers_keep_is_left_out_and_kernels_turn() {
        let names =
            ["global_step", "w/kernel", "w/kernel/adam_m", "w/kernel/adam_v", "w/bias/Adam_1", "t/gamma"];
        let all = translate(&names.map(String::from)).unwrap();
        let turned: Vec<_> = all.iter().map(|(name, v)| (name.as_str(), v.turned)).collect();
        assert_eq!(turned, [("t.weight", false), ("w.weight", true)]);
        let twice = translate(&["w/kernel".into(), "w/gamma".into()]).unwrap_err();
        assert!(twice.contains("w/kernel and w/gamma are both w.weight"), "{twice}");
        let graph = translate(&["layer/kernel/.ATTRIBUTES/VARIABLE_VALUE".into()]).unwrap_err();
        assert!(graph.contains("an object graph"), "{graph}");
    }
}

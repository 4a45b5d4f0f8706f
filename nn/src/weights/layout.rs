//! Files that name tensors otherwise than BERT's do: ALBERT, and the heads of RoBERTa.

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// BERT's, and ours.
    Bert,
    /// ALBERT's: groups of shared layers.
    Albert,
    /// DeBERTa's of the second and third version.
    Deberta,
    /// ModernBERT's: joined products.
    ModernBert,
    /// GPT-2's: joined products, `[inputs, outputs]`.
    Gpt2,
    /// T5's.
    T5,
    /// The same with gates: T5 1.1, mT5.
    T5Gated,
}

const GROUP: &str = "encoder.group.";
const THEIR_GROUP: &str = "encoder.albert_layer_groups.";
const INNER: &str = "albert_layers.0.";

/// Beginnings of ALBERT's names and of ours, inside one layer.
const IN_LAYER: [(&str, &str); 8] = [
    ("attention.query.", "attention.self.query."),
    ("attention.key.", "attention.self.key."),
    ("attention.value.", "attention.self.value."),
    ("attention.dense.", "attention.output.dense."),
    ("attention.LayerNorm.", "attention.output.LayerNorm."),
    ("ffn.", "intermediate.dense."),
    ("ffn_output.", "output.dense."),
    ("full_layer_layer_norm.", "output.LayerNorm."),
];

/// The same for the rest of the model.
const OUTSIDE: [(&str, &str); 6] = [
    ("encoder.embedding_hidden_mapping_in.", "embeddings_project."),
    ("pooler.", "pooler.dense."),
    ("predictions.dense.", "cls.predictions.transform.dense."),
    ("predictions.LayerNorm.", "cls.predictions.transform.LayerNorm."),
    ("predictions.", "cls.predictions."),
    ("sop_classifier.classifier.", "cls.seq_relationship."),
];

/// RoBERTa's head of pre-training.
const ROBERTA: [(&str, &str); 3] = [
    ("lm_head.dense.", "cls.predictions.transform.dense."),
    ("lm_head.layer_norm.", "cls.predictions.transform.LayerNorm."),
    ("lm_head.", "cls.predictions."),
];

/// Our name for a name of any layout.
pub(super) fn ours(name: &str) -> String {
    if let Some((group, rest)) = inside(name, THEIR_GROUP)
        && let Some(rest) = rest.strip_prefix(INNER)
    {
        return format!("{GROUP}{group}.{}", exchanged(rest, IN_LAYER.into_iter()));
    }
    if name.starts_with("pooler.dense.") {
        return name.to_string(); // BERT's, and `pooler.` is ALBERT's
    }
    exchanged(name, OUTSIDE.into_iter().chain(ROBERTA))
}

/// The name in a file of BERT's or ALBERT's layout.
pub(super) fn theirs(name: &str, layout: Layout) -> String {
    let turned = |(theirs, ours)| (ours, theirs);
    match (layout, inside(name, GROUP)) {
        (
            Layout::Bert | Layout::Deberta | Layout::ModernBert | Layout::Gpt2 | Layout::T5 | Layout::T5Gated,
            _,
        ) => name.to_string(),
        (Layout::Albert, Some((group, rest))) => {
            format!("{THEIR_GROUP}{group}.{INNER}{}", exchanged(rest, IN_LAYER.into_iter().map(turned)))
        }
        (Layout::Albert, None) => exchanged(name, OUTSIDE.into_iter().map(turned)),
    }
}

/// The name of the shared layer that layer parameter `name` of `layers` starts from, among `groups`.
pub(super) fn shared_source(name: &str, layers: usize, groups: usize) -> Option<String> {
    let (layer, rest) = inside(name, "encoder.layer.")?;
    let group = layer * groups / layers.max(1);
    Some(format!("{GROUP}{group}.{rest}"))
}

/// How many layers, or groups, are numbered among `names`.
pub(super) fn count<'a>(names: impl Iterator<Item = &'a str>, shared: bool) -> usize {
    let prefix = if shared { GROUP } else { "encoder.layer." };
    names.filter_map(|name| inside(name, prefix)).map(|(index, _)| index + 1).max().unwrap_or(0)
}

/// The number after `prefix`, and what follows it.
fn inside<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// `name` with the first beginning that it has replaced.
fn exchanged<'a>(name: &str, mut pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    match pairs.find_map(|(from, to)| name.strip_prefix(from).map(|rest| (to, rest))) {
        Some((to, rest)) => format!("{to}{rest}"),
        None => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_albert_are_ours_and_back() {
        for (theirs_, ours_) in [
            (
                "encoder.albert_layer_groups.1.albert_layers.0.attention.key.weight",
                "encoder.group.1.attention.self.key.weight",
            ),
            (
                "encoder.albert_layer_groups.0.albert_layers.0.ffn_output.bias",
                "encoder.group.0.output.dense.bias",
            ),
            ("encoder.embedding_hidden_mapping_in.weight", "embeddings_project.weight"),
            ("pooler.weight", "pooler.dense.weight"),
            ("predictions.dense.weight", "cls.predictions.transform.dense.weight"),
            ("predictions.bias", "cls.predictions.bias"),
            ("embeddings.LayerNorm.bias", "embeddings.LayerNorm.bias"),
        ] {
            assert_eq!(ours(theirs_), ours_);
            assert_eq!(theirs(ours_, Layout::Albert), theirs_);
            assert_eq!((ours(ours_).as_str(), theirs(ours_, Layout::Bert).as_str()), (ours_, ours_));
        }
    }

    #[test]
    fn an_unshared_layer_starts_from_its_group() {
        let source = |layer| shared_source(&format!("encoder.layer.{layer}.ffn.bias"), 6, 2).unwrap();
        assert_eq!(source(2), "encoder.group.0.ffn.bias");
        assert_eq!(source(3), "encoder.group.1.ffn.bias");
        assert_eq!(shared_source("embeddings.LayerNorm.bias", 6, 2), None);
    }
}

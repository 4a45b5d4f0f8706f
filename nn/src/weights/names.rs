//! Names of tensors in weight files, and how they map to ours.

use super::piece::Piece;
use super::{family, layout};

/// Model prefixes that files of models with heads put before the encoder's names.
const PREFIXES: [&str; 10] = [
    "bert.",
    "roformer.",
    "roberta.",
    "electra.",
    "albert.",
    "gau_alpha.",
    "nezha.",
    "deberta.",
    "model.",
    "transformer.",
];

/// Our names for a tensor of a file, each with its part; none for buffers that are computed, not
/// learned.
pub(super) fn ours(name: &str) -> Vec<(String, Piece)> {
    if is_buffer(name) {
        return Vec::new();
    }
    let bare = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    // Files converted from the first TensorFlow release.
    let bare = match (bare.strip_suffix("LayerNorm.gamma"), bare.strip_suffix("LayerNorm.beta")) {
        (Some(start), _) => format!("{start}LayerNorm.weight"),
        (_, Some(start)) => format!("{start}LayerNorm.bias"),
        (None, None) => bare.to_string(),
    };
    family::ours(&bare).unwrap_or_else(|| vec![(layout::ours(&bare), Piece::Whole)])
}

/// Whether a tensor is computed, not learned, so that no file needs it.
pub fn is_buffer(name: &str) -> bool {
    const ENDS: [&str; 5] = [
        "position_ids",
        "embed_positions.weight",
        ".attn.bias",
        ".attn.masked_bias",
        "EncDecAttention.relative_attention_bias.weight", // of old files of T5; nothing reads it
    ];
    // Copies of T5's shared table.
    const COPIES: [&str; 2] = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
    ENDS.iter().any(|end| name.ends_with(end)) || COPIES.contains(&name)
}

/// Whether `name` is `pattern` or lies under it.
pub(crate) fn under(name: &str, pattern: &str) -> bool {
    let pattern = pattern.trim_end_matches(['*', '.']);
    name.strip_prefix(pattern)
        .is_some_and(|rest| pattern.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

/// The candidate most like `name`, if one is like it at all.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let score = |candidate: &str| strsim::normalized_damerau_levenshtein(name, candidate);
    let best = candidates.map(|c| (score(c), c)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score > 0.5).map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_old_names_and_buffers_are_translated() {
        let one = |name: &str| ours(name).pop().map(|(name, _)| name);
        assert_eq!(one("bert.embeddings.LayerNorm.gamma").unwrap(), "embeddings.LayerNorm.weight");
        assert_eq!(one("embeddings.LayerNorm.beta").unwrap(), "embeddings.LayerNorm.bias");
        assert_eq!(one("cls.predictions.bias").unwrap(), "cls.predictions.bias");
        assert_eq!(one("bert.embeddings.position_ids"), None);
        assert_eq!(one("roformer.encoder.embed_positions.weight"), None);
        assert_eq!(one("transformer.h.0.attn.masked_bias"), None);
    }

    #[test]
    fn a_pattern_covers_itself_and_what_lies_under_it() {
        assert!(under("cls.predictions.bias", "cls") && under("cls.predictions.bias", "cls.*"));
        assert!(under("cls", "cls") && under("anything", "*"));
        assert!(!under("classifier.weight", "cls") && !under("classifier.weight", "class"));
    }
}

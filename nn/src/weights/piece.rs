//! Files that keep products joined, or the other way round: ModernBERT, GPT-2, and the names of T5 and
//! DeBERTa.

use bert4rs_tensor::io::Stored;

use crate::Result;

/// Which part of a file's tensor is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// All of it.
    Whole,
    /// Rows `index / of` of it, after the turn where `turned`: GPT-2 keeps `[inputs, outputs]`.
    Rows { index: usize, of: usize, turned: bool },
}

impl Piece {
    const TURNED: Piece = Piece::Rows { index: 0, of: 1, turned: true };

    fn third(index: usize, turned: bool) -> Self {
        Piece::Rows { index, of: 3, turned }
    }

    /// The shape of the part; none where it cannot be cut so.
    pub(super) fn shape(self, mut shape: Vec<usize>) -> Option<Vec<usize>> {
        let Piece::Rows { of, turned, .. } = self else { return Some(shape) };
        if turned && shape.len() == 2 {
            shape.reverse();
        }
        let rows = shape.first_mut()?;
        if !rows.is_multiple_of(of) {
            return None;
        }
        *rows /= of;
        Some(shape)
    }

    /// The part itself.
    pub(super) fn of<'a>(self, stored: Stored<'a>) -> Result<Stored<'a>> {
        let Piece::Rows { index, of, turned } = self else { return Ok(stored) };
        let stored = if turned && stored.shape().len() == 2 { stored.transposed()? } else { stored };
        if of == 1 {
            return Ok(stored);
        }
        let rows = stored.shape().first().copied().unwrap_or(0) / of;
        let ids: Vec<usize> = (index * rows..(index + 1) * rows).collect();
        Ok(stored.rows(&ids)?)
    }
}

/// Our names for a file's name without its model prefix, with the part that each has; none where no
/// such model has a tensor of that name.
pub(super) fn ours(name: &str) -> Option<Vec<(String, Piece)>> {
    outside(name)
        .or_else(|| modern_bert(name))
        .or_else(|| gpt2(name))
        .or_else(|| t5(name))
        .or_else(|| deberta(name))
}

/// Whether a name is one that only ModernBERT's files have.
pub(super) fn is_modern_bert(name: &str) -> bool {
    name.contains(".attn.Wqkv.")
}

/// Our name for a tensor of ModernBERT's head of pre-training, whose names others use for other things.
pub(super) fn modern_bert_head(name: &str) -> Option<String> {
    const NAMES: [(&str, &str); 3] = [
        ("head.dense.", "cls.predictions.transform.dense."),
        ("head.norm.", "cls.predictions.transform.LayerNorm."),
        ("decoder.bias", "cls.predictions.bias"),
    ];
    NAMES.iter().find_map(|(from, to)| name.strip_prefix(from).map(|rest| format!("{to}{rest}")))
}

fn whole(name: impl Into<String>) -> Option<Vec<(String, Piece)>> {
    Some(vec![(name.into(), Piece::Whole)])
}

/// What stands outside of layers.
fn outside(name: &str) -> Option<Vec<(String, Piece)>> {
    const NAMES: [(&str, &str); 9] = [
        ("embeddings.tok_embeddings.", "embeddings.word_embeddings."),
        ("embeddings.norm.", "embeddings.LayerNorm."),
        ("final_norm.", "encoder.final_norm."),
        ("wte.", "embeddings.word_embeddings."),
        ("wpe.", "embeddings.position_embeddings."),
        ("ln_f.", "encoder.final_norm."),
        ("shared.", "embeddings.word_embeddings."),
        ("encoder.final_layer_norm.", "encoder.final_norm."),
        (
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.",
            "encoder.relative_attention_bias.",
        ),
    ];
    let (to, rest) = NAMES.iter().find_map(|(from, to)| name.strip_prefix(from).map(|rest| (to, rest)))?;
    whole(format!("{to}{rest}"))
}

fn modern_bert(name: &str) -> Option<Vec<(String, Piece)>> {
    let (layer, rest) = numbered(name, "layers.")?;
    let layer = format!("encoder.layer.{layer}");
    if let Some(kind) = rest.strip_prefix("attn.Wqkv.") {
        return Some(thirds(&layer, kind, false));
    }
    if let Some(kind) = rest.strip_prefix("mlp.Wi.") {
        let half = |index, part: &str| {
            (format!("{layer}.intermediate.{part}.{kind}"), Piece::Rows { index, of: 2, turned: false })
        };
        return Some(vec![half(0, "gate"), half(1, "dense")]);
    }
    const NAMES: [(&str, &str); 4] = [
        ("attn_norm.", "attention.output.LayerNorm."),
        ("attn.Wo.", "attention.output.dense."),
        ("mlp_norm.", "output.LayerNorm."),
        ("mlp.Wo.", "output.dense."),
    ];
    let (to, rest) = NAMES.iter().find_map(|(from, to)| rest.strip_prefix(from).map(|rest| (to, rest)))?;
    whole(format!("{layer}.{to}{rest}"))
}

fn gpt2(name: &str) -> Option<Vec<(String, Piece)>> {
    let (layer, rest) = numbered(name, "h.")?;
    let layer = format!("encoder.layer.{layer}");
    if let Some(kind) = rest.strip_prefix("attn.c_attn.") {
        return Some(thirds(&layer, kind, true));
    }
    const NAMES: [(&str, &str, bool); 5] = [
        ("ln_1.", "attention.output.LayerNorm.", false),
        ("ln_2.", "output.LayerNorm.", false),
        ("attn.c_proj.", "attention.output.dense.", true),
        ("mlp.c_fc.", "intermediate.dense.", true),
        ("mlp.c_proj.", "output.dense.", true),
    ];
    let (to, rest, turned) = NAMES
        .iter()
        .find_map(|(from, to, turned)| rest.strip_prefix(from).map(|rest| (to, rest, *turned)))?;
    Some(vec![(format!("{layer}.{to}{rest}"), if turned { Piece::TURNED } else { Piece::Whole })])
}

fn t5(name: &str) -> Option<Vec<(String, Piece)>> {
    let (layer, rest) = numbered(name, "encoder.block.")?;
    const NAMES: [(&str, &str); 10] = [
        ("layer.0.SelfAttention.q.", "attention.self.query."),
        ("layer.0.SelfAttention.k.", "attention.self.key."),
        ("layer.0.SelfAttention.v.", "attention.self.value."),
        ("layer.0.SelfAttention.o.", "attention.output.dense."),
        ("layer.0.layer_norm.", "attention.output.LayerNorm."),
        ("layer.1.DenseReluDense.wi.", "intermediate.dense."),
        ("layer.1.DenseReluDense.wi_0.", "intermediate.gate."),
        ("layer.1.DenseReluDense.wi_1.", "intermediate.dense."),
        ("layer.1.DenseReluDense.wo.", "output.dense."),
        ("layer.1.layer_norm.", "output.LayerNorm."),
    ];
    let (to, rest) = NAMES.iter().find_map(|(from, to)| rest.strip_prefix(from).map(|rest| (to, rest)))?;
    whole(format!("encoder.layer.{layer}.{to}{rest}"))
}

fn deberta(name: &str) -> Option<Vec<(String, Piece)>> {
    let (layer, rest) = numbered(name, "encoder.layer.")?;
    let rest = rest.strip_prefix("attention.self.")?;
    let (part, kind) = rest.split_once("_proj.")?;
    whole(format!("encoder.layer.{layer}.attention.self.{part}.{kind}"))
}

/// Queries, keys and values of one tensor.
fn thirds(layer: &str, kind: &str, turned: bool) -> Vec<(String, Piece)> {
    let part = |(index, part): (usize, &str)| {
        (format!("{layer}.attention.self.{part}.{kind}"), Piece::third(index, turned))
    };
    ["query", "key", "value"].into_iter().enumerate().map(part).collect()
}

/// The number after `prefix`, and what follows it.
fn numbered<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_products_come_apart() {
        let names = |name| ours(name).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(
            names("layers.3.mlp.Wi.weight"),
            ["encoder.layer.3.intermediate.gate.weight", "encoder.layer.3.intermediate.dense.weight"]
        );
        assert_eq!(names("h.0.attn.c_attn.bias")[2], "encoder.layer.0.attention.self.value.bias");
        assert_eq!(ours("h.0.mlp.c_fc.weight").unwrap()[0].1, Piece::TURNED);
        assert_eq!(
            names("encoder.layer.1.attention.self.key_proj.bias"),
            ["encoder.layer.1.attention.self.key.bias"]
        );
        assert_eq!(ours("encoder.layer.1.attention.self.key.bias"), None);
        assert_eq!(ours("head.dense.weight"), None, "a head of ours has this name");
        let third = Piece::third(1, true);
        assert_eq!(third.shape(vec![4, 12]).unwrap(), [4, 4]);
        assert_eq!((third.shape(vec![12]).unwrap(), third.shape(vec![4, 11])), (vec![4], None));
    }
}

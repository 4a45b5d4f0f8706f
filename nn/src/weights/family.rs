//! Families whose files name and join tensors otherwise than BERT's: ModernBERT, GPT-2, T5, DeBERTa. One
//! table each, read in both directions.

use super::layout::Layout;
use super::piece::Piece;

/// How the files of a family differ from ours.
struct Family {
    layout: Layout,
    /// Beginnings of names outside of layers: theirs, ours.
    outside: &'static [(&'static str, &'static str)],
    /// What stands before the number of a layer, theirs and ours, and the tensors inside.
    stacks: &'static [(&'static str, &'static str, &'static [Inside])],
}

/// A tensor of a layer: its beginning there, those of the tensors of ours whose rows it holds, and whether
/// its axes change places.
type Inside = (&'static str, &'static [&'static str], bool);

const QUERY_KEY_VALUE: &[&str] = &["attention.self.query.", "attention.self.key.", "attention.self.value."];

const MODERN_BERT: Family = Family {
    layout: Layout::ModernBert,
    outside: &[
        ("embeddings.tok_embeddings.", "embeddings.word_embeddings."),
        ("embeddings.norm.", "embeddings.LayerNorm."),
        ("final_norm.", "encoder.final_norm."),
    ],
    stacks: &[(
        "layers.",
        "encoder.layer.",
        &[
            ("attn.Wqkv.", QUERY_KEY_VALUE, false),
            ("mlp.Wi.", &["intermediate.gate.", "intermediate.dense."], false),
            ("attn_norm.", &["attention.output.LayerNorm."], false),
            ("attn.Wo.", &["attention.output.dense."], false),
            ("mlp_norm.", &["output.LayerNorm."], false),
            ("mlp.Wo.", &["output.dense."], false),
        ],
    )],
};

const GPT2: Family = Family {
    layout: Layout::Gpt2,
    outside: &[
        ("wte.", "embeddings.word_embeddings."),
        ("wpe.", "embeddings.position_embeddings."),
        ("ln_f.", "encoder.final_norm."),
    ],
    stacks: &[(
        "h.",
        "encoder.layer.",
        &[
            ("attn.c_attn.", QUERY_KEY_VALUE, true),
            ("ln_1.", &["attention.output.LayerNorm."], false),
            ("ln_2.", &["output.LayerNorm."], false),
            ("attn.c_proj.", &["attention.output.dense."], true),
            ("mlp.c_fc.", &["intermediate.dense."], true),
            ("mlp.c_proj.", &["output.dense."], true),
        ],
    )],
};

const T5_OUTSIDE: &[(&str, &str)] = &[
    ("shared.", "embeddings.word_embeddings."),
    ("encoder.final_layer_norm.", "encoder.final_norm."),
    ("decoder.final_layer_norm.", "decoder.final_norm."),
    ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.", "encoder.relative_attention_bias."),
    ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.", "decoder.relative_attention_bias."),
    ("lm_head.weight", "lm_head.weight"),
];

const T5: Family = Family {
    layout: Layout::T5,
    outside: T5_OUTSIDE,
    stacks: &[
        (
            "encoder.block.",
            "encoder.layer.",
            &[
                ("layer.0.SelfAttention.q.", &["attention.self.query."], false),
                ("layer.0.SelfAttention.k.", &["attention.self.key."], false),
                ("layer.0.SelfAttention.v.", &["attention.self.value."], false),
                ("layer.0.SelfAttention.o.", &["attention.output.dense."], false),
                ("layer.0.layer_norm.", &["attention.output.LayerNorm."], false),
                ("layer.1.DenseReluDense.wi.", &["intermediate.dense."], false),
                ("layer.1.DenseReluDense.wo.", &["output.dense."], false),
                ("layer.1.layer_norm.", &["output.LayerNorm."], false),
            ],
        ),
        (
            "decoder.block.",
            "decoder.layer.",
            &[
                ("layer.0.SelfAttention.q.", &["attention.self.query."], false),
                ("layer.0.SelfAttention.k.", &["attention.self.key."], false),
                ("layer.0.SelfAttention.v.", &["attention.self.value."], false),
                ("layer.0.SelfAttention.o.", &["attention.output.dense."], false),
                ("layer.0.layer_norm.", &["attention.output.LayerNorm."], false),
                ("layer.1.EncDecAttention.q.", &["crossattention.self.query."], false),
                ("layer.1.EncDecAttention.k.", &["crossattention.self.key."], false),
                ("layer.1.EncDecAttention.v.", &["crossattention.self.value."], false),
                ("layer.1.EncDecAttention.o.", &["crossattention.output.dense."], false),
                ("layer.1.layer_norm.", &["crossattention.output.LayerNorm."], false),
                ("layer.2.DenseReluDense.wi.", &["intermediate.dense."], false),
                ("layer.2.DenseReluDense.wo.", &["output.dense."], false),
                ("layer.2.layer_norm.", &["output.LayerNorm."], false),
            ],
        ),
    ],
};

/// T5 1.1 and mT5: what differs from `T5` has precedence, the rest is the same.
const T5_GATED: Family = Family {
    layout: Layout::T5Gated,
    outside: &[],
    stacks: &[
        (
            "encoder.block.",
            "encoder.layer.",
            &[
                ("layer.1.DenseReluDense.wi_0.", &["intermediate.gate."], false),
                ("layer.1.DenseReluDense.wi_1.", &["intermediate.dense."], false),
            ],
        ),
        (
            "decoder.block.",
            "decoder.layer.",
            &[
                ("layer.2.DenseReluDense.wi_0.", &["intermediate.gate."], false),
                ("layer.2.DenseReluDense.wi_1.", &["intermediate.dense."], false),
            ],
        ),
    ],
};

const DEBERTA: Family = Family {
    layout: Layout::Deberta,
    outside: &[],
    stacks: &[(
        "encoder.layer.",
        "encoder.layer.",
        &[
            ("attention.self.query_proj.", &["attention.self.query."], false),
            ("attention.self.key_proj.", &["attention.self.key."], false),
            ("attention.self.value_proj.", &["attention.self.value."], false),
        ],
    )],
};

const ALL: [&Family; 5] = [&MODERN_BERT, &GPT2, &T5, &T5_GATED, &DEBERTA];

/// Our names for a file's name without its model prefix, with the part that each has; none where no
/// such model has a tensor of that name.
pub(super) fn ours(name: &str) -> Option<Vec<(String, Piece)>> {
    ALL.iter().find_map(|family| family.ours(name))
}

/// The name of one of our tensors in the files of a layout, and which part of it ours is.
pub(super) fn theirs(name: &str, layout: Layout) -> Option<(String, Piece)> {
    let of = |layout: Layout| ALL.iter().filter(move |family| family.layout == layout);
    let plain = (layout == Layout::T5Gated).then_some(Layout::T5);
    of(layout).chain(plain.into_iter().flat_map(of)).find_map(|family| family.theirs(name))
}

impl Family {
    fn ours(&self, name: &str) -> Option<Vec<(String, Piece)>> {
        let outside = self.outside.iter().find_map(|(theirs, ours)| Some((ours, name.strip_prefix(theirs)?)));
        if let Some((ours, rest)) = outside {
            return Some(vec![(format!("{ours}{rest}"), Piece::Whole)]);
        }
        self.stacks.iter().find_map(|(theirs, ours, inside)| {
            let (layer, rest) = numbered(name, theirs)?;
            inside.iter().find_map(|(there, parts, turned)| {
                let kind = rest.strip_prefix(there)?;
                let part = |(index, part)| {
                    let piece = match (parts.len(), turned) {
                        (1, false) => Piece::Whole,
                        (of, turned) => Piece::Rows { index, of, turned: *turned },
                    };
                    (format!("{ours}{layer}.{part}{kind}"), piece)
                };
                Some(parts.iter().enumerate().map(part).collect())
            })
        })
    }

    fn theirs(&self, name: &str) -> Option<(String, Piece)> {
        let outside = self.outside.iter().find_map(|(theirs, ours)| Some((theirs, name.strip_prefix(ours)?)));
        if let Some((theirs, rest)) = outside {
            return Some((format!("{theirs}{rest}"), Piece::Whole));
        }
        self.stacks.iter().find_map(|(theirs, ours, inside)| {
            let (layer, rest) = numbered(name, ours)?;
            inside.iter().find_map(|(there, parts, turned)| {
                let found = |(index, part): (usize, &&str)| Some((index, rest.strip_prefix(part)?));
                let (index, kind) = parts.iter().enumerate().find_map(found)?;
                Some((
                    format!("{theirs}{layer}.{there}{kind}"),
                    Piece::Rows { index, of: parts.len(), turned: *turned },
                ))
            })
        })
    }
}

/// Whether a name is one that only ModernBERT's files have.
pub(super) fn is_modern_bert(name: &str) -> bool {
    name.contains(".attn.Wqkv.")
}

/// ModernBERT's head of pre-training, whose names others use for other things: theirs, ours.
const MODERN_BERT_HEAD: [(&str, &str); 3] = [
    ("head.dense.", "cls.predictions.transform.dense."),
    ("head.norm.", "cls.predictions.transform.LayerNorm."),
    ("decoder.bias", "cls.predictions.bias"),
];

/// Our name for a tensor of ModernBERT's head of pre-training.
pub(super) fn modern_bert_head(name: &str) -> Option<String> {
    MODERN_BERT_HEAD.iter().find_map(|(from, to)| name.strip_prefix(from).map(|rest| format!("{to}{rest}")))
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
        assert_eq!(ours("h.0.mlp.c_fc.weight").unwrap()[0].1, Piece::Rows { index: 0, of: 1, turned: true });
        assert_eq!(
            names("encoder.layer.1.attention.self.key_proj.bias"),
            ["encoder.layer.1.attention.self.key.bias"]
        );
        assert_eq!(ours("encoder.layer.1.attention.self.key.bias"), None);
        assert_eq!(ours("head.dense.weight"), None, "a head of ours has this name");
        assert_eq!(
            names("decoder.block.1.layer.1.EncDecAttention.o.weight"),
            ["decoder.layer.1.crossattention.output.dense.weight"]
        );
    }

    #[test]
    fn every_name_of_a_family_has_its_way_back() {
        for family in ALL {
            for (there, ours_, inside) in family.stacks {
                for (name, parts, turned) in *inside {
                    for (index, part) in parts.iter().enumerate() {
                        let (back, piece) = theirs(&format!("{ours_}7.{part}weight"), family.layout).unwrap();
                        assert_eq!(back, format!("{there}7.{name}weight"));
                        assert_eq!(piece, Piece::Rows { index, of: parts.len(), turned: *turned });
                        assert_eq!(ours(&back).unwrap()[index].0, format!("{ours_}7.{part}weight"));
                    }
                }
            }
            for (there, ours_) in family.outside {
                assert_eq!(theirs(ours_, family.layout).unwrap().0, *there);
                assert_eq!(ours(there).unwrap(), [(ours_.to_string(), Piece::Whole)]);
            }
        }
        let plain = theirs("encoder.layer.0.intermediate.dense.weight", Layout::T5).unwrap().0;
        assert_eq!(plain, "encoder.block.0.layer.1.DenseReluDense.wi.weight");
        assert_eq!(theirs("embeddings.word_embeddings.weight", Layout::Bert), None);
    }
}

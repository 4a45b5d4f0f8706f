//! BERT and the models whose `config.json` has its keys: RoFormer, RoBERTa, ELECTRA, ALBERT, NEZHA.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::encoder::{
    Activation, AttentionConfig, EmbeddingConfig, EncoderConfig, FeedForward, Mixer, Norm, Position, Sharing,
    WeightInit,
};

type Read<T> = std::result::Result<T, String>;

/// The model types read here.
pub(super) const KINDS: [&str; 6] = ["bert", "roformer", "roberta", "electra", "albert", "nezha"];

/// The keys of `config.json` that we understand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Foreign {
    model_type: String,
    #[serde(default)]
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    initializer_range: f64,
    layer_norm_eps: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token_id: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_hidden_groups: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_relative_position: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner_group_num: Option<usize>,
    /// Read only, as the rest: what we do not have, and what transformers ignores.
    #[serde(skip_serializing)]
    position_embedding_type: Option<String>,
    #[serde(skip_serializing)]
    rotary_value: Option<bool>,
    #[serde(skip_serializing)]
    norm_type: Option<String>,
    #[serde(skip_serializing)]
    use_bias: Option<bool>,
    #[serde(skip_serializing, default)]
    add_cross_attention: bool,
}

impl Foreign {
    /// Whether its tensors have ALBERT's names.
    pub(super) fn is_albert(&self) -> bool {
        self.model_type == "albert"
    }
}

/// What transformers takes where a file says nothing.
fn defaults(kind: &str) -> Value {
    let mut all = json!({
        "vocab_size": 30_522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 512, "type_vocab_size": 2,
        "initializer_range": 0.02, "layer_norm_eps": 1e-12,
    });
    let own = match kind {
        "roformer" => json!({ "vocab_size": 50_000, "max_position_embeddings": 1536 }),
        "roberta" => json!({ "vocab_size": 50_265, "pad_token_id": 1 }),
        "electra" => json!({
            "embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024,
        }),
        "nezha" => json!({ "vocab_size": 21_128, "max_relative_position": 64 }),
        "albert" => json!({
            "vocab_size": 30_000, "embedding_size": 128, "hidden_size": 4096, "num_attention_heads": 64,
            "intermediate_size": 16_384, "hidden_act": "gelu_new", "hidden_dropout_prob": 0,
            "attention_probs_dropout_prob": 0, "num_hidden_groups": 1, "inner_group_num": 1,
        }),
        _ => json!({}),
    };
    super::put(&mut all, &own);
    all
}

pub(super) fn read(kind: &str, file: &Value) -> Read<EncoderConfig> {
    let mut all = defaults(kind);
    super::put(&mut all, file);
    ours(&serde_json::from_value(all).map_err(|e| e.to_string())?)
}

fn ours(foreign: &Foreign) -> Read<EncoderConfig> {
    let kind = foreign.model_type.as_str();
    if foreign.add_cross_attention {
        return Err("add_cross_attention: decoders are not supported".into());
    }
    match foreign.position_embedding_type.as_deref() {
        None | Some("absolute") => {}
        Some(other) => return Err(format!("position_embedding_type {other}: only absolute is supported")),
    }
    if foreign.rotary_value == Some(true) {
        return Err("rotary_value true: values that turn are not supported".into());
    }
    if foreign.inner_group_num.is_some_and(|n| n != 1) {
        return Err("inner_group_num: groups of several layers each are not supported".into());
    }
    let norm = match foreign.norm_type.as_deref() {
        None | Some("layer_norm") => Norm::Layer { eps: foreign.layer_norm_eps, gain: true },
        Some("rms_norm") => Norm::Rms { eps: foreign.layer_norm_eps, gain: false },
        Some(other) => return Err(format!("norm_type {other}: expected layer_norm or rms_norm")),
    };
    let position = match kind {
        "roformer" => Position::rotary(),
        "nezha" => Position::RelativeKeys { max_distance: foreign.max_relative_position.unwrap_or(64) },
        _ => Position::Learned {
            max_positions: foreign.max_position_embeddings,
            first: if kind == "roberta" { foreign.pad_token_id.unwrap_or(1) + 1 } else { 0 },
        },
    };
    let sharing = match (kind, foreign.num_hidden_groups) {
        ("albert", None | Some(1)) => Sharing::AllLayers,
        ("albert", Some(groups)) => Sharing::Groups { groups },
        _ => Sharing::None,
    };
    Ok(EncoderConfig {
        vocab_size: foreign.vocab_size,
        hidden_size: foreign.hidden_size,
        layers: foreign.num_hidden_layers,
        sharing,
        bias: foreign.use_bias.unwrap_or(true),
        dropout: foreign.hidden_dropout_prob,
        norm,
        init: WeightInit::Normal { deviation: foreign.initializer_range },
        embedding: EmbeddingConfig {
            size: foreign.embedding_size.filter(|size| *size != foreign.hidden_size),
            segments: foreign.type_vocab_size,
            dropout: foreign.hidden_dropout_prob,
            ..EmbeddingConfig::default()
        },
        position,
        mixer: Mixer::Attention(AttentionConfig::plain(
            foreign.num_attention_heads,
            foreign.attention_probs_dropout_prob,
        )),
        feed_forward: FeedForward::Dense {
            size: foreign.intermediate_size,
            activation: activation(&foreign.hidden_act)?,
        },
        ..EncoderConfig::default()
    })
}

/// The config in foreign words, if they describe the same encoder.
pub(super) fn theirs(config: &EncoderConfig) -> Option<Foreign> {
    let &Mixer::Attention(AttentionConfig { heads, dropout, .. }) = &config.mixer else { return None };
    let FeedForward::Dense { size, activation } = config.feed_forward else { return None };
    let WeightInit::Normal { deviation } = config.init else { return None };
    let Norm::Layer { eps: layer_norm_eps, .. } = config.norm else { return None };
    if config.embedding.segments == 0 {
        return None; // there, every model looks a segment up
    }
    let shared = config.sharing != Sharing::None;
    let narrow = config.embedding_size() != config.hidden_size;
    let (kind, model, max_positions, first) = match config.position {
        Position::Learned { max_positions, first: 0 } if shared => {
            ("albert", "AlbertModel", max_positions, 0)
        }
        Position::Learned { max_positions, first: 0 } if narrow => {
            ("electra", "ElectraModel", max_positions, 0)
        }
        Position::Learned { max_positions, first: 0 } => ("bert", "BertModel", max_positions, 0),
        Position::Learned { max_positions, first } => ("roberta", "RobertaModel", max_positions, first),
        Position::Rotary { .. } => ("roformer", "RoFormerModel", 1536, 0), // transformers' default table
        // transformers' default length, of which it makes no table.
        Position::RelativeKeys { .. } => ("nezha", "NezhaModel", 512, 0),
        Position::None
        | Position::Sinusoidal
        | Position::Buckets { .. }
        | Position::Disentangled { .. }
        | Position::Alibi => return None,
    };
    let says_size = matches!(kind, "albert" | "electra" | "roformer");
    let foreign = Foreign {
        model_type: kind.into(),
        architectures: vec![model.into()],
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        num_hidden_layers: config.layers,
        num_attention_heads: heads,
        intermediate_size: size,
        hidden_act: activation_name(activation).into(),
        hidden_dropout_prob: config.dropout,
        attention_probs_dropout_prob: dropout,
        max_position_embeddings: max_positions,
        type_vocab_size: config.embedding.segments,
        initializer_range: deviation,
        layer_norm_eps,
        pad_token_id: first.checked_sub(1),
        embedding_size: says_size.then(|| config.embedding_size()),
        num_hidden_groups: shared.then(|| config.groups()),
        max_relative_position: match config.position {
            Position::RelativeKeys { max_distance } => Some(max_distance),
            Position::None
            | Position::Learned { .. }
            | Position::Rotary { .. }
            | Position::Sinusoidal
            | Position::Buckets { .. }
            | Position::Disentangled { .. }
            | Position::Alibi => None,
        },
        inner_group_num: shared.then_some(1),
        position_embedding_type: None,
        rotary_value: None,
        norm_type: None,
        use_bias: None,
        add_cross_attention: false,
    };
    super::says(ours(&foreign), config).then_some(foreign)
}

pub(super) fn activation(name: &str) -> Read<Activation> {
    Ok(match name {
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "relu2" => Activation::ReluSquared,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        other => {
            return Err(format!(
                "hidden_act {other}: expected gelu, gelu_new, relu, relu2, silu, tanh or sigmoid"
            ));
        }
    })
}

pub(super) fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Relu => "relu",
        Activation::ReluSquared => "relu2",
        Activation::Silu => "silu",
        Activation::Tanh => "tanh",
        Activation::Sigmoid => "sigmoid",
    }
}

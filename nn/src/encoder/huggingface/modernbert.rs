//! ModernBERT, in the keys of its `config.json`.

use serde::{Deserialize, Serialize};

use super::bert::{activation, activation_name};
use crate::encoder::{
    AttentionConfig, EmbeddingConfig, EncoderConfig, FeedForward, LocalAttention, Mixer, Norm, Position,
    WeightInit, modernbert,
};

type Read<T> = std::result::Result<T, String>;

/// The model type read here.
pub(super) const KIND: &str = "modernbert";

/// What the published models call padding.
const PAD: usize = 50_283;

#[derive(Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Foreign {
    model_type: String,
    architectures: Vec<String>,
    /// Only where the vocabulary has it: there, every id is looked up when a model is made.
    pad_token_id: Option<usize>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_activation: String,
    initializer_range: f64,
    norm_eps: f64,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    attention_dropout: f64,
    embedding_dropout: f64,
    mlp_dropout: f64,
    global_attn_every_n_layers: Option<usize>,
    local_attention: usize,
    global_rope_theta: f64,
    local_rope_theta: f64,
    /// What newer files say instead of `global_attn_every_n_layers`, and of both thetas.
    #[serde(skip_serializing)]
    layer_types: Option<Vec<String>>,
    #[serde(skip_serializing)]
    rope_parameters: Option<RopeParameters>,
}

#[derive(Deserialize)]
struct RopeParameters {
    full_attention: Option<Rope>,
    sliding_attention: Option<Rope>,
}

#[derive(Deserialize)]
struct Rope {
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

impl Foreign {
    /// Every so many layers one sees everything.
    fn global_every(&self) -> Read<usize> {
        let said = self.global_attn_every_n_layers.unwrap_or(3);
        let Some(types) = &self.layer_types else { return Ok(said) };
        let fits = |every: usize| {
            types.iter().enumerate().all(|(layer, kind)| {
                let global = every > 0 && layer.is_multiple_of(every);
                kind == if global { "full_attention" } else { "sliding_attention" }
            })
        };
        let found = [said].into_iter().chain(0..=types.len()).find(|&every| fits(every));
        found.filter(|_| types.len() == self.num_hidden_layers).ok_or_else(|| {
            format!(
                "layer_types {types:?}: only full_attention in every n-th layer from the first is supported"
            )
        })
    }

    /// The thetas of layers that see everything, and of the others.
    fn thetas(&self) -> Read<[f64; 2]> {
        let mut thetas = [self.global_rope_theta, self.local_rope_theta];
        let Some(RopeParameters { full_attention, sliding_attention }) = &self.rope_parameters else {
            return Ok(thetas);
        };
        for (theta, rope) in thetas.iter_mut().zip([full_attention, sliding_attention]) {
            let Some(rope) = rope else { continue };
            if let Some(kind) = rope.rope_type.as_deref().filter(|kind| *kind != "default") {
                return Err(format!("rope_type {kind}: only default is supported"));
            }
            *theta = rope.rope_theta.unwrap_or(*theta);
        }
        Ok(thetas)
    }
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            model_type: KIND.into(),
            architectures: vec!["ModernBertModel".into()],
            pad_token_id: None,
            vocab_size: 50_368,
            hidden_size: 768,
            intermediate_size: 1152,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            hidden_activation: "gelu".into(),
            initializer_range: 0.02,
            norm_eps: 1e-5,
            norm_bias: false,
            attention_bias: false,
            mlp_bias: false,
            attention_dropout: 0.0,
            embedding_dropout: 0.0,
            mlp_dropout: 0.0,
            global_attn_every_n_layers: None,
            local_attention: 128,
            global_rope_theta: 160_000.0,
            local_rope_theta: 10_000.0,
            layer_types: None,
            rope_parameters: None,
        }
    }
}

pub(super) fn ours(foreign: &Foreign) -> Read<EncoderConfig> {
    if foreign.attention_bias || foreign.mlp_bias || foreign.norm_bias {
        return Err(
            "attention_bias, mlp_bias or norm_bias true: ModernBERT has none, others are not read".into()
        );
    }
    if foreign.mlp_dropout != 0.0 {
        return Err("mlp_dropout: dropout between gates is not supported".into());
    }
    let [theta, local_theta] = foreign.thetas()?;
    let local = LocalAttention {
        radius: foreign.local_attention / 2,
        global_every: foreign.global_every()?,
        theta: Some(local_theta),
    };
    Ok(EncoderConfig {
        vocab_size: foreign.vocab_size,
        hidden_size: foreign.hidden_size,
        layers: foreign.num_hidden_layers,
        norm: Norm::Layer { eps: foreign.norm_eps, gain: true },
        init: WeightInit::Normal { deviation: foreign.initializer_range },
        embedding: EmbeddingConfig {
            segments: 0,
            dropout: foreign.embedding_dropout,
            norm_is_first: true,
            ..EmbeddingConfig::default()
        },
        position: Position::rotary_half(theta),
        mixer: Mixer::Attention(AttentionConfig {
            local: Some(local),
            ..AttentionConfig::plain(foreign.num_attention_heads, foreign.attention_dropout)
        }),
        feed_forward: FeedForward::Gated {
            size: foreign.intermediate_size,
            activation: activation(&foreign.hidden_activation)?,
        },
        ..modernbert()
    })
}

/// The config in foreign words, if they describe the same encoder.
pub(super) fn theirs(config: &EncoderConfig) -> Option<Foreign> {
    let Position::Rotary { theta, .. } = config.position else { return None };
    let Mixer::Attention(AttentionConfig { heads, dropout, local: Some(local), .. }) = config.mixer else {
        return None;
    };
    let FeedForward::Gated { size, activation } = config.feed_forward else { return None };
    let WeightInit::Normal { deviation } = config.init else { return None };
    let Norm::Layer { eps, .. } = config.norm else { return None };
    let foreign = Foreign {
        pad_token_id: Some(PAD).filter(|id| *id < config.vocab_size),
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: size,
        num_hidden_layers: config.layers,
        num_attention_heads: heads,
        hidden_activation: activation_name(activation).into(),
        initializer_range: deviation,
        norm_eps: eps,
        attention_dropout: dropout,
        embedding_dropout: config.embedding.dropout,
        global_attn_every_n_layers: Some(local.global_every),
        local_attention: 2 * local.radius,
        global_rope_theta: theta,
        local_rope_theta: local.theta?,
        ..Foreign::default()
    };
    super::says(ours(&foreign), config).then_some(foreign)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(keys: Value) -> Read<EncoderConfig> {
        ours(&serde_json::from_value(keys).map_err(|e| e.to_string())?)
    }

    #[test]
    fn newer_keys_say_the_same_as_older_ones() {
        let older = read(json!({
            "num_hidden_layers": 5, "global_attn_every_n_layers": 2, "global_rope_theta": 500.0, "local_rope_theta": 70.0,
        }));
        let [full, near] = ["full_attention", "sliding_attention"];
        let mut newer = json!({
            "num_hidden_layers": 5, "layer_types": [full, near, full, near, full],
            "rope_parameters": { full: { "rope_type": "default", "rope_theta": 500.0 }, near: { "rope_theta": 70.0 } },
        });
        assert_eq!(read(newer.clone()).unwrap(), older.unwrap());
        newer["rope_parameters"][full]["rope_type"] = json!("yarn");
        assert!(read(newer.clone()).unwrap_err().contains("rope_type yarn"));
        newer["layer_types"][1] = json!(full);
        newer["rope_parameters"] = Value::Null;
        assert!(read(newer).unwrap_err().contains("every n-th layer"));
    }
}

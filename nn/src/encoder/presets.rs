//! Named architectures, each the difference from another.

use serde_json::Value;

use super::config::{EmbeddingConfig, EncoderConfig};
use super::parts::{Activation, DropoutMask, FeedForward, Mixer, Position, Sharing};
use super::weight_init::WeightInit;
use super::wiring::{Norm, Wiring};
use crate::{Error, Result};

type Preset = fn() -> EncoderConfig;

const PRESETS: [(&str, Preset); 14] = [
    ("bert", bert),
    ("roberta", roberta),
    ("electra", electra),
    ("albert", albert),
    ("albert_unshared", albert_unshared),
    ("roformer", roformer),
    ("roformer_small", roformer_small),
    ("gau_alpha", gau_alpha),
    ("fnet", fnet),
    ("gmlp", gmlp),
    ("mlp_mixer", mlp_mixer),
    ("lstm", lstm),
    ("gru", gru),
    ("dgcnn", dgcnn),
];

/// BERT base.
pub fn bert() -> EncoderConfig {
    EncoderConfig::default()
}

/// RoBERTa base: one segment, and positions that count from the row after the padding's.
pub fn roberta() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 50_265,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        embedding: EmbeddingConfig { segments: 1, unk_id: 3, ..EmbeddingConfig::default() },
        position: Position::Learned { max_positions: 514, first: 2 },
        ..bert()
    }
}

/// ELECTRA small, its discriminator: BERT with narrow tables.
pub fn electra() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 256,
        embedding: EmbeddingConfig { size: Some(128), ..EmbeddingConfig::default() },
        mixer: Mixer::Attention { heads: 4, key_size: None, dropout: 0.1 },
        feed_forward: FeedForward::Dense { size: 1024, activation: Activation::Gelu },
        ..bert()
    }
}

/// ALBERT base: one layer's parameters for all, narrow tables, no dropout.
pub fn albert() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 30_000,
        sharing: Sharing::AllLayers,
        dropout: 0.0,
        embedding: EmbeddingConfig { size: Some(128), dropout: 0.0, ..EmbeddingConfig::default() },
        mixer: Mixer::Attention { heads: 12, key_size: None, dropout: 0.0 },
        feed_forward: FeedForward::Dense { size: 3072, activation: Activation::GeluTanh },
        ..bert()
    }
}

/// ALBERT with parameters for every layer, which all start as the one of a loaded file.
pub fn albert_unshared() -> EncoderConfig {
    EncoderConfig { sharing: Sharing::None, ..albert() }
}

/// RoFormer base: BERT with rotary positions instead of a position table.
pub fn roformer() -> EncoderConfig {
    EncoderConfig { vocab_size: 50_000, position: Position::rotary(), ..bert() }
}

/// A RoFormer that a laptop trains from nothing: 4 layers of width 256.
pub fn roformer_small() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 256,
        layers: 4,
        mixer: Mixer::Attention { heads: 4, key_size: None, dropout: 0.1 },
        feed_forward: FeedForward::Dense { size: 1024, activation: Activation::Gelu },
        ..roformer()
    }
}

/// GAU-alpha base: 24 gated attention units, no biases, norms without parameters.
pub fn gau_alpha() -> EncoderConfig {
    EncoderConfig {
        vocab_size: 12_000,
        layers: 24,
        bias: false,
        norm: Norm::Rms { eps: 1e-7, gain: false },
        init: WeightInit::DepthScaled { order: 3.0 },
        position: Position::rotary(),
        mixer: Mixer::gated_attention(1536, 128),
        feed_forward: FeedForward::None,
        ..bert()
    }
}

/// FNet base: BERT with the Fourier transform in place of attention.
pub fn fnet() -> EncoderConfig {
    EncoderConfig { vocab_size: 32_000, mixer: Mixer::Fourier, ..bert() }
}

/// gMLP base for text: gated blocks that mix positions by learned weights, no position table.
pub fn gmlp() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 512,
        layers: 48,
        wiring: Wiring::PreNorm,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        position: Position::None,
        mixer: Mixer::SpatialGate { size: 3072, max_length: 512, attention: None },
        feed_forward: FeedForward::None,
        ..bert()
    }
}

/// MLP-Mixer base: products over positions, then over channels.
pub fn mlp_mixer() -> EncoderConfig {
    EncoderConfig {
        wiring: Wiring::PreNorm,
        norm: Norm::Layer { eps: 1e-5, gain: true },
        position: Position::None,
        mixer: Mixer::MlpMixer { size: 384, max_length: 512 },
        ..bert()
    }
}

/// One bidirectional GRU in place of the LSTM.
pub fn gru() -> EncoderConfig {
    EncoderConfig { mixer: Mixer::Gru { bidirectional: true }, ..lstm() }
}

/// One bidirectional LSTM, 256 per direction, with variational dropout: tagging from little text.
pub fn lstm() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 512,
        layers: 1,
        dropout: 0.5,
        dropout_mask: DropoutMask::Sequence,
        mixer: Mixer::Lstm { bidirectional: true },
        embedding: EmbeddingConfig { size: Some(256), dropout: 0.5, ..plain_embedding() },
        ..recurrent()
    }
}

/// Twelve dilated gated convolutions: Su's reading-comprehension DGCNN, 2018.
pub fn dgcnn() -> EncoderConfig {
    EncoderConfig {
        hidden_size: 256,
        layers: 12,
        dropout: 0.1,
        mixer: Mixer::DilatedGatedConvolution {
            window: 3,
            dilations: vec![1, 2, 5, 1, 2, 5, 1, 2, 5, 1, 1, 1],
        },
        ..recurrent()
    }
}

/// What models of words in order share: no norms, no residuals, no feed-forward parts.
fn recurrent() -> EncoderConfig {
    EncoderConfig {
        wiring: Wiring::Stack,
        norm: Norm::None,
        init: WeightInit::Xavier,
        embedding: plain_embedding(),
        position: Position::None,
        feed_forward: FeedForward::None,
        ..bert()
    }
}

fn plain_embedding() -> EmbeddingConfig {
    EmbeddingConfig { segments: 0, ..EmbeddingConfig::default() }
}

/// The names of all presets.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The preset of a name.
pub fn preset(name: &str) -> Result<EncoderConfig> {
    if let Some((_, make)) = PRESETS.iter().find(|(known, _)| *known == name) {
        return Ok(make());
    }
    let near = crate::weights::nearest(name, preset_names());
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    let all = preset_names().collect::<Vec<_>>().join(", ");
    Err(Error::Config(format!("encoder.preset: {name} is none of {all}{hint}")))
}

/// A preset with some fields replaced, as in a config file; a field that names another variant of an
/// axis replaces the preset's variant whole.
///
/// ```
/// use bert4rs_nn::encoder::{preset_with, Mixer};
/// let small = serde_json::json!({ "layers": 2, "mixer": { "attention": { "heads": 8 } } });
/// let config = preset_with("bert", &small).unwrap();
/// assert_eq!(config.mixer, Mixer::Attention { heads: 8, key_size: None, dropout: 0.1 });
/// ```
pub fn preset_with(name: &str, overrides: &Value) -> Result<EncoderConfig> {
    let fail = |e: serde_json::Error| Error::Config(format!("encoder (preset {name}): {e}"));
    let mut base = serde_json::to_value(preset(name)?).map_err(fail)?;
    replace(&mut base, overrides);
    let config: EncoderConfig = serde_json::from_value(base).map_err(fail)?;
    config.validate()?;
    Ok(config)
}

fn replace(base: &mut Value, change: &Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            // One key on both sides and not the same: another variant of an enum.
            if base.len() == 1 && change.len() == 1 && base.keys().ne(change.keys()) {
                base.clear();
            }
            for (key, value) in change {
                replace(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_preset_is_valid_and_survives_serialisation() {
        for name in preset_names() {
            let config = preset(name).unwrap();
            config.validate().unwrap_or_else(|e| panic!("{name}: {e}"));
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<EncoderConfig>(&text).unwrap(), config, "{name}");
        }
    }

    #[test]
    fn a_misspelt_preset_names_its_neighbour() {
        let error = preset("reformer").unwrap_err().to_string();
        assert!(error.contains("did you mean roformer?") && error.contains("dgcnn"), "{error}");
    }

    #[test]
    fn overrides_replace_fields_and_whole_variants() {
        let config = preset_with("bert", &json!({ "position": { "rotary": {} }, "layers": 3 })).unwrap();
        assert_eq!((config.position, config.layers), (Position::rotary(), 3));
        let config = preset_with("bert", &json!({ "position": "none" })).unwrap();
        assert_eq!(config.position, Position::None);
        let error = preset_with("bert", &json!({ "layer": 3 })).unwrap_err().to_string();
        assert!(error.contains("unknown field `layer`"), "{error}");
        let error = preset_with("bert", &json!({ "mixer": { "attention": { "head": 3 } } })).unwrap_err();
        assert!(error.to_string().contains("unknown field `head`"), "{error}");
    }

    #[test]
    fn impossible_combinations_say_what_to_try() {
        let cases = [
            (
                json!({ "hidden_size": 700 }),
                "12 heads do not divide hidden_size 700; change one or set key_size",
            ),
            (json!({ "mixer": { "lstm": {} }, "position": { "rotary": {} } }), "use position = \"none\""),
            (json!({ "mixer": { "lstm": {} }, "hidden_size": 7 }), "make it even"),
            (
                json!({ "mixer": { "dilated_gated_convolution": { "window": 4, "dilations": [1] } } }),
                "an odd number",
            ),
            (json!({ "mixer": { "dilated_gated_convolution": { "dilations": [] } } }), "such as [1, 2, 5]"),
            (json!({ "dropout": 1.0 }), "encoder.dropout: 1 is no probability below 1"),
            (json!({ "vocab_size": 0 }), "encoder.vocab_size: is 0"),
            (
                json!({ "vocab_size": 9, "embedding": { "token_dropout": 0.1 } }),
                "the id of the unknown token",
            ),
            (json!({ "hidden_size": 12, "position": { "rotary": {} } }), "even"),
        ];
        for (change, expected) in cases {
            let error = preset_with("bert", &change).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

//! Named architectures, each the difference from another.

mod attention;
mod mixers;

use serde_json::Value;

use super::config::EncoderConfig;
use crate::{Error, Result};

pub use attention::*;
pub use mixers::*;

type Preset = fn() -> EncoderConfig;

fn presets() -> impl Iterator<Item = &'static (&'static str, Preset)> {
    attention::PRESETS.iter().chain(mixers::PRESETS)
}

/// The names of all presets.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    presets().map(|(name, _)| *name)
}

/// The preset of a name.
pub fn preset(name: &str) -> Result<EncoderConfig> {
    if let Some((_, make)) = presets().find(|(known, _)| *known == name) {
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
/// use bert4rs_nn::encoder::{preset_with, AttentionConfig, Mixer};
/// let small = serde_json::json!({ "layers": 2, "mixer": { "attention": { "heads": 8 } } });
/// let config = preset_with("bert", &small).unwrap();
/// assert_eq!(config.mixer, Mixer::Attention(AttentionConfig::plain(8, 0.1)));
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
    use crate::encoder::Position;

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
                "12 heads do not divide hidden_size 700; change one or set head_size",
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

//! Golden vectors: inputs and outputs computed by independent programs, in `vectors/` at the root.

use std::path::Path;

use bert4rs_tensor::Tensor;
use serde::Deserialize;
use serde_json::Value;

/// One golden case.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Arrays that go in.
    #[serde(default)]
    pub inputs: Value,
    /// Settings.
    #[serde(default)]
    pub params: Value,
    /// What must come out.
    pub expected: Value,
    /// Allowed error relative to `1 + |expected|`.
    #[serde(default)]
    pub tol: f64,
}

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

/// All cases of `vectors/NAME.json`.
pub fn golden(name: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: File = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(!file.cases.is_empty(), "{name} has no cases");
    file.cases
}

impl Case {
    /// An input array as an f64 tensor.
    pub fn input(&self, key: &str) -> Tensor {
        tensor_of(self.inputs.get(key).unwrap_or_else(|| panic!("{}: no input {key}", self.name)))
    }

    /// Whether there is an input that is not null.
    pub fn has_input(&self, key: &str) -> bool {
        self.inputs.get(key).is_some_and(|v| !v.is_null())
    }

    /// A number among the settings.
    pub fn number(&self, key: &str) -> f64 {
        self.params[key].as_f64().unwrap_or_else(|| panic!("{}: no number {key}", self.name))
    }

    /// A switch among the settings.
    pub fn flag(&self, key: &str) -> bool {
        match &self.params[key] {
            Value::Bool(b) => *b,
            Value::Number(n) => n.as_f64() != Some(0.0),
            _ => panic!("{}: no switch {key}", self.name),
        }
    }

    /// A text among the settings.
    pub fn text(&self, key: &str) -> &str {
        self.params[key].as_str().unwrap_or_else(|| panic!("{}: no text {key}", self.name))
    }

    /// Asserts that `got` equals the expected array `key` within the file's tolerance.
    pub fn assert(&self, key: &str, got: &Tensor) {
        self.assert_within(key, got, self.tol);
    }

    /// As [`Case::assert`] with a tolerance of one's own (for f32). `null` in the file is `-inf`.
    pub fn assert_within(&self, key: &str, got: &Tensor, tolerance: f64) {
        let expected =
            self.expected.get(key).unwrap_or_else(|| panic!("{}: nothing expected as {key}", self.name));
        let expected = tensor_of(expected);
        assert_eq!(
            expected.elements(),
            got.elements(),
            "{}: {key}: {:?} against {:?}",
            self.name,
            got.shape(),
            expected.shape()
        );
        for (i, (e, g)) in expected.to_f64_vec().into_iter().zip(got.to_f64_vec()).enumerate() {
            let same = e == g || (e - g).abs() <= tolerance * (1.0 + e.abs());
            assert!(same, "{}: {key}[{i}] is {g}, expected {e}", self.name);
        }
    }
}

/// A (nested) JSON array or number as an f64 tensor; `null` becomes `-inf`.
pub fn tensor_of(value: &Value) -> Tensor {
    fn walk(value: &Value, depth: usize, shape: &mut Vec<usize>, out: &mut Vec<f64>) {
        match value {
            Value::Array(items) => {
                if shape.len() == depth {
                    shape.push(items.len());
                }
                assert_eq!(shape[depth], items.len(), "a ragged array");
                items.iter().for_each(|v| walk(v, depth + 1, shape, out));
            }
            Value::Null => out.push(f64::NEG_INFINITY),
            Value::Bool(b) => out.push(f64::from(u8::from(*b))),
            Value::String(s) if s == "inf" => out.push(f64::INFINITY),
            Value::String(s) if s == "-inf" => out.push(f64::NEG_INFINITY),
            other => out.push(other.as_f64().unwrap_or_else(|| panic!("{other} is not a number"))),
        }
    }
    let (mut shape, mut out) = (Vec::new(), Vec::new());
    walk(value, 0, &mut shape, &mut out);
    Tensor::new(out, &shape).unwrap()
}

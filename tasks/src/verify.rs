//! Whether two model folders hold the same encoder: tensor by tensor, and layer by layer on the same
//! texts, so that the first part that differs is seen.
//!
//! Texts:      ids drawn by a fixed seed, of 1, 2, 7, 33 and 64 tokens, in one packed batch
//! Numerics:   both run in f32 (tensors are compared in f64); a difference counts from `tolerance` times
//!             the largest number of that layer, or of 1 where all are smaller

use std::collections::BTreeSet;
use std::path::Path;

use bert4rs_nn::Ctx;
use bert4rs_nn::encoder::{Encoder, EncoderConfig, EncoderInput, huggingface};
use bert4rs_nn::weights::Checkpoint;
use bert4rs_tensor::{DType, Packed, Rng, Tensor};
use serde::Serialize;
use serde_json::Value;

use crate::{Error, Result};

const LENGTHS: [usize; 5] = [1, 2, 7, 33, 64];

/// How far two tensors are apart.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Of a tensor, or a layer.
    pub name: String,
    /// The largest difference of two numbers; none where the shapes differ.
    pub largest: Option<f64>,
    /// The largest number of both.
    pub scale: f64,
}

/// What two folders have in common.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Fields of the configs that differ, with both values.
    pub configs: Vec<String>,
    /// Tensors of both folders, by their names in bert4rs.
    pub tensors: Vec<Difference>,
    /// Tensors of the first folder alone.
    pub only_first: Vec<String>,
    /// Tensors of the second folder alone.
    pub only_second: Vec<String>,
    /// Hidden states: the embedding, and every layer.
    pub layers: Vec<Difference>,
    /// The first layer that differs by more than was allowed.
    pub first_diverging: Option<String>,
}

/// Compares two folders.
pub fn verify(first: &Path, second: &Path, tolerance: f64) -> Result<Verification> {
    let (a, b) = (huggingface::read_config(first)?, huggingface::read_config(second)?);
    let mut configs = Vec::new();
    differing_fields("", &field(&a)?, &field(&b)?, &mut configs);
    let (tensors, only_first, only_second) = compare_tensors(first, second)?;
    if (a.layers, a.hidden_size) != (b.layers, b.hidden_size) {
        return Err(Error::Input(format!(
            "{} has {} layers of width {}, {} has {} of {}: hidden states cannot be compared; is it the \
             right pair?",
            first.display(),
            a.layers,
            a.hidden_size,
            second.display(),
            b.layers,
            b.hidden_size
        )));
    }
    let layers = compare_layers(first, second, &a, &b)?;
    let diverges = |d: &&Difference| d.largest.is_none_or(|x| x.is_nan() || x > tolerance * d.scale.max(1.0));
    let first_diverging = layers.iter().find(diverges).map(|d| d.name.clone());
    Ok(Verification { configs, tensors, only_first, only_second, layers, first_diverging })
}

fn field(config: &EncoderConfig) -> Result<Value> {
    serde_json::to_value(config).map_err(|e| Error::Config(e.to_string()))
}

fn differing_fields(path: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let of =
                    |side: &serde_json::Map<String, Value>| side.get(key).cloned().unwrap_or(Value::Null);
                differing_fields(&path, &of(one), &of(other), found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: {a}, {b}")),
    }
}

type Tensors = (Vec<Difference>, Vec<String>, Vec<String>);

fn compare_tensors(first: &Path, second: &Path) -> Result<Tensors> {
    let (a, b) = (Checkpoint::open(first)?, Checkpoint::open(second)?);
    let names = |c: &Checkpoint| -> BTreeSet<String> { c.names().map(str::to_string).collect() };
    let (of_a, of_b) = (names(&a), names(&b));
    let both = of_a.intersection(&of_b).map(|name| {
        let (x, y) = (a.tensor(name, DType::F64)?, b.tensor(name, DType::F64)?);
        Ok(difference(name.clone(), &x, &y))
    });
    let alone = |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect();
    Ok((both.collect::<Result<_>>()?, alone(&of_a, &of_b), alone(&of_b, &of_a)))
}

fn compare_layers(
    first: &Path,
    second: &Path,
    a: &EncoderConfig,
    b: &EncoderConfig,
) -> Result<Vec<Difference>> {
    let open = |folder: &Path| -> Result<Encoder> { Ok(huggingface::load(folder, DType::F32)?.1) };
    let (one, other) = (open(first)?, open(second)?);
    let limit = [one.max_length(), other.max_length()].into_iter().flatten().min().unwrap_or(usize::MAX);
    let lengths = LENGTHS.map(|length| length.min(limit));
    let batch = Packed::from_lengths(&lengths);
    let mut rng = Rng::new(0);
    let (tokens, segments) =
        (a.vocab_size.min(b.vocab_size), a.embedding.segments.min(b.embedding.segments).max(1));
    let ids: Vec<usize> = (0..batch.tokens()).map(|_| rng.below(tokens)).collect();
    let of_halves = |length: usize| (0..length).map(move |i| (2 * i / length.max(1)).min(segments - 1));
    let segments: Vec<usize> = lengths.iter().flat_map(|length| of_halves(*length)).collect();
    let input = EncoderInput { ids: &ids, segments: Some(&segments), batch: &batch };
    let run = |encoder: &Encoder| encoder.forward_all(&mut Ctx::inference(), input, &encoder.mask());
    let named = |(i, (x, y)): (usize, (&Tensor, &Tensor))| {
        let name = if i == 0 { "embeddings".to_string() } else { format!("layer {}", i - 1) };
        difference(name, x, y)
    };
    Ok(run(&one)?.iter().zip(&run(&other)?).enumerate().map(named).collect())
}

fn difference(name: String, x: &Tensor, y: &Tensor) -> Difference {
    let (a, b) = (x.to_f64_vec(), y.to_f64_vec());
    // Not `max`: a NaN must show.
    let largest = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.fold(0.0, |most: f64, x| if x > most || x.is_nan() { x } else { most })
    };
    let scale = largest(&mut a.iter().chain(&b).map(|x| x.abs()));
    let apart = largest(&mut a.iter().zip(&b).map(|(x, y)| (x - y).abs()));
    Difference { name, largest: (x.shape() == y.shape()).then_some(apart), scale }
}

//! A trained RoFormer read with other distances (ReRoPE), its attention written out.
//! Numerics:    with a window as long as the text it gives what the encoder gives (tested)

use anyhow::{Context, Result, bail};
use bert4rs_nn::Ctx;
use bert4rs_nn::block::attention::rows_of;
use bert4rs_nn::block::position::{Scaling, inverse_frequencies, log_n_factors, rerope_scores};
use bert4rs_nn::encoder::{EncoderInput, Mixer, Position};
use bert4rs_tensor::Tensor;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::normalization::layer_norm;

use crate::model::{Batch, LanguageModel};

/// How distances grow.
pub struct Distances {
    /// Up to here as they are.
    pub window: usize,
    /// Beyond it by `1 / slope` for each token; without it not at all.
    pub slope: Option<f64>,
}

/// The last hidden states `[T, D]` of a causal RoFormer under other distances.
pub fn hidden_under(
    model: &LanguageModel,
    distances: &Distances,
    log_n: Option<usize>,
    batch: &Batch,
) -> Result<Tensor> {
    let config = model.encoder().config();
    let (Position::Rotary { theta, layout, .. }, Mixer::Attention(attention)) =
        (&config.position, &config.mixer)
    else {
        bail!("distances of {:?}: expected rotary attention", config.mixer);
    };
    let (layers, heads, size) = (config.layers, attention.heads, config.hidden_size / attention.heads);
    let frequencies = inverse_frequencies(size, *theta, &Scaling::None, 0)?;
    let value = |name: &str| -> Result<Tensor> {
        Ok(model.params().get(name).with_context(|| format!("no parameter {name}"))?.value())
    };
    let product = |name: &str, x: &Tensor| -> Result<Tensor> {
        let (weight, bias) = (value(&format!("{name}.weight"))?, value(&format!("{name}.bias"))?);
        Ok(linear(x, &weight, After { bias: Some(&bias), ..After::default() })?)
    };
    let norm = |name: &str, x: &Tensor| -> Result<Tensor> {
        let (gain, shift) = (value(&format!("{name}.weight"))?, value(&format!("{name}.bias"))?);
        Ok(layer_norm(x, Some(&gain), Some(&shift), 1e-12)?)
    };
    let input = EncoderInput { ids: &batch.ids, segments: None, batch: &batch.packed };
    let mut x = model.encoder().forward_all(&mut Ctx::inference(), input, &batch.mask)?.swap_remove(0);
    let sharper = match log_n {
        None => None,
        Some(n) => {
            let factors = log_n_factors(&batch.packed.positions(), n)?;
            Some(Tensor::new(factors, &[batch.ids.len(), 1])?.cast(x.dtype())?)
        }
    };
    for layer in 0..layers {
        let at = |part: &str| format!("encoder.layer.{layer}.{part}");
        let mut q = product(&at("attention.self.query"), &x)?;
        if let Some(factors) = &sharper {
            q = q.mul(factors)?;
        }
        let (k, v) = (product(&at("attention.self.key"), &x)?, product(&at("attention.self.value"), &x)?);
        let mut texts = Vec::new();
        for ends in batch.packed.offsets().windows(2) {
            let (start, length) = (ends[0], ends[1] - ends[0]);
            let head = |x: &Tensor, h: usize| x.narrow(0, start, length)?.narrow(1, h * size, size);
            let gather = |h: usize| -> Result<Tensor> {
                let (q, k) = (head(&q, h)?, head(&k, h)?);
                let Distances { window, slope } = *distances;
                let scores = rerope_scores(&q, &k, &frequencies, (*layout).into(), window, slope)?; // [L, L]
                Ok(scores.softmax()?.matmul(&head(&v, h)?)?.reshape(&[1, length, size])?)
            };
            let gathered = (0..heads).map(gather).collect::<Result<Vec<_>>>()?;
            texts.push(rows_of(&Tensor::concat(&gathered.iter().collect::<Vec<_>>(), 0)?)?); // [L, D]
        }
        let gathered = Tensor::concat(&texts.iter().collect::<Vec<_>>(), 0)?; // [T, D]
        let sum = product(&at("attention.output.dense"), &gathered)?.add(&x)?;
        x = norm(&at("attention.output.LayerNorm"), &sum)?;
        let inner = product(&at("intermediate.dense"), &x)?.gelu()?;
        let sum = product(&at("output.dense"), &inner)?.add(&x)?;
        x = norm(&at("output.LayerNorm"), &sum)?;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::config;

    #[test]
    fn a_window_as_long_as_the_text_changes_nothing() {
        let shape = json!({ "vocab_size": 11, "hidden_size": 16, "layers": 2,
            "init": { "normal": { "deviation": 0.5 } },
            "mixer": { "attention": { "heads": 2, "dropout": 0.0 } }, "feed_forward": { "dense": { "size": 32 } } });
        let model = LanguageModel::new(&config("roformer", &shape).unwrap(), 3).unwrap();
        let batch = Batch::causal(&[(0..9).collect(), vec![3, 1, 4, 1, 5]]);
        let want = model.hidden(&mut Ctx::inference(), &batch).unwrap().to_f64_vec();
        let under = |window, slope| {
            let distances = Distances { window, slope };
            hidden_under(&model, &distances, None, &batch).unwrap().to_f64_vec()
        };
        let far = |got: Vec<f64>| got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far(under(9, None)) < 1e-5);
        assert!(far(under(3, Some(1.0))) < 1e-5, "a slope of 1 is no change");
        assert!(far(under(3, None)) > 1e-3 && far(under(3, Some(4.0))) > 1e-3);
    }
}

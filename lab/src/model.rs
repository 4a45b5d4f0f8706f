//! A language model of the experiments: an encoder and the head that guesses tokens.

use anyhow::Result;
use bert4rs_nn::encoder::{Encoder, EncoderConfig, EncoderInput, MaskedLanguageHead, preset_with};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor};
use serde_json::Value;

use crate::language::HIDDEN;

/// Texts with what is to be guessed at each token; negative where nothing is.
pub struct Batch {
    /// What the model reads.
    pub ids: Vec<usize>,
    /// What it should say.
    pub targets: Vec<i64>,
    /// Where texts begin and end.
    pub packed: Packed,
    /// Which tokens see which.
    pub mask: Mask,
}

impl Batch {
    /// Each token guesses the next one.
    pub fn causal(texts: &[Vec<usize>]) -> Self {
        let following =
            |text: &Vec<usize>| -> Vec<i64> { text[1..].iter().map(|&id| id as i64).chain([-1]).collect() };
        Self {
            ids: texts.concat(),
            targets: texts.iter().flat_map(following).collect(),
            packed: packed(texts),
            mask: Mask::Causal,
        }
    }

    /// A share of the tokens is hidden and guessed from both sides.
    pub fn masked(texts: &[Vec<usize>], share: f64, rng: &mut Rng) -> Self {
        let mut ids = texts.concat();
        let mut targets = vec![-1; ids.len()];
        for (id, target) in ids.iter_mut().zip(&mut targets) {
            if rng.uniform() < share {
                *target = *id as i64;
                *id = HIDDEN;
            }
        }
        Self { ids, targets, packed: packed(texts), mask: Mask::Full }
    }
}

fn packed(texts: &[Vec<usize>]) -> Packed {
    Packed::from_lengths(&texts.iter().map(Vec::len).collect::<Vec<_>>())
}

/// How well tokens are guessed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guesses {
    /// Mean cross entropy in nats.
    pub loss: f64,
    /// Share of right guesses.
    pub accuracy: f64,
}

impl Guesses {
    /// The number of equally likely tokens that would be as hard.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }
}

/// An encoder with the head that guesses tokens.
pub struct LanguageModel {
    params: Params,
    encoder: Encoder,
    head: MaskedLanguageHead,
}

/// A preset with changes, without dropout, because experiments see each text once, and without segments.
pub fn config(preset: &str, changes: &Value) -> Result<EncoderConfig> {
    let mut config = preset_with(preset, changes)?;
    config.dropout = 0.0;
    config.embedding.dropout = 0.0;
    config.embedding.segments = 0;
    Ok(config)
}

impl LanguageModel {
    /// A new model.
    pub fn new(config: &EncoderConfig, seed: u64) -> Result<Self> {
        let (mut params, mut rng) = (Params::new(), Rng::new(seed).fork("weights"));
        let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
        let encoder = Encoder::new(&mut builder, config)?;
        let head = MaskedLanguageHead::new(&mut builder, &encoder)?;
        Ok(Self { params, encoder, head })
    }

    /// The same weights under another config with parameters of the same names and shapes.
    pub fn under(&self, config: &EncoderConfig) -> Result<Self> {
        let other = Self::new(config, 0)?;
        for parameter in other.params.iter() {
            let value = self.params.get(parameter.name());
            let value = value.ok_or_else(|| anyhow::anyhow!("no weights for {}", parameter.name()))?;
            parameter.set(&value.value())?;
        }
        Ok(other)
    }

    /// Its parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Its encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The last hidden states `[T, D]`.
    pub fn hidden(&self, ctx: &mut Ctx, batch: &Batch) -> Result<Tensor> {
        let input = EncoderInput { ids: &batch.ids, segments: None, batch: &batch.packed };
        Ok(self.encoder.forward(ctx, input, &batch.mask)?)
    }

    /// The mean cross entropy of the guesses.
    pub fn loss(&self, ctx: &mut Ctx, batch: &Batch) -> Result<Tensor> {
        let hidden = self.hidden(ctx, batch)?;
        Ok(self.head.loss(ctx, &hidden, &batch.targets, 0.0)?)
    }

    /// How well it guesses; texts of a batch count by their guesses.
    pub fn guesses(&self, batches: &[Batch]) -> Result<Guesses> {
        self.guesses_from(batches, |batch| self.hidden(&mut Ctx::inference(), batch))
    }

    /// The same from hidden states that were made otherwise.
    pub fn guesses_from(
        &self,
        batches: &[Batch],
        mut hidden: impl FnMut(&Batch) -> Result<Tensor>,
    ) -> Result<Guesses> {
        let (mut loss, mut right, mut count) = (0.0, 0usize, 0usize);
        for batch in batches {
            let asked: Vec<usize> = (0..batch.targets.len()).filter(|&i| batch.targets[i] >= 0).collect();
            let scores =
                self.head.forward(&Ctx::inference(), &hidden(batch)?.rows(&asked)?)?.log_softmax()?;
            let best = scores.argmax(-1)?.to_indices()?;
            let targets: Vec<usize> = asked.iter().map(|&i| batch.targets[i] as usize).collect();
            loss -= scores.pick(&targets)?.sum_all()?.item()?;
            right += best.iter().zip(&targets).filter(|(a, b)| a == b).count();
            count += asked.len();
        }
        let count = count.max(1) as f64;
        Ok(Guesses { loss: loss / count, accuracy: right as f64 / count })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn batches_say_what_is_guessed() {
        let batch = Batch::causal(&[vec![5, 6, 7], vec![8]]);
        assert_eq!(batch.targets, [6, 7, -1, -1]);
        let batch = Batch::masked(&[vec![5; 200]], 0.5, &mut Rng::new(1));
        let hidden = batch.ids.iter().filter(|&&id| id == HIDDEN).count();
        assert!((60..140).contains(&hidden), "{hidden}");
        assert!(batch.ids.iter().zip(&batch.targets).all(|(&id, &t)| (id == HIDDEN) == (t == 5)));
    }

    #[test]
    fn guesses_have_the_loss_of_training() {
        let small = json!({ "vocab_size": 11, "hidden_size": 8, "layers": 1,
            "mixer": { "attention": { "heads": 2, "dropout": 0.0 } }, "feed_forward": { "dense": { "size": 16 } } });
        let model = LanguageModel::new(&config("roformer", &small).unwrap(), 3).unwrap();
        let batch = Batch::causal(&[vec![5, 6, 7, 2], vec![8, 3]]);
        let loss = model.loss(&mut Ctx::training(Rng::new(0)), &batch).unwrap().item().unwrap();
        let guesses = model.under(model.encoder().config()).unwrap().guesses(&[batch]).unwrap();
        assert!((guesses.loss - loss).abs() < 1e-5, "{guesses:?} {loss}");
    }
}

//! Every architecture goes on from a checkpoint as if it had never stopped: the row of nn/tests/contract.rs
//! that needs a trainer.
#![allow(clippy::unwrap_used)]

#[path = "../../nn/tests/small/mod.rs"]
mod small;

use std::path::Path;

use bert4rs_nn::encoder::{Encoder, EncoderConfig, EncoderInput, Mixer, preset_names};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor};
use bert4rs_train::{BoxedError, Error, Objective, Progress, Score, Silent, TrainConfig, Watch, train};
use rayon::prelude::*;

/// An encoder that learns to put out fixed numbers.
struct Model {
    encoder: Encoder,
    params: Params,
}

impl Model {
    fn new(config: &EncoderConfig) -> Self {
        let (mut params, mut rng) = (Params::new(), Rng::new(3));
        let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), config).unwrap();
        Self { encoder, params }
    }

    fn bits(&self) -> Vec<u64> {
        self.params.iter().flat_map(|p| p.value().to_f64_vec()).map(f64::to_bits).collect()
    }
}

impl Objective for Model {
    type Example = Vec<usize>;
    type Error = BoxedError;

    fn params(&self) -> &Params {
        &self.params
    }

    fn tokens(&self, text: &Vec<usize>) -> usize {
        text.len()
    }

    fn loss(&self, ctx: &mut Ctx, texts: &[&Vec<usize>]) -> Result<Tensor, BoxedError> {
        let ids: Vec<usize> = texts.iter().flat_map(|text| text.iter().copied()).collect();
        let batch = Packed::from_lengths(&texts.iter().map(|text| text.len()).collect::<Vec<_>>());
        let input = EncoderInput { ids: &ids, segments: None, batch: &batch };
        let hidden = self.encoder.forward(ctx, input, &self.encoder.mask())?; // [T, D]
        let wanted = (0..hidden.elements()).map(|i| ((i * 37 % 19) as f64 - 9.0) / 9.0).collect();
        let wanted = Tensor::new::<f64>(wanted, hidden.shape())?.cast(DType::F32)?;
        Ok(hidden.sub(&wanted)?.square()?.mean_all()?)
    }

    fn evaluate(&self) -> Result<Score, BoxedError> {
        Ok(Score { main: 0.0, name: "none".into(), details: serde_json::Value::Null })
    }

    fn save(&self, _: &Path) -> Result<(), BoxedError> {
        Ok(())
    }
}

/// Stops after a step.
struct Stop(u64, u64);

impl Watch for Stop {
    fn step(&mut self, progress: &Progress) {
        self.1 = progress.step;
    }

    fn should_stop(&mut self) -> bool {
        self.1 == self.0
    }
}

#[test]
fn a_resumed_run_is_the_one_that_was_never_stopped() {
    let texts: Vec<Vec<usize>> = [5, 1, 3, 4].map(|n| (0..n).map(|i| (7 * n + i) % 12).collect()).to_vec();
    let config = TrainConfig { epochs: 1, batch_size: Some(1), lr: 0.01, ..TrainConfig::default() };
    let names: Vec<&str> = preset_names().collect();
    names.into_par_iter().for_each(|name| {
        let mut architecture = small::tiny(name);
        (architecture.dropout, architecture.embedding.dropout) = (0.2, 0.2);
        if let Mixer::Attention(attention) = &mut architecture.mixer {
            attention.dropout = 0.2;
        }
        let dir = || tempfile::tempdir().unwrap();
        let (whole, folder) = (Model::new(&architecture), dir());
        let start = whole.bits();
        train(&whole, &texts, &config, folder.path(), false, &mut Silent).unwrap();
        let (first, folder) = (Model::new(&architecture), dir());
        let stopped = train(&first, &texts, &config, folder.path(), false, &mut Stop(2, 0));
        assert!(matches!(stopped, Err(Error::Stopped { step: 2, .. })), "{name}");
        assert_ne!(first.bits(), whole.bits(), "{name}: the last step changes something");
        let again = Model::new(&architecture);
        assert_eq!(again.bits(), start);
        train(&again, &texts, &config, folder.path(), true, &mut Silent).unwrap();
        assert_eq!(again.bits(), whole.bits(), "{name}");
    });
}

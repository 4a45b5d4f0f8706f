//! Optimizers, training steps, the trainer, checkpoints and metrics.
//!
//! A task implements [`Objective`]; [`train`] does the rest: batches by token budget, schedule,
//! clipping, AdamW, evaluation, the best model, early stopping, checkpoints. A run that was killed
//! and resumed ends with the bytes of the run that was not.
//!
//! ```
//! use std::path::Path;
//! use bert4rs_nn::Ctx;
//! use bert4rs_tensor::{DType, Error, ParameterKind, Params, Tensor, io::safetensors};
//! use bert4rs_train::{Objective, Score, Silent, TrainConfig, train};
//!
//! /// The factor between two columns of numbers.
//! struct Factor(Params);
//!
//! impl Objective for Factor {
//!     type Example = (f64, f64);
//!     type Error = Error;
//!     fn params(&self) -> &Params {
//!         &self.0
//!     }
//!     fn tokens(&self, _: &(f64, f64)) -> usize {
//!         1
//!     }
//!     fn loss(&self, ctx: &mut Ctx, batch: &[&(f64, f64)]) -> Result<Tensor, Error> {
//!         let column = |pick: fn(&(f64, f64)) -> f64| {
//!             Tensor::new(batch.iter().map(|pair| pick(pair)).collect(), &[batch.len()])
//!         };
//!         let w = ctx.value(self.0.get("w").expect("was added"));
//!         column(|p| p.0)?.mul(&w)?.sub(&column(|p| p.1)?)?.square()?.mean_all()
//!     }
//!     fn evaluate(&self) -> Result<Score, Error> {
//!         let loss = self.loss(&mut Ctx::inference(), &[&(1.0, 3.0)])?.item()?;
//!         Ok(Score { main: -loss, name: "negative_loss".into(), details: Default::default() })
//!     }
//!     fn save(&self, dir: &Path) -> Result<(), Error> {
//!         safetensors::save(&dir.join("model.safetensors"), &self.0.values())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let run_dir = dir.path();
//! let mut params = Params::new();
//! let w = params.add("w", &Tensor::zeros(&[1], DType::F64), ParameterKind::Matrix)?;
//! let pairs: Vec<(f64, f64)> = (0..100).map(|i| (i as f64 / 100.0, 3.0 * i as f64 / 100.0)).collect();
//! let config = TrainConfig { epochs: 20, batch_tokens: 10, lr: 0.1, weight_decay: 0.0, ..Default::default() };
//! let report = train(&Factor(params), &pairs, &config, run_dir, false, &mut Silent)?;
//! assert_eq!(report.steps, 200);
//! assert!((w.value().item()? - 3.0).abs() < 0.01);
//! assert!(run_dir.join("best/model.safetensors").exists());
//! # Ok(()) }
//! ```

mod batches;
mod checkpoint;
mod config;
mod error;
mod gradient;
mod log;
mod loss_scale;
pub mod metric;
mod objective;
pub mod optim;
mod precision;
mod run_folder;
mod trained;
mod trainer;

pub use config::TrainConfig;
pub use error::{BoxedError, Error, Result};
pub use loss_scale::{LossScale, LossScaleRule};
pub use objective::{Evaluated, Objective, Progress, Score, Silent, Watch};
pub use optim::Schedule;
pub use precision::Precision;
pub use trainer::{Report, train};

//! A parameter that training moves, and what moves with it: moments, average, learning rate.

use bert4rs_tensor::op::optimizer::moving_average;
use bert4rs_tensor::{Parameter, Tensor};

use crate::checkpoint::Checkpoint;
use crate::optim::Slot;
use crate::{Result, TrainConfig};

pub(crate) struct Trained {
    pub parameter: Parameter,
    pub average: Option<Tensor>,
    lr: f64,
    slot: Slot,
}

/// What is the same for all parameters in one update.
pub(crate) struct Update<'a> {
    pub config: &'a TrainConfig,
    /// Factor of the gradient: less than 1 where it is clipped.
    pub gradient_scale: f64,
    /// Factor of the learning rate: the schedule.
    pub lr_factor: f64,
    /// Number of this update, from 1.
    pub t: u64,
}

impl Trained {
    /// At its start, or as the checkpoint says.
    pub(crate) fn new(
        parameter: &Parameter,
        config: &TrainConfig,
        kept: Option<&Checkpoint>,
    ) -> Result<Self> {
        let name = parameter.name();
        let mut slot = Slot::new(parameter);
        let mut average = config.average.map(|_| parameter.value());
        if let Some(kept) = kept {
            slot.m = kept.tensor(&format!("m.{name}"), &slot.m)?;
            slot.v = kept.tensor(&format!("v.{name}"), &slot.v)?;
            average = average.map(|a| kept.tensor(&format!("average.{name}"), &a)).transpose()?;
        }
        Ok(Self { lr: config.lr_of(name), parameter: parameter.clone(), slot, average })
    }

    /// One update; without a gradient the parameter and its moments stay.
    pub(crate) fn update(&mut self, update: &Update, gradient: Option<&Tensor>) -> Result<()> {
        let &Update { config, gradient_scale, lr_factor, t } = update;
        if let Some(gradient) = gradient {
            let lr = self.lr * lr_factor;
            let optimizer = config.optimizer();
            optimizer.update(&self.parameter, &mut self.slot, gradient, gradient_scale, lr, t)?;
        }
        if let (Some(average), Some(decay)) = (&mut self.average, config.average) {
            // A young average follows quickly, so that the start leaves no trace.
            let decay = decay.min((1 + t) as f64 / (10 + t) as f64);
            moving_average(average, &self.parameter.value(), decay)?;
        }
        Ok(())
    }

    /// What a checkpoint keeps.
    pub(crate) fn tensors(&self) -> Vec<(String, Tensor)> {
        let name = self.parameter.name();
        let moments = [("m", &self.slot.m), ("v", &self.slot.v)];
        let average = self.average.as_ref().map(|a| ("average", a));
        moments.into_iter().chain(average).map(|(what, x)| (format!("{what}.{name}"), x.clone())).collect()
    }
}

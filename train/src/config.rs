//! The settings of a training run, section `[train]` of a config.

use std::collections::BTreeMap;

use bert4rs_tensor::Params;
use serde::{Deserialize, Serialize};

use crate::optim::{AdamW, Schedule};
use crate::{Error, Precision, Result};

/// Settings of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the examples.
    pub epochs: usize,
    /// Tokens of a batch; a longer example is a batch by itself.
    pub batch_tokens: usize,
    /// Examples of a batch, at most.
    pub batch_size: Option<usize>,
    /// Peak learning rate.
    pub lr: f64,
    /// Peak learning rate of parameters whose name starts with `head`; `lr` when not given.
    pub head_lr: Option<f64>,
    /// Factors of the learning rate, by prefix of the parameter name; the longest prefix wins.
    pub lr_factors: BTreeMap<String, f64>,
    /// How the learning rate falls after the warm-up.
    pub schedule: Schedule,
    /// Share of all steps in which the learning rate rises.
    pub warmup_ratio: f64,
    /// The same as a number of steps; wins over `warmup_ratio`.
    pub warmup_steps: Option<u64>,
    /// Decoupled decay of matrices and embeddings.
    pub weight_decay: f64,
    /// AdamW's decay of the mean gradient.
    pub beta1: f64,
    /// AdamW's decay of the mean square.
    pub beta2: f64,
    /// AdamW's epsilon.
    pub eps: f64,
    /// A longer gradient is scaled to this norm; 0 switches clipping off.
    pub max_grad_norm: f64,
    /// Batches per step: their gradients are added as if they were one batch.
    pub accumulate: usize,
    /// Layers keep their input only and run again in the backward pass: a third more time for a
    /// fraction of the memory, and the same result bit for bit.
    pub recompute: bool,
    /// In which numbers linear layers multiply.
    pub precision: Precision,
    /// A constant factor of the loss in f16, instead of one that adapts.
    pub loss_scale: Option<f64>,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// Evaluations without a better score after which training ends.
    pub patience: Option<usize>,
    /// Steps between evaluations; otherwise one after each epoch. The last step is always evaluated.
    pub eval_every_steps: Option<u64>,
    /// Steps between checkpoints, besides the one after each epoch.
    pub checkpoint_every_steps: Option<u64>,
    /// Decay of a moving average of the weights; when given, the average is evaluated and kept.
    pub average: Option<f64>,
    /// Prefixes of parameters that stay as they are.
    pub freeze: Vec<String>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            batch_tokens: 2048,
            batch_size: None,
            lr: 2e-5, // BERT fine-tuning, Devlin et al. 2018
            head_lr: None,
            lr_factors: BTreeMap::new(),
            schedule: Schedule::Linear,
            warmup_ratio: 0.1,
            warmup_steps: None,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-6, // as BERT and bert4keras
            max_grad_norm: 1.0,
            accumulate: 1,
            recompute: false,
            precision: Precision::F32,
            loss_scale: None,
            seed: 42,
            patience: None,
            eval_every_steps: None,
            checkpoint_every_steps: None,
            average: None,
            freeze: Vec::new(),
        }
    }
}

impl TrainConfig {
    /// Checks what can be checked without a model.
    pub fn validate(&self) -> Result<()> {
        let at_least_one = [
            ("epochs", self.epochs as u64),
            ("batch_tokens", self.batch_tokens as u64),
            ("batch_size", self.batch_size.unwrap_or(1) as u64),
            ("accumulate", self.accumulate as u64),
            ("patience", self.patience.unwrap_or(1) as u64),
            ("eval_every_steps", self.eval_every_steps.unwrap_or(1)),
            ("checkpoint_every_steps", self.checkpoint_every_steps.unwrap_or(1)),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, n)| *n == 0) {
            return Error::config(key, "is 0, expected at least 1; leave the line out for the default");
        }
        check(
            "lr",
            self.lr,
            self.lr > 0.0,
            "a positive number, usually 1e-5 to 5e-5 for a pre-trained encoder",
        )?;
        if let Some(lr) = self.head_lr {
            check("head_lr", lr, lr > 0.0, "a positive number, usually 1e-4 to 1e-3")?;
        }
        for (prefix, &factor) in &self.lr_factors {
            let key = format!("lr_factors.{prefix}");
            check(
                &key,
                factor,
                factor > 0.0,
                "a positive number; to leave parameters as they are use freeze",
            )?;
        }
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let decay = |x: f64| (0.0..1.0).contains(&x);
        check(
            "warmup_ratio",
            self.warmup_ratio,
            share(self.warmup_ratio),
            "a share of all steps in 0..1, usually 0.1",
        )?;
        check("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "0 or more, usually 0.01")?;
        check("beta1", self.beta1, decay(self.beta1), "0 or more and below 1, usually 0.9")?;
        check("beta2", self.beta2, decay(self.beta2), "0 or more and below 1, usually 0.999")?;
        check("eps", self.eps, self.eps > 0.0, "a small positive number, usually 1e-6")?;
        let norm = self.max_grad_norm;
        check("max_grad_norm", norm, norm >= 0.0, "a positive number, usually 1, or 0 for no clipping")?;
        if let Schedule::Piecewise(points) = &self.schedule {
            let rises = points.windows(2).all(|p| p[0].0 < p[1].0);
            if points.is_empty() || !rises || points.iter().any(|p| !(p.1 >= 0.0 && p.1.is_finite())) {
                let expected =
                    "expected points like [[1000, 1.0], [2000, 0.1]]: growing steps, factors of 0 or more";
                return Error::config("schedule", format!("piecewise is {points:?}, {expected}"));
            }
            if self.warmup_steps.is_some() {
                return Error::config(
                    "warmup_steps",
                    "is for other schedules; a point of piecewise is its end",
                );
            }
        }
        if let Some(scale) = self.loss_scale {
            check(
                "loss_scale",
                scale,
                scale > 0.0,
                "a positive number, usually 1024; without it the scale adapts",
            )?;
            if self.precision != Precision::F16 {
                return Error::config("loss_scale", "is for train.precision = \"f16\" only; leave it out");
            }
        }
        if let Some(average) = self.average {
            check("average", average, decay(average), "0 or more and below 1, usually 0.999")?;
        }
        Ok(())
    }

    /// Checks that every prefix in `freeze` and `lr_factors` names a parameter.
    pub fn validate_names(&self, params: &Params) -> Result<()> {
        let frozen = self.freeze.iter().map(|prefix| ("freeze", prefix));
        for (key, prefix) in frozen.chain(self.lr_factors.keys().map(|prefix| ("lr_factors", prefix))) {
            if !params.iter().any(|p| p.name().starts_with(prefix.as_str())) {
                let mut known: Vec<&str> =
                    params.iter().map(|p| p.name().split('.').next().unwrap_or("")).collect();
                known.dedup();
                let known = known.join(", ");
                let message = format!("no parameter starts with {prefix:?}; names start with: {known}");
                return Error::config(key, message);
            }
        }
        Ok(())
    }

    /// The peak learning rate of a parameter.
    pub fn lr_of(&self, name: &str) -> f64 {
        let base = match self.head_lr {
            Some(lr) if name.starts_with("head") => lr,
            _ => self.lr,
        };
        let longest = self.lr_factors.iter().filter(|(prefix, _)| name.starts_with(prefix.as_str()));
        base * longest.max_by_key(|(prefix, _)| prefix.len()).map_or(1.0, |(_, factor)| *factor)
    }

    /// The number of warm-up steps of a run of `steps`.
    pub fn warmup(&self, steps: u64) -> u64 {
        self.warmup_steps.unwrap_or((self.warmup_ratio * steps as f64).round() as u64)
    }

    /// The optimizer.
    pub fn optimizer(&self) -> AdamW {
        let &Self { beta1, beta2, eps, weight_decay, .. } = self;
        AdamW { beta1, beta2, eps, weight_decay }
    }
}

fn check(key: &str, value: f64, fine: bool, expected: &str) -> Result<()> {
    if fine && value.is_finite() {
        return Ok(());
    }
    Error::config(key, format!("is {value}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::{DType, ParameterKind, Tensor};

    use super::*;

    #[test]
    fn the_default_is_valid_and_survives_a_round_trip() {
        let config = TrainConfig::default();
        config.validate().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainConfig>(&json).unwrap(), config);
        assert_eq!(serde_json::from_str::<TrainConfig>("{}").unwrap(), config);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_json::from_str::<TrainConfig>(r#"{"epoch": 3}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `epoch`") && error.contains("`epochs`"), "{error}");
    }

    #[test]
    fn messages_say_what_is_expected_and_what_to_try() {
        let message = |change: fn(&mut TrainConfig)| {
            let mut config = TrainConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(
            message(|c| c.epochs = 0),
            "train.epochs: is 0, expected at least 1; leave the line out for the default"
        );
        assert_eq!(
            message(|c| c.lr = -1.0),
            "train.lr: is -1, expected a positive number, usually 1e-5 to 5e-5 for a pre-trained encoder"
        );
        assert!(message(|c| c.lr = f64::INFINITY).contains("is inf"));
        assert!(message(|c| c.head_lr = Some(0.0)).starts_with("train.head_lr: is 0, expected a positive"));
        assert!(message(|c| c.beta2 = 1.0).starts_with("train.beta2: is 1, expected 0 or more and below 1"));
        assert!(message(|c| c.average = Some(f64::NAN)).contains("train.average: is NaN"));
        assert!(message(|c| c.warmup_ratio = 10.0).contains("in 0..1"));
        assert!(message(|c| c.patience = Some(0)).starts_with("train.patience"));
        assert!(message(|c| c.lr_factors = [("a".into(), 0.0)].into()).contains("use freeze"));
    }

    #[test]
    fn prefixes_must_name_a_parameter() {
        let mut params = Params::new();
        for name in ["encoder.w", "encoder.b", "head.w"] {
            params.add(name, &Tensor::zeros(&[1], DType::F32), ParameterKind::Matrix).unwrap();
        }
        let config = TrainConfig { freeze: vec!["encoder.".into()], ..Default::default() };
        config.validate_names(&params).unwrap();
        let config = TrainConfig { freeze: vec!["bert.".into()], ..Default::default() };
        assert_eq!(
            config.validate_names(&params).unwrap_err().to_string(),
            r#"train.freeze: no parameter starts with "bert."; names start with: encoder, head"#
        );
    }

    #[test]
    fn heads_and_factors_have_their_own_learning_rate() {
        let factors = [("encoder.".to_string(), 0.5), ("encoder.layer.0.".to_string(), 0.25)];
        let config = TrainConfig {
            lr: 1.0,
            head_lr: Some(10.0),
            lr_factors: BTreeMap::from(factors),
            ..Default::default()
        };
        let lr = |name| config.lr_of(name);
        assert_eq!([lr("head.w"), lr("w"), lr("encoder.w"), lr("encoder.layer.0.w")], [10.0, 1.0, 0.5, 0.25]);
        assert_eq!(TrainConfig::default().lr_of("head.w"), 2e-5);
    }
}

//! The trainer, from the first batch to the report.
//!
//! One step: `accumulate` batches -> losses -> gradients, added as if the batches were one -> norm,
//! clipping -> AdamW at the learning rate of the schedule -> average. After an epoch, or every
//! `eval_every_steps`: evaluation, best model, patience. What a step does is a function of the
//! weights, the settings and the number of the step, so a resumed run is the same run.

use std::path::Path;
use std::time::Instant;

use bert4rs_tensor::Tensor;
use serde::Serialize;

use crate::batches::batches;
use crate::checkpoint::{self, Fingerprint, State};
use crate::gradient::{Gradient, gradient};
use crate::log::{Line, Log};
use crate::run_folder::{clean, write_folder};
use crate::trained::{Trained, Update};
use crate::{
    Error, Evaluated, LossScaleRule, Objective, Precision, Progress, Result, Score, TrainConfig, Watch,
};

/// This many steps in a row without a finite gradient end the run: it will not recover.
const MOST_SKIPPED: u64 = 10;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The best score; none when every evaluation gave NaN.
    pub best: Option<Score>,
    /// The step it was reached at; its model is in `best/`.
    pub best_step: u64,
    /// Steps done.
    pub steps: u64,
    /// Steps that changed nothing because the gradient was not finite.
    pub skipped_steps: u64,
    /// Whether the patience ended before the epochs did.
    pub stopped_early: bool,
    /// Tokens trained on.
    pub tokens: u64,
    /// Seconds of the run, resumed parts added up.
    pub seconds: f64,
    /// Training speed of this process, evaluations and checkpoints excluded.
    pub tokens_per_second: f64,
}

/// Trains `objective` on `examples`. The best model ends up in `run_dir/best`, the last weights in
/// the parameters; `log.jsonl` and checkpoints are written on the way. With `resume` the run goes on
/// from the newest checkpoint in `run_dir`, if there is one. Parameters of `config.freeze` are frozen
/// and stay so.
pub fn train<O: Objective>(
    objective: &O,
    examples: &[O::Example],
    config: &TrainConfig,
    run_dir: &Path,
    resume: bool,
    watch: &mut dyn Watch,
) -> Result<Report> {
    let mut run = Run::start(objective, examples, config, run_dir, resume, watch)?;
    while !run.is_over() {
        let epoch = run.state.epoch;
        let batches = batches(&run.lengths, config, epoch);
        while run.state.epoch == epoch && !run.is_over() {
            let end = (run.state.position + config.accumulate).min(batches.len());
            run.step(&batches[run.state.position..end])?;
            run.state.position = end;
            run.after_step(end == batches.len())?;
        }
    }
    Ok(run.report())
}

struct Run<'a, O: Objective> {
    objective: &'a O,
    examples: &'a [O::Example],
    config: &'a TrainConfig,
    run_dir: &'a Path,
    watch: &'a mut dyn Watch,
    lengths: Vec<usize>,
    fingerprint: Fingerprint,
    trained: Vec<Trained>,
    steps: u64,
    state: State,
    log: Log,
    clock: Clock,
}

/// Time and tokens of this process.
struct Clock {
    start: Instant,
    seconds_before: f64,
    training_seconds: f64,
    tokens: u64,
}

impl Clock {
    fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.training_seconds.max(1e-9)
    }
}

impl<'a, O: Objective> Run<'a, O> {
    fn start(
        objective: &'a O,
        examples: &'a [O::Example],
        config: &'a TrainConfig,
        run_dir: &'a Path,
        resume: bool,
        watch: &'a mut dyn Watch,
    ) -> Result<Self> {
        let params = objective.params();
        config.validate()?;
        config.validate_names(params)?;
        if examples.is_empty() {
            return Err(Error::Input("there are no training examples; check the training data".into()));
        }
        for prefix in &config.freeze {
            params.set_frozen(prefix, true);
        }
        let lengths: Vec<usize> = examples.iter().map(|e| objective.tokens(e)).collect();
        let fingerprint = Fingerprint::new(config, &lengths, params, objective.fingerprint());
        clean(run_dir)?;
        if !resume && checkpoint::exists(run_dir)? {
            let hint = "resume it, or choose another folder for a new run";
            return Error::file(run_dir, format!("holds the checkpoint of a run; {hint}"));
        }
        let kept = if resume { checkpoint::read(run_dir, &fingerprint, params)? } else { None };
        let movable = params.iter().filter(|p| !p.is_frozen());
        let trained = movable.map(|p| Trained::new(p, config, kept.as_ref())).collect::<Result<Vec<_>>>()?;
        if trained.is_empty() {
            return Err(Error::Input("all parameters are frozen; shorten train.freeze".into()));
        }
        let state = kept.as_ref().map(|k| k.state.clone()).unwrap_or_default();
        if let Some(kept) = &kept {
            watch.note(&format!("resumed from {} (step {})", kept.path.display(), state.step));
        }
        let count = |epoch| batches(&lengths, config, epoch).len().div_ceil(config.accumulate) as u64;
        let steps = (0..config.epochs).map(count).sum();
        let log = Log::open(run_dir, state.log_bytes)?;
        let clock =
            Clock { start: Instant::now(), seconds_before: state.seconds, training_seconds: 0.0, tokens: 0 };
        Ok(Self {
            objective,
            examples,
            config,
            run_dir,
            watch,
            lengths,
            fingerprint,
            trained,
            steps,
            state,
            log,
            clock,
        })
    }

    fn is_out_of_patience(&self) -> bool {
        self.config.patience.is_some_and(|patience| self.state.stale >= patience)
    }

    fn is_over(&self) -> bool {
        self.state.epoch >= self.config.epochs || self.is_out_of_patience()
    }

    fn step(&mut self, batches: &[Vec<usize>]) -> Result<()> {
        let start = Instant::now();
        let tokens = batches.iter().flatten().map(|&i| self.lengths[i] as u64).sum();
        let examples: Vec<Vec<&O::Example>> =
            batches.iter().map(|b| b.iter().map(|&i| &self.examples[i]).collect()).collect();
        let (number, scale) = (self.state.step + 1, self.loss_scale());
        let gradient = gradient(self.objective, &examples, &self.trained, self.config, number, scale)?;
        let factor =
            self.config.schedule.factor(self.state.updates, self.config.warmup(self.steps), self.steps);
        let is_finite = gradient.is_finite();
        self.state.loss_scale.update(is_finite, &LossScaleRule::default());
        if is_finite {
            self.update(&gradient, factor)?;
            self.state.skipped_in_a_row = 0;
        } else {
            self.state.skipped += 1;
            self.state.skipped_in_a_row += 1;
        }
        self.state.step += 1;
        self.state.tokens += tokens;
        self.clock.tokens += tokens;
        self.clock.training_seconds += start.elapsed().as_secs_f64();
        let progress = Progress {
            step: self.state.step,
            steps: self.steps,
            epoch: self.state.epoch + 1,
            epochs: self.config.epochs,
            loss: gradient.loss,
            lr: self.config.lr * factor,
            grad_norm: gradient.norm,
            tokens,
            tokens_per_second: self.clock.tokens_per_second(),
        };
        self.log.write(&if is_finite { Line::Step(&progress) } else { Line::Skipped(&progress) })?;
        self.watch.step(&progress);
        if is_finite { Ok(()) } else { self.skipped(&gradient) }
    }

    fn loss_scale(&self) -> f64 {
        match self.config.precision {
            Precision::F16 => self.config.loss_scale.unwrap_or(self.state.loss_scale.scale),
            Precision::F32 | Precision::Bf16 => 1.0,
        }
    }

    fn update(&mut self, gradient: &Gradient, factor: f64) -> Result<()> {
        let most = self.config.max_grad_norm;
        let clip = if most > 0.0 && gradient.norm > most { most / gradient.norm } else { 1.0 };
        let gradient_scale = clip / gradient.scale;
        self.state.updates += 1;
        let update = Update { config: self.config, gradient_scale, lr_factor: factor, t: self.state.updates };
        for (trained, gradient) in self.trained.iter_mut().zip(&gradient.sums) {
            trained.update(&update, gradient.as_ref())?;
        }
        Ok(())
    }

    fn skipped(&mut self, gradient: &Gradient) -> Result<()> {
        let (step, in_a_row) = (self.state.step, self.state.skipped_in_a_row);
        let place = match gradient.first_not_finite() {
            Some(i) => format!("the gradient of {} (first of them)", self.trained[i].parameter.name()),
            None => "the loss".to_string(),
        };
        self.watch.note(&format!("step {step} skipped: {place} is not finite"));
        if in_a_row < MOST_SKIPPED {
            return Ok(());
        }
        Err(Error::Diverged(format!(
            "{in_a_row} steps in a row were skipped, the last one is step {step}: {place} is not finite; \
             try a lower train.lr or a longer warm-up, and check the labels"
        )))
    }

    fn after_step(&mut self, epoch_ends: bool) -> Result<()> {
        let every = |steps: Option<u64>| steps.is_some_and(|n| self.state.step.is_multiple_of(n));
        let is_last = epoch_ends && self.state.epoch + 1 >= self.config.epochs;
        let evaluates = match self.config.eval_every_steps {
            None => epoch_ends,
            steps => every(steps) || is_last,
        };
        let keeps = epoch_ends || every(self.config.checkpoint_every_steps);
        if evaluates {
            self.evaluate()?;
        }
        if epoch_ends {
            self.state.epoch += 1;
            self.state.position = 0;
        }
        let stops = !self.is_over() && self.watch.should_stop();
        if keeps || stops || self.is_over() {
            let path = self.keep()?;
            if stops {
                let kept = format!("the checkpoint is {}; go on with --resume", path.display());
                return Err(Error::Stopped { step: self.state.step, kept });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<()> {
        let start = Instant::now();
        let step = self.state.step;
        self.watch.evaluating(step);
        let best = self.state.best.as_ref().map_or(f64::NEG_INFINITY, |(score, _)| score.main);
        let (score, is_best) = self.with_average(|| {
            let score = self.objective.evaluate();
            let score = score.map_err(|e| Error::task(format!("evaluation after step {step}"), e))?;
            let is_best = score.main > best;
            if is_best {
                write_folder(self.run_dir, "best", |dir| {
                    self.objective.save(dir).map_err(|e| Error::task("saving the best model", e))
                })?;
            }
            Ok((score, is_best))
        })?;
        if is_best {
            self.state.best = Some((score.clone(), step));
            self.state.stale = 0;
        } else {
            self.state.stale += 1;
        }
        let seconds = start.elapsed().as_secs_f64();
        let evaluated = Evaluated { step, epoch: self.state.epoch + 1, score, is_best, seconds };
        self.log.write(&Line::Evaluation(&evaluated))?;
        self.watch.evaluated(&evaluated);
        Ok(())
    }

    /// Calls `work` while the parameters hold their averages (if there are any).
    fn with_average<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let last: Vec<Tensor> = self.trained.iter().map(|t| t.parameter.value()).collect();
        for Trained { parameter, average, .. } in &self.trained {
            average.as_ref().map_or(Ok(()), |average| parameter.set(average))?;
        }
        let result = work();
        for (trained, last) in self.trained.iter().zip(&last) {
            if trained.average.is_some() {
                trained.parameter.set(last)?;
            }
        }
        result
    }

    fn keep(&mut self) -> Result<std::path::PathBuf> {
        self.state.seconds = self.seconds();
        self.state.log_bytes = self.log.bytes();
        let optimizer: Vec<_> = self.trained.iter().flat_map(Trained::tensors).collect();
        let parameters = self.objective.params().values();
        checkpoint::write(self.run_dir, &self.state, &self.fingerprint, &parameters, &optimizer)
    }

    fn seconds(&self) -> f64 {
        self.clock.seconds_before + self.clock.start.elapsed().as_secs_f64()
    }

    fn report(self) -> Report {
        Report {
            best_step: self.state.best.as_ref().map_or(0, |(_, step)| *step),
            stopped_early: self.state.epoch < self.config.epochs,
            tokens_per_second: self.clock.tokens_per_second(),
            seconds: self.seconds(),
            steps: self.state.step,
            skipped_steps: self.state.skipped,
            tokens: self.state.tokens,
            best: self.state.best.map(|(score, _)| score),
        }
    }
}

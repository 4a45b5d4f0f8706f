//! `bert4rs train CONFIG.toml [--set KEY=VALUE]… [--resume]`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use bert4rs_tasks::{RunConfig, ner};
use bert4rs_train::{Evaluated, Progress, Watch};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Train;
use crate::output;

pub fn run(args: &Train, json: bool) -> Result<()> {
    let config = RunConfig::load(&args.config, &args.set)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // The first Ctrl-C ends the run after its step, with a checkpoint; the second ends it at once.
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    let mut watch = Bar { bar: None, stop };
    let report = ner::train(&config, args.resume, &mut watch)?;
    if let Some(bar) = watch.bar {
        bar.finish_and_clear();
    }
    if report.lost_entities > 0 {
        eprintln!(
            "note: {} gold entities of the training texts cannot be expressed by this tokenizer and decoder",
            report.lost_entities
        );
    }
    let (steps, minutes) = (report.steps, report.seconds / 60.0);
    eprintln!(
        "{steps} steps in {minutes:.1} minutes, {:.0} tokens/s; best model on {}:",
        report.tokens_per_second,
        config.data.dev.display()
    );
    output::evaluation(&report.evaluation, json)?;
    eprintln!("next: bert4rs predict {} \"a text\"", report.model.display());
    Ok(())
}

/// A progress bar on standard error, silent when that is no terminal; Ctrl-C asks the trainer to stop.
struct Bar {
    bar: Option<ProgressBar>,
    stop: Arc<AtomicBool>,
}

impl Bar {
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.println(line),
            _ => eprintln!("{line}"),
        }
    }
}

impl Watch for Bar {
    fn step(&mut self, p: &Progress) {
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{bar:32} {pos}/{len} steps, {eta} left {msg}");
            ProgressBar::new(p.steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(p.step);
        bar.set_message(format!(
            "| epoch {}/{} loss {:.4} {:.0} tokens/s",
            p.epoch, p.epochs, p.loss, p.tokens_per_second
        ));
    }

    fn evaluated(&mut self, e: &Evaluated) {
        let best = if e.is_best { " (best)" } else { "" };
        self.say(&format!("epoch {} step {}: {} {:.4}{best}", e.epoch, e.step, e.score.name, e.score.main));
    }

    fn note(&mut self, message: &str) {
        self.say(&format!("note: {message}"));
    }

    fn should_stop(&mut self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

//! `bert4rs train CONFIG.toml [--set KEY=VALUE]… [--resume]`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use bert4rs_tasks::config::Goal;
use bert4rs_tasks::{Error, RunConfig, matching, ner, similarity};
use bert4rs_train::{Evaluated, Progress, Watch};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Train;
use crate::output::{self, say};

/// What a shell reports for a program ended by Ctrl-C.
pub const INTERRUPTED: u8 = 130;

pub fn run(args: &Train, json: bool) -> Result<()> {
    let config = RunConfig::load(&args.config, &args.set)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // The first Ctrl-C ends the run after its step, with a checkpoint; the second ends it at once.
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
        say("stopping after this step, with a checkpoint (Ctrl-C again: at once)");
    })?;
    let mut watch = Bar { bar: None, stop };
    let result = match &config.goal {
        Goal::Ner { .. } => ner::train(&config, args.resume, &mut watch).map(Report::Ner),
        Goal::Similarity { .. } => {
            similarity::train(&config, args.resume, &mut watch).map(Report::Similarity)
        }
        Goal::Matching { .. } => matching::train(&config, args.resume, &mut watch).map(Report::Matching),
    };
    if let Some(bar) = watch.bar {
        bar.finish_and_clear();
    }
    let report = match result {
        Err(e @ Error::Train(bert4rs_train::Error::Stopped { .. })) => {
            return Err(e).context(format!("interrupted; go on with: {}", resume_command(args)));
        }
        other => other?,
    };
    let (model, steps, seconds, rate) = match &report {
        Report::Ner(r) => (&r.model, r.steps, r.seconds, r.tokens_per_second),
        Report::Similarity(r) => (&r.model, r.steps, r.seconds, r.tokens_per_second),
        Report::Matching(r) => (&r.model, r.steps, r.seconds, r.tokens_per_second),
    };
    say(&format!(
        "{steps} steps in {:.1} minutes, {rate:.0} tokens/s; best model on {}:",
        seconds / 60.0,
        config.data.dev.display()
    ));
    let model = quoted(&model.display().to_string());
    match &report {
        Report::Ner(r) => {
            output::evaluation(&r.evaluation, json)?;
            say(&format!("next: bert4rs predict {model} \"a text\""));
        }
        Report::Similarity(r) => {
            super::eval::show(&r.evaluation, json)?;
            say(&format!("next: bert4rs embed {model} texts.txt -o vectors.npy"));
        }
        Report::Matching(r) => {
            super::eval::show_matching(&r.evaluation, json)?;
            say(&format!("next: bert4rs rerank {model} --query \"a question\" candidates.txt"));
        }
    }
    Ok(())
}

enum Report {
    Ner(ner::TrainReport),
    Similarity(similarity::TrainReport),
    Matching(matching::TrainReport),
}

/// The command that goes on with this run.
fn resume_command(args: &Train) -> String {
    let mut words = vec!["bert4rs train".to_string(), quoted(&args.config.display().to_string())];
    words.extend(args.set.iter().map(|set| format!("--set {}", quoted(set))));
    words.push("--resume".into());
    words.join(" ")
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-=+,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
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
            _ => say(line),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_resume_survives_a_shell() {
        let args = Train {
            config: "my runs/a.toml".into(),
            set: vec!["task.labels=[\"it's\"]".into(), "train.lr=1e-3".into()],
            resume: false,
        };
        assert_eq!(
            resume_command(&args),
            r#"bert4rs train 'my runs/a.toml' --set 'task.labels=["it'\''s"]' --set train.lr=1e-3 --resume"#
        );
    }
}

//! A run that was stopped or killed and resumed is the run that was not.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use bert4rs_tensor::DType;
use bert4rs_train::{Error, Evaluated, Progress, Silent, TrainConfig, Watch, train};

use crate::toy::{Toy, log, points, quick, run_folder, saved};

/// Some five steps in each of two epochs, and everything that a checkpoint must hold.
fn config() -> TrainConfig {
    TrainConfig {
        batch_tokens: 9,
        accumulate: 2,
        eval_every_steps: Some(3),
        checkpoint_every_steps: Some(4),
        average: Some(0.9),
        ..quick()
    }
}

fn toy() -> Toy {
    Toy::new(DType::F32, 4, 0.2)
}

/// Everything a run leaves that does not tell the time.
#[derive(Debug, PartialEq)]
struct Result {
    weights: Vec<u64>,
    best: Vec<u64>,
    steps: Vec<(u64, f64, f64)>,
    evaluations: Vec<(u64, f64, bool)>,
    state: serde_json::Value,
    folders: Vec<String>,
}

fn result(toy: &Toy, dir: &Path) -> Result {
    let bits = |xs: Vec<f64>| xs.into_iter().map(f64::to_bits).collect();
    let number = |line: &serde_json::Value, key: &str| line[key].as_f64().unwrap();
    Result {
        weights: bits(toy.weights()),
        best: bits(saved(toy, &dir.join("best"))),
        steps: log(dir, "step")
            .iter()
            .map(|l| (l["step"].as_u64().unwrap(), number(l, "loss"), number(l, "lr")))
            .collect(),
        evaluations: log(dir, "evaluation")
            .iter()
            .map(|l| {
                (l["step"].as_u64().unwrap(), number(&l["score"], "main"), l["is_best"].as_bool().unwrap())
            })
            .collect(),
        state: state(dir),
        folders: names(dir),
    }
}

/// The counters of the last checkpoint; time, and the length of a log that tells it, left out.
fn state(dir: &Path) -> serde_json::Value {
    let last = names(dir).into_iter().rfind(|n| n.starts_with("checkpoint-")).unwrap();
    let text = fs::read_to_string(dir.join(last).join("state.json")).unwrap();
    let mut state = serde_json::from_str::<serde_json::Value>(&text).unwrap()["state"].take();
    for key in ["seconds", "log_bytes"] {
        assert!(state.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    state
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn unbroken(config: &TrainConfig) -> Result {
    let (toy, dir) = (toy(), run_folder());
    train(&toy, &points(24, 1), config, dir.path(), false, &mut Silent).unwrap();
    result(&toy, dir.path())
}

/// A fresh process: a fresh model, the same folder.
fn resumed(config: &TrainConfig, dir: &Path) -> Result {
    let toy = toy();
    train(&toy, &points(24, 1), config, dir, true, &mut Silent).unwrap();
    result(&toy, dir)
}

/// Stops after a step, or dies at an event.
#[derive(Default)]
struct Trouble {
    step: u64,
    stop_after: u64,
    die_in_step: u64,
    die_before_evaluation: u64,
    die_after_evaluation: u64,
}

/// The process is gone: no error, no message, nothing cleaned up.
fn dies(now: bool) {
    if now {
        resume_unwind(Box::new("killed"));
    }
}

impl Watch for Trouble {
    fn step(&mut self, progress: &Progress) {
        self.step = progress.step;
        dies(self.step == self.die_in_step);
    }

    fn evaluating(&mut self, step: u64) {
        dies(step == self.die_before_evaluation);
    }

    fn evaluated(&mut self, evaluated: &Evaluated) {
        dies(evaluated.step == self.die_after_evaluation);
    }

    fn should_stop(&mut self) -> bool {
        self.step == self.stop_after
    }
}

#[test]
fn stopping_after_any_step_changes_nothing() {
    let config = config();
    let want = unbroken(&config);
    let steps = want.steps.len() as u64;
    assert!(steps > 9 && want.evaluations.len() > 3, "{steps}");
    for stop_after in 1..steps {
        let dir = run_folder();
        let mut watch = Trouble { stop_after, ..Default::default() };
        let error = train(&toy(), &points(24, 1), &config, dir.path(), false, &mut watch).unwrap_err();
        assert!(matches!(error, Error::Stopped { step, .. } if step == stop_after));
        assert!(error.to_string().contains("go on with --resume"), "{error}");
        assert_eq!(resumed(&config, dir.path()), want, "stopped after step {stop_after}");
    }
}

#[test]
fn a_kill_at_any_moment_changes_nothing() {
    let config = config();
    let want = unbroken(&config);
    let steps = want.steps.iter().map(|s| Trouble { die_in_step: s.0, ..Default::default() });
    let evaluations = want.evaluations.iter().flat_map(|e| {
        let before = Trouble { die_before_evaluation: e.0, ..Default::default() };
        [before, Trouble { die_after_evaluation: e.0, ..Default::default() }]
    });
    for mut watch in steps.chain(evaluations) {
        let dir = run_folder();
        let run = || train(&toy(), &points(24, 1), &config, dir.path(), false, &mut watch).map(drop);
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert_eq!(resumed(&config, dir.path()), want, "killed at step {}", watch.step);
    }
}

#[test]
fn a_kill_in_the_middle_of_a_save_changes_nothing() {
    let config = config();
    let want = unbroken(&config);
    let dir = run_folder();
    let mut victim = toy();
    victim.script = vec![0.1, 0.2, 0.3].into(); // each one is a best one
    let mut saves = 0;
    *victim.during_save.borrow_mut() = Box::new(move || {
        saves += 1;
        dies(saves == 3);
    });
    let run = || train(&victim, &points(24, 1), &config, dir.path(), false, &mut Silent).map(drop);
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert!(dir.path().join(".best.partial/config.json").exists(), "half a model was left behind");
    // What a kill in the middle of a checkpoint leaves.
    let half = dir.path().join(".checkpoint-00000012.partial");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("parameters.safetensors"), "half").unwrap();
    // Scripted scores before the checkpoint are part of that run, so only the weights must agree.
    let got = resumed(&config, dir.path());
    assert_eq!((got.weights, got.steps, got.folders), (want.weights, want.steps, want.folders));
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_older_one() {
    /// Puts a file where a later checkpoint must go.
    struct Blocks(std::path::PathBuf);
    impl Watch for Blocks {
        fn step(&mut self, progress: &Progress) {
            if progress.step == 8 {
                fs::write(&self.0, "in the way").unwrap();
            }
        }
    }
    let config = TrainConfig { epochs: 3, ..config() };
    let want = unbroken(&config);
    for name in [".checkpoint-00000008.partial", ".checkpoint-00000008.old"] {
        let dir = run_folder();
        let obstacle = dir.path().join(name);
        let mut watch = Blocks(obstacle.clone());
        let error = train(&toy(), &points(24, 1), &config, dir.path(), false, &mut watch).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("untouched") && message.contains("disk full"), "{message}");
        fs::remove_file(obstacle).unwrap();
        let kept: Vec<String> = names(dir.path()).into_iter().filter(|n| n.starts_with("check")).collect();
        assert!(kept.len() == 1 && kept[0].as_str() < "checkpoint-00000008", "{kept:?}");
        assert_eq!(resumed(&config, dir.path()), want, "{name}");
    }
}

#[test]
fn a_finished_run_can_only_be_made_longer() {
    let config = config();
    let (first, dir) = (toy(), run_folder());
    let report = train(&first, &points(24, 1), &config, dir.path(), false, &mut Silent).unwrap();
    let before = result(&first, dir.path());
    assert_eq!(resumed(&config, dir.path()), before);

    let again = train(&toy(), &points(24, 1), &config, dir.path(), false, &mut Silent).unwrap_err();
    assert!(again.to_string().contains("holds the checkpoint of a run; resume it, or choose another folder"));
    let other = TrainConfig { lr: 0.5, ..config.clone() };
    let error = train(&toy(), &points(24, 1), &other, dir.path(), true, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("train.lr was 0.02 and is now 0.5"), "{error}");
    let error = train(&toy(), &points(25, 1), &config, dir.path(), true, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("had 24 training examples and has now 25"), "{error}");

    let longer = TrainConfig { epochs: 3, ..config };
    let more = train(&toy(), &points(24, 1), &longer, dir.path(), true, &mut Silent).unwrap();
    assert!(more.steps > report.steps && more.tokens == report.tokens / 2 * 3);
}

//! Checkpoints: everything that decides how a run goes on, in one folder that appears at once.
//!
//! `checkpoint-N/` (after N steps) holds `parameters.safetensors`, `optimizer.safetensors` (moments
//! and averages) and `state.json` (position, counters, best score, fingerprint). Random numbers need
//! no state: those of a step are a function of (seed, step). The older checkpoint is removed only
//! when the new one is complete.

use std::fs;
use std::path::{Path, PathBuf};

use bert4rs_tensor::io::safetensors::{WeightFile, save, write_atomic};
use bert4rs_tensor::{Params, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run_folder::write_folder;
use crate::{Error, LossScale, Result, Score, TrainConfig};

const NAME: &str = "checkpoint-";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Steps done, skipped ones included.
    pub step: u64,
    /// Updates of the weights: AdamW's `t`.
    pub updates: u64,
    /// The current epoch, from 0.
    pub epoch: usize,
    /// Batches of this epoch that are done.
    pub position: usize,
    /// Steps whose gradient was not finite: all, and the last ones in a row.
    pub skipped: u64,
    pub skipped_in_a_row: u64,
    /// Of a run in f16.
    #[serde(default)]
    pub loss_scale: LossScale,
    /// The best score and the step it was reached at.
    pub best: Option<(Score, u64)>,
    /// Evaluations since then.
    pub stale: usize,
    pub tokens: u64,
    pub seconds: f64,
    pub log_bytes: u64,
}

/// What two parts of one run have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub config: TrainConfig,
    /// Number of examples, and a hash of their lengths.
    pub examples: usize,
    pub lengths: String,
    /// A hash of names, shapes and types of the parameters.
    pub parameters: String,
    /// What the task says.
    pub task: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    state: State,
    fingerprint: Fingerprint,
}

impl Fingerprint {
    pub(crate) fn new(config: &TrainConfig, lengths: &[usize], params: &Params, task: String) -> Self {
        let lengths_hash = fnv(lengths.iter().flat_map(|n| n.to_le_bytes()));
        let describe = |(name, t): (String, Tensor)| format!("{name} {:?} {:?};", t.shape(), t.dtype());
        let parameters: String = params.values().into_iter().map(describe).collect();
        Self {
            config: config.clone(),
            examples: lengths.len(),
            lengths: lengths_hash,
            parameters: fnv(parameters.bytes()),
            task,
        }
    }

    /// An error that names the first difference that would make another run of this one.
    fn accepts(&self, now: &Fingerprint, path: &Path) -> Result<()> {
        let refuse = |what: String| {
            let hint = "undo the change, or start a new run in another folder";
            Err(Error::Resume(format!("{}: this is another run: {what}; {hint}", path.display())))
        };
        let (Ok(Value::Object(was)), Ok(Value::Object(is))) =
            (serde_json::to_value(&self.config), serde_json::to_value(&now.config))
        else {
            return refuse("its settings cannot be compared".to_string());
        };
        for (key, was) in &was {
            let is = is.get(key).unwrap_or(&Value::Null);
            if was != is && !may_change(key, was, is) {
                return refuse(format!("train.{key} was {was} and is now {is}"));
            }
        }
        if self.parameters != now.parameters {
            return refuse("the model has other parameters (names, shapes or types)".to_string());
        }
        if self.examples != now.examples {
            return refuse(format!(
                "it had {} training examples and has now {}",
                self.examples, now.examples
            ));
        }
        if self.lengths != now.lengths {
            return refuse("the training examples have other lengths".to_string());
        }
        if self.task != now.task {
            return refuse(format!("the task was {:?} and is now {:?}", self.task, now.task));
        }
        Ok(())
    }
}

/// A run may become longer or more patient, and how often it is kept changes no result.
fn may_change(key: &str, was: &Value, is: &Value) -> bool {
    match key {
        "epochs" | "patience" => match (was.as_u64(), is.as_u64()) {
            (Some(was), Some(is)) => is >= was,
            (was, _) => was.is_some(), // no limit is more than any
        },
        "checkpoint_every_steps" => true,
        _ => false,
    }
}

/// Writes the checkpoint of `state`, then removes older ones.
pub(crate) fn write(
    run_dir: &Path,
    state: &State,
    fingerprint: &Fingerprint,
    parameters: &[(String, Tensor)],
    optimizer: &[(String, Tensor)],
) -> Result<PathBuf> {
    let older = all(run_dir)?;
    let file = File { state: state.clone(), fingerprint: fingerprint.clone() };
    let place = write_folder(run_dir, &format!("{NAME}{:08}", state.step), |dir| {
        save(&dir.join("parameters.safetensors"), parameters)?;
        save(&dir.join("optimizer.safetensors"), optimizer)?;
        let json = serde_json::to_vec_pretty(&file).or_else(|e| Error::file(dir, e.to_string()))?;
        Ok(write_atomic(&dir.join("state.json"), &json)?)
    })?;
    for (_, path) in older.into_iter().filter(|(_, path)| *path != place) {
        let _ = fs::remove_dir_all(path); // best effort: the newest one is read
    }
    Ok(place)
}

/// A checkpoint that was read.
pub(crate) struct Checkpoint {
    pub path: PathBuf,
    pub state: State,
    optimizer: WeightFile,
}

/// Reads the newest checkpoint into `params`; none when there is none.
pub(crate) fn read(run_dir: &Path, now: &Fingerprint, params: &Params) -> Result<Option<Checkpoint>> {
    let Some((_, path)) = all(run_dir)?.pop() else { return Ok(None) };
    let state_path = path.join("state.json");
    let text = fs::read(&state_path)
        .or_else(|e| Error::file(&state_path, format!("cannot be read: {e}; start a new run")))?;
    let file: File = serde_json::from_slice(&text).or_else(|e| {
        Error::file(
            &state_path,
            format!("is not a state of this version of the program: {e}; start a new run"),
        )
    })?;
    file.fingerprint.accepts(now, &path)?;
    let weights = WeightFile::open(&path.join("parameters.safetensors"))?;
    for parameter in params.iter() {
        parameter.set(&weights.tensor(parameter.name(), parameter.value().dtype())?)?;
    }
    let optimizer = WeightFile::open(&path.join("optimizer.safetensors"))?;
    Ok(Some(Checkpoint { path, state: file.state, optimizer }))
}

impl Checkpoint {
    /// A tensor of the optimizer, of the type and shape of `like`.
    pub(crate) fn tensor(&self, name: &str, like: &Tensor) -> Result<Tensor> {
        let tensor = self.optimizer.tensor(name, like.dtype())?;
        if tensor.shape() != like.shape() {
            let message = format!("{name} has shape {:?}, expected {:?}", tensor.shape(), like.shape());
            return Error::file(self.optimizer.path(), message);
        }
        Ok(tensor)
    }
}

/// Whether the folder holds a checkpoint.
pub(crate) fn exists(run_dir: &Path) -> Result<bool> {
    Ok(!all(run_dir)?.is_empty())
}

/// All complete checkpoints by step.
fn all(run_dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let read = || -> std::io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(run_dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(step) = name.strip_prefix(NAME).and_then(|n| n.parse().ok())
                && entry.file_type()?.is_dir()
            {
                found.push((step, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    };
    read().or_else(|e| Error::file(run_dir, format!("cannot be read: {e}")))
}

/// FNV-1a; guards against mistakes, not against malice.
fn fnv(bytes: impl Iterator<Item = u8>) -> String {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(change: fn(&mut Fingerprint)) -> String {
        let config = TrainConfig { patience: Some(2), ..Default::default() };
        let was = Fingerprint::new(&config, &[1, 2, 3], &Params::new(), "ner of 3 labels".into());
        let mut now = was.clone();
        change(&mut now);
        was.accepts(&now, Path::new("run/checkpoint-5")).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn another_run_is_refused_by_the_name_of_what_differs() {
        assert_eq!(
            message(|f| f.config.lr = 1.0),
            "run/checkpoint-5: this is another run: train.lr was 0.00002 and is now 1.0; \
             undo the change, or start a new run in another folder"
        );
        assert!(message(|f| f.config.epochs = 2).contains("train.epochs was 3 and is now 2"));
        assert!(message(|f| f.config.patience = Some(1)).contains("train.patience was 2 and is now 1"));
        assert!(
            message(|f| f.config.freeze = vec!["a".into()])
                .contains(r#"train.freeze was [] and is now ["a"]"#)
        );
        assert!(message(|f| f.examples = 4).contains("had 3 training examples and has now 4"));
        assert!(message(|f| f.lengths.clear()).contains("other lengths"));
        assert!(message(|f| f.parameters.clear()).contains("other parameters"));
        assert!(message(|f| f.task.clear()).contains(r#"the task was "ner of 3 labels""#));
    }

    #[test]
    fn a_run_may_become_longer_and_more_patient() {
        assert_eq!(message(|_| ()), "");
        assert_eq!(message(|f| f.config.epochs = 9), "");
        assert_eq!(message(|f| f.config.patience = Some(3)), "");
        assert_eq!(message(|f| f.config.patience = None), "");
        assert_eq!(message(|f| f.config.checkpoint_every_steps = Some(7)), "");
    }
}

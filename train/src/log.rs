//! `log.jsonl` of a run: one line per step, skipped step and evaluation.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Evaluated, Progress, Result};

/// What a line tells.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Line<'a> {
    Step(&'a Progress),
    /// A step whose gradient was not finite; the weights did not change.
    Skipped(&'a Progress),
    Evaluation(&'a Evaluated),
}

/// The open log.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    /// Opens the log and keeps its first `bytes`: what came after the checkpoint happens again.
    pub(crate) fn open(run_dir: &Path, bytes: u64) -> Result<Self> {
        let path = run_dir.join("log.jsonl");
        let open = || {
            let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            let bytes = bytes.min(file.metadata()?.len());
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            Ok((file, bytes))
        };
        match open() {
            Ok((file, bytes)) => Ok(Self { path, file, bytes }),
            Err(e) => fail(&path, &e),
        }
    }

    /// Its length so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = match serde_json::to_string(line) {
            Ok(text) => text,
            Err(e) => return Error::file(&self.path, format!("cannot be written: {e}")),
        };
        text.push('\n');
        self.bytes += text.len() as u64;
        self.file.write_all(text.as_bytes()).or_else(|e| fail(&self.path, &e))
    }
}

fn fail<T>(path: &Path, e: &std::io::Error) -> Result<T> {
    Error::file(path, format!("cannot be written: {e}"))
}

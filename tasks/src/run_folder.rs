//! The run folder before the trainer has it: may this run write here, and is it still the same run?
//!
//! A run folder belongs to one run. Its `config.toml` is the resolved configuration; a resumed run
//! must have the same one, except for paths (data may move) and what the trainer itself compares.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use crate::{Error, Result, settings};

const CONFIG: &str = "config.toml";

/// Sections in which a resumed run may differ: the trainer compares `train`, and examples by content.
const MAY_DIFFER: [&str; 3] = ["train", "data", "output"];

/// Makes the folder and checks that it can be written, before minutes are spent on data.
pub(crate) fn claim(dir: &Path, resume: bool) -> Result<()> {
    let probe = dir.join(".writable");
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&probe, ""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|e| {
            refuse(
                dir,
                format!("cannot be written: {e}; free it, or choose another with --set output.dir=.."),
            )
        })?;
    if !resume && holds_run(dir)? {
        let hint = "go on with it with --resume, or choose another folder with --set output.dir=..";
        return Err(refuse(dir, format!("already holds a run; {hint}")));
    }
    Ok(())
}

/// A checkpoint or a model: what a new run would overwrite.
fn holds_run(dir: &Path) -> Result<bool> {
    for entry in fs::read_dir(dir).map_err(|e| Error::file(dir, e))? {
        let name = entry.map_err(|e| Error::file(dir, e))?.file_name();
        let name = name.to_string_lossy();
        if name == "best" || name.starts_with("checkpoint-") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses to resume a run whose resolved configuration was another.
pub(crate) fn compare(dir: &Path, now: &Table) -> Result<()> {
    let path = dir.join(CONFIG);
    if !path.exists() {
        return Ok(());
    }
    let was = settings::read_table(&path)?;
    let fixed = |table: &Table| -> Table {
        table.iter().filter(|(key, _)| !MAY_DIFFER.contains(&key.as_str())).map(clone).collect()
    };
    match difference(&fixed(&was), &fixed(now), "") {
        None => Ok(()),
        Some(what) => Err(refuse(
            dir,
            format!(
                "holds another run: {what}; undo the change, or start a new run with --set output.dir=.."
            ),
        )),
    }
}

fn clone((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// The first setting that differs.
fn difference(was: &Table, now: &Table, place: &str) -> Option<String> {
    let keys = was.keys().chain(now.keys().filter(|key| !was.contains_key(*key)));
    for key in keys {
        let name = format!("{place}{key}");
        match (was.get(key), now.get(key)) {
            (was, now) if was == now => {}
            (Some(Value::Table(was)), Some(Value::Table(now))) => {
                return difference(was, now, &format!("{name}."));
            }
            (was, now) => {
                let say = |value: Option<&Value>| value.map_or("not set".to_string(), Value::to_string);
                return Some(format!("{name} was {} and is now {}", say(was), say(now)));
            }
        }
    }
    None
}

/// Writes the resolved configuration.
pub(crate) fn record(dir: &Path, config: &str) -> Result<()> {
    let path = dir.join(CONFIG);
    fs::write(&path, config).map_err(|e| Error::file(&path, format!("cannot be written: {e}")))
}

/// Tells data sets apart, so that a run is not resumed on other examples. FNV-1a: stable across
/// machines and versions; guards against mistakes, not against malice.
pub(crate) fn fingerprint(parts: impl IntoIterator<Item = String>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("examples {hash:016x}")
}

fn refuse(dir: &Path, message: String) -> Error {
    Error::RunFolder { path: dir.display().to_string(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_other_setting_is_named() {
        let dir = tempfile::tempdir().unwrap();
        compare(dir.path(), &table("")).unwrap();
        record(dir.path(), "[head]\ndecoder = \"crf\"\n[train]\nlr = 1.0\n[data]\ntrain = \"a\"").unwrap();
        compare(dir.path(), &table("[head]\ndecoder = \"crf\"\n[train]\nlr = 2.0\n[data]\ntrain = \"b\""))
            .unwrap();
        let error = compare(dir.path(), &table("[head]\ndecoder = \"memm\"")).unwrap_err().to_string();
        assert!(error.contains(r#"head.decoder was "crf" and is now "memm"; undo"#), "{error}");
        let error = compare(dir.path(), &table("[head]\ndecoder = \"crf\"\nflat = true")).unwrap_err();
        assert!(error.to_string().contains("head.flat was not set and is now true"), "{error}");
    }

    #[test]
    fn a_folder_with_a_model_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        claim(&dir.path().join("new/run"), false).unwrap();
        for kept in ["best", "checkpoint-00000001"] {
            let run = dir.path().join(format!("with-{kept}"));
            fs::create_dir_all(run.join(kept)).unwrap();
            assert!(claim(&run, false).unwrap_err().to_string().contains("already holds a run; go on"));
            claim(&run, true).unwrap();
        }
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(
            claim(&dir.path().join("file"), false).unwrap_err().to_string().contains("cannot be written")
        );
    }
}

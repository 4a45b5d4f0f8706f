//! Folders that appear whole or not at all.
//!
//! A folder is written under a hidden name beside its place, flushed to disk, and renamed. What a
//! kill leaves behind has a hidden name, is never read, and is removed by [`clean`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const PARTIAL: &str = ".partial";
const OLD: &str = ".old";

/// Makes the run folder, removes what an earlier process left half done, and puts back a folder
/// that it was about to replace.
pub(crate) fn clean(run_dir: &Path) -> Result<()> {
    let work = || -> io::Result<()> {
        fs::create_dir_all(run_dir)?;
        for entry in fs::read_dir(run_dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(hidden) = name.strip_prefix('.') else { continue };
            if let Some(place) = hidden.strip_suffix(OLD)
                && !run_dir.join(place).exists()
            {
                fs::rename(entry.path(), run_dir.join(place))?;
            } else if hidden.ends_with(OLD) || hidden.ends_with(PARTIAL) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    };
    work().or_else(|e| Error::file(run_dir, format!("cannot be used as a run folder: {e}")))
}

/// Writes the folder `run_dir/name` with `fill`; an older one of that name is replaced in the end.
/// On any error the older one stays.
pub(crate) fn write_folder(
    run_dir: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let place = run_dir.join(name);
    let beside = run_dir.join(format!(".{name}{PARTIAL}"));
    let untouched = |e: io::Error| Error::File {
        path: place.clone(),
        message: format!("cannot be written: {e}; what was there before is untouched; is the disk full?"),
    };
    remove(&beside).and_then(|()| fs::create_dir(&beside)).map_err(untouched)?;
    let filled = fill(&beside).and_then(|()| {
        flush(&beside).and_then(|()| replace(run_dir, name, &beside, &place)).map_err(untouched)
    });
    if filled.is_err() {
        let _ = remove(&beside); // best effort, it frees space; the error is what matters
    }
    filled.map(|()| place)
}

fn replace(run_dir: &Path, name: &str, beside: &Path, place: &Path) -> io::Result<()> {
    let old = run_dir.join(format!(".{name}{OLD}"));
    remove(&old)?;
    if place.exists() {
        fs::rename(place, &old)?; // a kill here is repaired by `clean`
    }
    if let Err(e) = fs::rename(beside, place) {
        if old.exists() {
            fs::rename(&old, place)?;
        }
        return Err(e);
    }
    sync(run_dir)?;
    remove(&old)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Flushes every file below `folder`, then the folder.
fn flush(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            flush(&entry.path())?;
        } else {
            sync(&entry.path())?;
        }
    }
    sync(folder)
}

/// Folders cannot be opened for this everywhere; there the rename is as durable as it gets.
fn sync(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) if cfg!(unix) || path.is_file() => file.sync_all(),
        Ok(_) => Ok(()),
        Err(e) if path.is_file() => Err(e),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(run_dir: &Path, text: &str) -> Result<PathBuf> {
        write_folder(run_dir, "best", |dir| {
            fs::write(dir.join("a"), text).or_else(|e| Error::file(dir, e.to_string()))
        })
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_new_folder_replaces_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "1").unwrap();
        let place = put(dir.path(), "2").unwrap();
        assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "2");
        assert_eq!(names(dir.path()), ["best"]);
    }

    #[test]
    fn a_failure_keeps_the_old_folder() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "1").unwrap();
        let failed = write_folder(dir.path(), "best", |dir| Error::file(dir, "no space left"));
        assert!(failed.unwrap_err().to_string().contains("no space left"));
        assert_eq!(names(dir.path()), ["best"]);
        fs::write(dir.path().join(".best.partial"), "a file where the folder must go").unwrap();
        assert!(put(dir.path(), "2").unwrap_err().to_string().contains("untouched"));
        assert_eq!(fs::read_to_string(dir.path().join("best/a")).unwrap(), "1");
    }

    #[test]
    fn leftovers_of_a_kill_are_removed_or_put_back() {
        let dir = tempfile::tempdir().unwrap();
        for leftover in [".best.partial", ".best.old", ".checkpoint-2.partial"] {
            fs::create_dir_all(dir.path().join(leftover)).unwrap();
            fs::write(dir.path().join(leftover).join("a"), leftover).unwrap();
        }
        fs::write(dir.path().join(".mine"), "not ours").unwrap();
        clean(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [".mine", "best"]);
        assert_eq!(fs::read_to_string(dir.path().join("best/a")).unwrap(), ".best.old");
    }
}

//! Adding and deleting: one frame at the end of the file, on disk before the call returns.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::frame::Rows;
use super::settings::{FORMAT, Manifest, sync_folder};
use super::{Index, Settings, check_vectors, is_index};
use crate::{Error, Result};

/// Vectors of a frame: one sync each, and small enough to be in memory twice.
pub(super) const FRAME: usize = 4096;

/// What belongs to a vector.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Its name; a vector of the same name is replaced.
    pub id: &'a str,
    /// What is given back with it.
    pub payload: &'a [u8],
}

/// An index that is open for changes; there is one at a time.
pub struct Writer {
    pub(super) index: Index,
    pub(super) file: File,
    /// Rows by id.
    pub(super) ids: HashMap<String, u32>,
    /// A write that failed and could not be taken back.
    broken: bool,
    _lock: File,
}

impl Writer {
    /// Makes an index in a new or empty folder.
    pub fn create(dir: &Path, settings: Settings) -> Result<Self> {
        settings.check()?;
        if is_index(dir) {
            return Err(Error::index(dir, "has an index already; add to it, or choose another folder"));
        }
        fs::create_dir_all(dir).map_err(|e| Error::file(dir, e))?;
        let rows = rows_file(1);
        let path = dir.join(&rows);
        File::create(&path).and_then(|file| file.sync_all()).map_err(|e| Error::file(&path, e))?;
        Manifest { format: FORMAT, settings, rows, sealed: 0 }.write(dir)?;
        Self::open(dir)
    }

    /// Opens an index for changes. Half a write at its end is cut off.
    pub fn open(dir: &Path) -> Result<Self> {
        let lock_path = dir.join("lock");
        if !is_index(dir) {
            Manifest::read(dir)?;
        }
        let lock = File::create(&lock_path).map_err(|e| Error::file(&lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::index(
                    dir,
                    "is being changed by another program; wait until it has ended",
                ));
            }
            Err(TryLockError::Error(e)) => return Err(Error::file(&lock_path, e)),
        }
        let index = Index::open(dir)?;
        let path = dir.join(&index.manifest.rows);
        let file =
            OpenOptions::new().read(true).write(true).open(&path).map_err(|e| Error::file(&path, e))?;
        let length = file.metadata().map_err(|e| Error::file(&path, e))?.len();
        if length > index.end as u64 {
            file.set_len(index.end as u64)
                .and_then(|()| file.sync_all())
                .map_err(|e| Error::file(&path, e))?;
        }
        remove_others(dir, &index.manifest.rows)?;
        let ids = number(&index)?;
        Ok(Self { index, file, ids, broken: false, _lock: lock })
    }

    /// The index as it is now.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Whether there is a vector of this name.
    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains_key(id)
    }

    /// Adds vectors `[N, D]`; those of a known name replace the older one. When it returns, they are on
    /// disk. Gives how many were replaced.
    pub fn add(&mut self, items: &[Item], vectors: &[f32]) -> Result<usize> {
        let settings = self.index.settings().clone();
        let vectors = check_vectors(vectors, &settings, "vector")?;
        let (width, kinds) = (settings.width, settings.kinds());
        if vectors.len() != items.len() * width {
            return Err(Error::Input(format!(
                "{} vectors of {width} numbers for {} ids; expected one for each",
                vectors.len() / width,
                items.len()
            )));
        }
        let mut replaced = 0;
        for (items, vectors) in items.chunks(FRAME).zip(vectors.chunks(FRAME * width)) {
            let first = self.index.rows;
            let (mut rows, mut gone) = (Rows::default(), Vec::new());
            let mut new: HashMap<&str, u32> = HashMap::with_capacity(items.len());
            for (i, (item, x)) in items.iter().zip(vectors.chunks_exact(width)).enumerate() {
                rows.push_vector(kinds, x);
                if !rows.push_text(item.id, item.payload) {
                    let message = "ids and payloads of one addition are longer than 4 GiB; add fewer at once";
                    return Err(Error::Input(message.into()));
                }
                gone.extend(new.insert(item.id, first + i as u32).or_else(|| self.ids.get(item.id).copied()));
            }
            self.append(&rows, &gone)?;
            replaced += gone.len();
            self.ids.extend(new.into_iter().map(|(id, row)| (id.to_string(), row)));
        }
        Ok(replaced)
    }

    /// Deletes vectors by name; gives how many there were. When it returns, that is on disk.
    pub fn delete(&mut self, ids: &[&str]) -> Result<usize> {
        let mut gone: Vec<u32> = ids.iter().filter_map(|id| self.ids.get(*id).copied()).collect();
        gone.sort_unstable();
        gone.dedup();
        if !gone.is_empty() {
            self.append(&Rows::default(), &gone)?;
            ids.iter().for_each(|id| {
                self.ids.remove(*id);
            });
        }
        Ok(gone.len())
    }

    /// Says that all of the file is on disk, so that the next opening need not check its end.
    pub fn seal(&mut self) -> Result<()> {
        let mut manifest = self.index.manifest.clone();
        manifest.sealed = self.index.end as u64;
        manifest.write(&self.index.dir)?;
        self.index.manifest = manifest;
        Ok(())
    }

    fn append(&mut self, rows: &Rows, gone: &[u32]) -> Result<()> {
        let path = self.index.dir.join(&self.index.manifest.rows);
        if self.broken {
            return Err(Error::index(&path, "an earlier write failed; open the index again"));
        }
        let settings = self.index.settings();
        let whole = u32::try_from(rows.count).ok().and_then(|n| self.index.rows.checked_add(n));
        let frame = rows.encode(settings.width, settings.kinds(), self.index.rows, gone);
        let (Some(_), Some(frame)) = (whole, frame) else {
            return Err(Error::index(
                &path,
                "is full: an index holds 4,294,967,295 rows; compact it, or make another",
            ));
        };
        let end = self.index.end as u64;
        let mut write = || -> std::io::Result<()> {
            self.file.seek(SeekFrom::Start(end))?;
            self.file.write_all(&frame)?;
            self.file.sync_data()
        };
        if let Err(error) = write() {
            // A full disk: what was written is taken back, so that the next try begins at the same place.
            self.broken = self.file.set_len(end).is_err();
            return Err(Error::file(&path, format!("cannot be written: {error}")));
        }
        self.index.walk(&path)
    }
}

/// The rows that live, by id.
pub(super) fn number(index: &Index) -> Result<HashMap<String, u32>> {
    let alive = (0..index.rows).filter(|row| !index.deleted.contains(*row));
    let named = alive.map(|row| {
        let id =
            index.id(row).ok_or_else(|| Error::index(&index.dir, format!("row {row} has no readable id")))?;
        Ok((id.to_string(), row))
    });
    named.collect()
}

pub(super) fn rows_file(generation: u64) -> String {
    format!("rows-{generation}")
}

/// Removes what a kill during compaction has left.
pub(super) fn remove_others(dir: &Path, current: &str) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(|e| Error::file(dir, e))? {
        let path = entry.map_err(|e| Error::file(dir, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name != current && name.strip_prefix("rows-").is_some_and(|n| n.parse::<u64>().is_ok()) {
            fs::remove_file(&path).map_err(|e| Error::file(&path, e))?;
        }
    }
    sync_folder(dir).map_err(|e| Error::file(dir, e))
}

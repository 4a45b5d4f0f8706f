//! What an index is: decided when it is made, written in `index.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Cosines: vectors and queries are scaled to length 1.
    #[default]
    Cosine,
    /// Inner products of the vectors as they are.
    Dot,
}

/// In which form vectors are looked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scan {
    /// 4 bytes a number.
    #[default]
    F32,
    /// 1 byte a number.
    Int8,
    /// 1 bit a number.
    Binary,
}

/// Decided when an index is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Numbers of a vector.
    pub width: usize,
    /// What is compared.
    pub metric: Metric,
    /// In which form vectors are looked through.
    pub scan: Scan,
    /// Whether the numbers are kept in f32 too, to rescore what 8 bits or bits have found.
    pub keep_f32: bool,
    /// What made the vectors, in a word that tells models apart: vectors of two models do not compare.
    pub model: String,
    /// Where it was then.
    pub model_path: String,
}

/// The forms that an index keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    pub float: bool,
    pub int8: bool,
    pub bits: bool,
}

impl Settings {
    pub(super) fn kinds(&self) -> Kinds {
        Kinds {
            float: self.keep_f32 || self.scan == Scan::F32,
            int8: self.scan == Scan::Int8,
            bits: self.scan == Scan::Binary,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        const MOST: usize = 1 << 16;
        let most = if self.scan == Scan::Binary { 64 * bert4rs_kernels::nearest::bits::MOST } else { MOST };
        if self.width == 0 || self.width > most {
            let message =
                format!("vectors of {} numbers cannot be indexed; expected 1 to {most}", self.width);
            return Err(Error::Input(message));
        }
        if self.scan == Scan::Binary && self.metric == Metric::Dot {
            let message = "bits do not know lengths: use the cosine, or f32 or int8 for inner products";
            return Err(Error::Input(message.into()));
        }
        Ok(())
    }
}

impl Kinds {
    pub(super) fn to_number(self) -> u32 {
        u32::from(self.float) | u32::from(self.int8) << 1 | u32::from(self.bits) << 2
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        let bit = |i: u32| number >> i & 1 == 1;
        (1..8).contains(&number).then(|| Self { float: bit(0), int8: bit(1), bits: bit(2) })
    }
}

/// `index.json`: replaced as a whole, by renaming.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub format: u32,
    pub settings: Settings,
    /// The file of the rows; compaction writes a new one.
    pub rows: String,
    /// Bytes of it that were known to be on disk: damage there is no torn write.
    pub sealed: u64,
}

pub(super) const MANIFEST: &str = "index.json";
pub(super) const FORMAT: u32 = 1;

impl Manifest {
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST);
        let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::index(
                dir,
                "there is no index; expected a folder with index.json, as `bert4rs index` makes it",
            ),
            _ => Error::file(&path, e),
        })?;
        let manifest: Self = serde_json::from_slice(&bytes)
            .map_err(|e| Error::index(&path, format!("{e}; is it the file of an index?")))?;
        if manifest.format != FORMAT {
            let message = format!(
                "is of format {}, this program reads {FORMAT}; make the index again",
                manifest.format
            );
            return Err(Error::index(&path, message));
        }
        manifest.settings.check().map_err(|e| Error::index(&path, e.to_string()))?;
        Ok(manifest)
    }

    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(MANIFEST);
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::file(&path, e))?;
        let partial = dir.join("index.json.partial");
        let write = || -> std::io::Result<()> {
            std::fs::write(&partial, text)?;
            std::fs::File::open(&partial)?.sync_all()?;
            std::fs::rename(&partial, &path)?;
            sync_folder(dir)
        };
        write().map_err(|e| Error::file(&path, format!("cannot be written: {e}")))
    }
}

/// Makes names of new files survive a loss of power.
pub(super) fn sync_folder(dir: &Path) -> std::io::Result<()> {
    if cfg!(unix) { std::fs::File::open(dir)?.sync_all() } else { Ok(()) }
}

//! Reading TensorFlow's checkpoints of version 2, without TensorFlow: `NAME.index` says what lies
//! where in `NAME.data-00000-of-0000N`.
//!
//! The index is a sorted table (`table`) from names to small messages (`message`). Its blocks and
//! every tensor carry a checksum, and both are checked. Data files are mapped.

mod message;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bert4rs_kernels::mapped_file::MappedFile;

use self::message::{Entry, Header};
use super::checksum::{crc32c, mask};
use super::stored::{ElementType, Stored, bytes_of};
use crate::{DType, Error, Result, Tensor};

/// An open bundle.
pub struct TensorFlowFile {
    path: PathBuf,
    data: Vec<(PathBuf, MappedFile)>,
    tensors: BTreeMap<String, Entry>,
}

impl TensorFlowFile {
    /// Opens the bundle of an index, `bert_model.ckpt.index`, with its data files beside it.
    pub fn open(index: &Path) -> Result<Self> {
        let map =
            MappedFile::open(index).or_else(|e| Error::file(index, format!("cannot be opened: {e}")))?;
        let (header, tensors) = contents(map.bytes()).or_else(|message| Error::file(index, message))?;
        let mut data = Vec::new();
        for shard in 0..header.shards {
            let path = index.with_extension(format!("data-{shard:05}-of-{:05}", header.shards));
            let map = MappedFile::open(&path).or_else(|e| {
                Error::file(&path, format!("cannot be opened: {e}; its index {} needs it", index.display()))
            })?;
            data.push((path, map));
        }
        let file = Self { path: index.to_path_buf(), data, tensors };
        for (name, entry) in &file.tensors {
            file.check(name, entry)?;
        }
        Ok(file)
    }

    fn check(&self, name: &str, entry: &Entry) -> Result<()> {
        let Some((path, map)) = self.data.get(entry.shard) else {
            return Error::file(
                &self.path,
                format!("puts {name} into data file {}, of {}", entry.shard, self.data.len()),
            );
        };
        if entry.offset.checked_add(entry.length).is_none_or(|end| end > map.bytes().len()) {
            let (start, length, there) = (entry.offset, entry.length, map.bytes().len());
            return Error::file(
                path,
                format!(
                    "has {there} bytes where {name} takes {length} from {start}; copy or download it again"
                ),
            );
        }
        Ok(())
    }

    /// The index.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its variables, sorted; texts and parts of variables among them.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// The shape of a variable, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The number type of a variable, if there is one of that name and it holds numbers.
    pub fn kind(&self, name: &str) -> Option<ElementType> {
        self.tensors.get(name).and_then(|entry| message::kind(entry.dtype))
    }

    /// A variable in the wanted type, converted from the type in the file.
    pub fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor> {
        self.stored(name)?.to_tensor(dtype)
    }

    /// A variable as it lies in the file, its checksum checked.
    pub fn stored(&self, name: &str) -> Result<Stored<'_>> {
        let Some(entry) = self.tensors.get(name) else {
            return Error::file(&self.path, format!("has no variable called {name}"));
        };
        if entry.sliced {
            let message = format!("{name} is cut into parts; write the checkpoint without a partitioner");
            return Error::file(&self.path, message);
        }
        let Some(kind) = message::kind(entry.dtype) else {
            let message =
                format!("{name} has TensorFlow's type {}, which holds no plain numbers", entry.dtype);
            return Error::file(&self.path, message);
        };
        let (path, map) = &self.data[entry.shard]; // checked when the bundle was opened
        let bytes = &map.bytes()[entry.offset..entry.offset + entry.length];
        if bytes_of(kind, &entry.shape) != Some(bytes.len()) {
            let message = format!("{name} has {} bytes for {kind:?} {:?}", bytes.len(), entry.shape);
            return Error::file(&self.path, message);
        }
        if mask(crc32c(&[bytes])) != entry.checksum {
            let message = format!("{name} is damaged (its checksum differs); copy or download it again");
            return Error::file(path, message);
        }
        Stored::new(kind, entry.shape.clone(), bytes)
    }
}

type Contents = (Header, BTreeMap<String, Entry>);

fn contents(bytes: &[u8]) -> std::result::Result<Contents, String> {
    let mut header = None;
    let mut tensors = BTreeMap::new();
    for (key, value) in table::entries(bytes)? {
        let broken = |name: &str| format!("its entry {name:?} is no message of a checkpoint of version 2");
        if key.is_empty() {
            header = Some(Header::read(&value).ok_or_else(|| broken(""))?);
            continue;
        }
        let name = String::from_utf8(key).map_err(|_| "has a variable whose name is no UTF-8")?;
        let entry = Entry::read(&value).ok_or_else(|| broken(&name))?;
        tensors.insert(name, entry);
    }
    let header = header.ok_or(
        "has no header; a checkpoint of version 1 is rewritten by tf.compat.v1.train.Saver(write_version=2)",
    )?;
    if header.big_endian {
        return Err("was written on a machine of the other byte order; write it again on this one".into());
    }
    Ok((header, tensors))
}

#[cfg(test)]
#[path = "tf_checkpoint/tests.rs"]
mod tests;

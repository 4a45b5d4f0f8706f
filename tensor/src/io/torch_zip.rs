//! Reading PyTorch's checkpoints (`pytorch_model.bin`): a zip archive of storages, and a pickle that
//! says which tensor lies where.
//!
//! Nothing of the pickle is executed: a few opcodes and globals are understood (`pickle`), any
//! other is an error that names it. The file is mapped; a tensor whose numbers lie in one piece is
//! borrowed from it. torch does not check the archive's checksums (it may write none), nor do we.

mod archive;
mod machine;
mod pickle;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use bert4rs_kernels::mapped_file::MappedFile;

use self::archive::{Archive, Entry};
use self::pickle::View;
use super::stored::{ElementType, Stored, bytes_of};
use crate::{DType, Error, Result, Tensor};

/// How every file begins that torch wrote before version 1.6: a pickled number.
const OLD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// How the file begins that stands for one which was not downloaded.
const POINTER: &[u8] = b"version https://git-lfs";

/// An open file of `torch.save(model.state_dict(), path)`.
pub struct TorchFile {
    path: PathBuf,
    map: MappedFile,
    tensors: BTreeMap<String, View>,
    storages: BTreeMap<String, Entry>,
}

impl TorchFile {
    /// Opens and reads what is where; a file that is no such archive is an error.
    pub fn open(path: &Path) -> Result<Self> {
        let map = MappedFile::open(path).or_else(|e| Error::file(path, format!("cannot be opened: {e}")))?;
        let (tensors, storages) = contents(map.bytes()).or_else(|message| Error::file(path, message))?;
        Ok(Self { path: path.to_path_buf(), map, tensors, storages })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|view| view.shape.as_slice())
    }

    /// The number type of a tensor, if there is one of that name.
    pub fn kind(&self, name: &str) -> Option<ElementType> {
        self.tensors.get(name).map(|view| view.kind)
    }

    /// A tensor in the wanted type, converted from the type in the file.
    pub fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor> {
        self.stored(name)?.to_tensor(dtype)
    }

    /// A tensor as it lies in the file, or a copy with its rows one after another.
    pub fn stored(&self, name: &str) -> Result<Stored<'_>> {
        let Some(view) = self.tensors.get(name) else {
            return Error::file(&self.path, format!("has no tensor called {name}"));
        };
        let entry = self.storages[&view.storage]; // checked when the file was opened
        let storage = &self.map.bytes()[entry.start..entry.start + entry.length];
        let size = view.kind.size();
        let start = view.offset * size;
        if view.in_one_piece() {
            let length = view.elements() * size;
            return Stored::new(view.kind, view.shape.clone(), &storage[start..start + length]);
        }
        let mut bytes = Vec::with_capacity(view.elements() * size);
        let mut index = vec![0; view.shape.len()];
        for _ in 0..view.elements() {
            let at: usize = index.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum();
            bytes.extend_from_slice(&storage[start + at * size..start + (at + 1) * size]);
            for (i, n) in index.iter_mut().zip(&view.shape).rev() {
                *i += 1;
                if *i < *n {
                    break;
                }
                *i = 0;
            }
        }
        Stored::new(view.kind, view.shape.clone(), bytes)
    }
}

type Contents = (BTreeMap<String, View>, BTreeMap<String, Entry>);

fn contents(bytes: &[u8]) -> std::result::Result<Contents, String> {
    if bytes.starts_with(OLD) {
        return Err("is in the format of torch before 1.6; load it there and save it again: \
                    torch.save(torch.load(path), path)"
            .into());
    }
    if bytes.starts_with(POINTER) {
        return Err("is a pointer of Git LFS, not the file itself; download it with git lfs pull".into());
    }
    let archive = Archive::read(bytes)?;
    let Some(root) = archive.names().find_map(|name| name.strip_suffix("data.pkl")) else {
        return Err("is a zip archive without data.pkl, so not one of torch.save".into());
    };
    if archive.bytes(&format!("{root}byteorder"))?.is_some_and(|order| order != b"little") {
        return Err(
            "was written on a machine of the other byte order; save it again as safetensors there".into()
        );
    }
    let pickle = archive.bytes(&format!("{root}data.pkl"))?.unwrap_or_default();
    let mut tensors = BTreeMap::new();
    let mut storages = BTreeMap::new();
    let mut seen = HashSet::new();
    for (name, view) in pickle::tensors(pickle)? {
        if !seen.insert(name.clone()) {
            return Err(format!("has two tensors called {name}"));
        }
        let entry = archive.entry(&format!("{root}data/{}", view.storage))?;
        let entry = entry.ok_or_else(|| format!("lacks the numbers of {name} (data/{})", view.storage))?;
        check(&view, entry.length).map_err(|e| format!("tensor {name} {e}"))?;
        storages.insert(view.storage.clone(), entry);
        tensors.insert(name, view);
    }
    Ok((tensors, storages))
}

/// The view lies inside its storage, and is no larger.
fn check(view: &View, length: usize) -> std::result::Result<(), String> {
    let outside = || {
        let (shape, strides, offset) = (&view.shape, &view.strides, view.offset);
        format!(
            "(shape {shape:?}, strides {strides:?}, offset {offset}) exceeds its {length} bytes; \
                 copy or download the file again"
        )
    };
    let size = view.kind.size();
    let bytes = bytes_of(view.kind, &view.shape);
    if view.shape.contains(&0) {
        let start = view.offset.checked_mul(size);
        return if bytes.is_none() || start.is_none_or(|start| start > length) {
            Err(outside())
        } else {
            Ok(())
        };
    }
    if bytes.is_none_or(|bytes| bytes > length) {
        let hint = "repeats its numbers; call .contiguous() before torch.save";
        return Err(if view.strides.contains(&0) { hint.into() } else { outside() });
    }
    let mut last = Some(view.offset);
    for (n, stride) in view.shape.iter().zip(&view.strides) {
        let reach = (n - 1).checked_mul(*stride);
        last = last.zip(reach).and_then(|(last, reach)| last.checked_add(reach));
    }
    let end = last.and_then(|last| last.checked_add(1)).and_then(|end| end.checked_mul(size));
    if end.is_none_or(|end| end > length) { Err(outside()) } else { Ok(()) }
}

#[cfg(test)]
#[path = "torch_zip/tests.rs"]
mod tests;

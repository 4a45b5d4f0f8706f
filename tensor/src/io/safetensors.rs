//! Reading and writing `.safetensors`: 8-byte header length, JSON header, raw little-endian data.
//!
//! Reading maps the file and converts a tensor when it is asked for; writing goes to a temporary
//! file that replaces the old one only when it is complete.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bert4rs_kernels::mapped_file::MappedFile;
use half::{bf16, f16};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors, View};

use crate::storage::Storage;
use crate::{DType, Error, Result, Tensor};

/// An open weight file.
pub struct WeightFile {
    path: PathBuf,
    map: MappedFile,
    start: usize,
    header: Metadata,
}

impl WeightFile {
    /// Opens and checks the header; a truncated or foreign file is an error.
    pub fn open(path: &Path) -> Result<Self> {
        let map = MappedFile::open(path).or_else(|e| Error::file(path, format!("cannot be opened: {e}")))?;
        let (length, header) = SafeTensors::read_metadata(map.bytes()).or_else(|e| {
            Error::file(path, format!("is not a complete safetensors file ({e}); copy or download it again"))
        })?;
        let start = length + 8;
        let end = start + header.data_len();
        if map.bytes().len() != end {
            return Error::file(
                path,
                format!(
                    "has {} bytes where its header promises {end}; copy or download it again",
                    map.bytes().len()
                ),
            );
        }
        Ok(Self { path: path.to_path_buf(), map, start, header })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.header.tensors().into_keys().collect();
        names.sort_unstable();
        names
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| info.shape.as_slice())
    }

    /// A tensor in the wanted type, converted from the type in the file.
    pub fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let Some(info) = self.header.info(name) else {
            return Error::file(&self.path, format!("has no tensor called {name}"));
        };
        let (from, to) = info.data_offsets;
        let bytes = &self.map.bytes()[self.start + from..self.start + to];
        let storage = match (info.dtype, dtype) {
            (Dtype::F32, DType::F32) => Storage::from(read(bytes, f32::from_le_bytes)),
            (Dtype::F32, _) => Storage::from(read(bytes, |b| f64::from(f32::from_le_bytes(b)))),
            (Dtype::F16, DType::F32) => Storage::from(read(bytes, |b| f16::from_le_bytes(b).to_f32())),
            (Dtype::F16, _) => Storage::from(read(bytes, |b| f16::from_le_bytes(b).to_f64())),
            (Dtype::BF16, DType::F32) => Storage::from(read(bytes, |b| bf16::from_le_bytes(b).to_f32())),
            (Dtype::BF16, _) => Storage::from(read(bytes, |b| bf16::from_le_bytes(b).to_f64())),
            (Dtype::F64, _) => Storage::from(read(bytes, f64::from_le_bytes)),
            (Dtype::I64, _) => Storage::from(read(bytes, i64::from_le_bytes)),
            (Dtype::I32, _) => Storage::from(read(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            (other, _) => {
                return Error::file(
                    &self.path,
                    format!("tensor {name} has type {other:?}; F16, BF16, F32, F64, I32 and I64 can be read"),
                );
            }
        };
        Tensor::constant(storage, info.shape.clone()).cast(dtype)
    }
}

fn read<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&b| convert(b)).collect()
}

/// Writes named tensors to `path`; on any error (disk full, say) an older file stays as it was.
///
/// Streams: beside the tensors themselves it takes the memory of one header.
pub fn save(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let metadata = [("format".to_string(), "pt".to_string())].into();
    replace(path, |beside| {
        let views = tensors.iter().map(|(name, tensor)| (name.as_str(), Bytes(tensor)));
        safetensors::serialize_to_file(views, Some(metadata), beside).map_err(io::Error::other)
    })
}

/// Replaces `path` by `data` in one step: written beside it, flushed, then renamed.
pub fn write_atomic(path: &Path, data: &[u8]) -> Result<()> {
    replace(path, |beside| fs::write(beside, data))
}

fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let run = || {
        write(&beside)?;
        File::options().write(true).open(&beside)?.sync_all()?;
        fs::rename(&beside, path)
    };
    run().or_else(|e| {
        let _ = fs::remove_file(&beside); // best effort: the error below is the one that matters
        Error::file(path, format!("cannot be written: {e}; an older version of it is untouched"))
    })
}

/// A tensor as the little-endian bytes of a file.
struct Bytes<'a>(&'a Tensor);

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.dtype() {
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            DType::I64 => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.0.storage() {
            Storage::F32(x) => little_endian(x, |v| v.to_le_bytes()),
            Storage::F64(x) => little_endian(x, |v| v.to_le_bytes()),
            Storage::I64(x) => little_endian(x, |v| v.to_le_bytes()),
        }
    }

    fn data_len(&self) -> usize {
        let size = if self.0.dtype() == DType::F32 { 4 } else { 8 };
        size * self.0.elements()
    }
}

/// The bytes as they lie in memory, where that is their order in the file.
fn little_endian<T: bytemuck::NoUninit, const N: usize>(
    x: &[T],
    bytes: impl Fn(&T) -> [u8; N],
) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(x))
    } else {
        Cow::Owned(x.iter().flat_map(bytes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<(String, Tensor)> {
        vec![
            ("b".into(), Tensor::new(vec![1.5f32, -2.0], &[2]).unwrap()),
            ("a".into(), Tensor::new(vec![1i64, 2, 3, 4], &[2, 2]).unwrap()),
            ("empty".into(), Tensor::zeros(&[0, 3], DType::F64)),
        ]
    }

    #[test]
    fn tensors_survive_a_round_trip_and_bytes_are_stable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        save(&path, &some()).unwrap();
        let first = fs::read(&path).unwrap();
        save(&path, &some()).unwrap();
        assert_eq!(first, fs::read(&path).unwrap());
        let file = WeightFile::open(&path).unwrap();
        assert_eq!(file.names(), ["a", "b", "empty"]);
        assert_eq!(file.tensor("b", DType::F64).unwrap().to_f64_vec(), [1.5, -2.0]);
        assert_eq!(file.tensor("a", DType::I64).unwrap().shape(), [2, 2]);
        assert_eq!(file.tensor("empty", DType::F32).unwrap().shape(), [0, 3]);
        assert!(file.tensor("c", DType::F32).unwrap_err().to_string().contains("no tensor called c"));
    }

    #[test]
    fn truncated_and_foreign_files_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        save(&path, &some()).unwrap();
        let data = fs::read(&path).unwrap();
        for cut in [0, 5, 20, data.len() - 1] {
            fs::write(&path, &data[..cut]).unwrap();
            let error = WeightFile::open(&path).err().unwrap().to_string();
            assert!(error.contains("model.safetensors") && error.contains("again"), "{error}");
        }
        fs::write(&path, b"this is not a weight file at all").unwrap();
        assert!(WeightFile::open(&path).is_err());
        assert!(
            WeightFile::open(&dir.path().join("none"))
                .err()
                .unwrap()
                .to_string()
                .contains("cannot be opened")
        );
    }

    #[test]
    fn a_failed_save_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        save(&path, &some()).unwrap();
        let before = fs::read(&path).unwrap();
        fs::create_dir(dir.path().join("model.safetensors.partial")).unwrap(); // the write must fail
        let error = save(&path, &some()).unwrap_err().to_string();
        assert!(error.contains("untouched"), "{error}");
        assert_eq!(before, fs::read(&path).unwrap());
    }
}

//! Reading and writing `.safetensors`: 8-byte header length, JSON header, raw little-endian data.
//!
//! Reading maps the file and converts a tensor when it is asked for; writing goes to a temporary
//! file that replaces the old one only when it is complete.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bert4rs_kernels::mapped_file::MappedFile;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors, View};

use super::stored::{ElementType, Stored, bytes_of};
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

    /// The number type of a tensor; none where there is no such tensor, or of a type not read here.
    pub fn kind(&self, name: &str) -> Option<ElementType> {
        self.header.info(name).and_then(|info| kind(info.dtype))
    }

    /// A tensor in the wanted type, converted from the type in the file.
    pub fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor> {
        self.stored(name)?.to_tensor(dtype)
    }

    /// A tensor as it lies in the file.
    pub fn stored(&self, name: &str) -> Result<Stored<'_>> {
        let Some(info) = self.header.info(name) else {
            return Error::file(&self.path, format!("has no tensor called {name}"));
        };
        let Some(kind) = kind(info.dtype) else {
            return Error::file(
                &self.path,
                format!(
                    "tensor {name} has type {:?}; F16, BF16, F32, F64, I8, I16, I32, I64, U8 and BOOL \
                     can be read",
                    info.dtype
                ),
            );
        };
        let (from, to) = info.data_offsets;
        Stored::new(kind, info.shape.clone(), &self.map.bytes()[self.start + from..self.start + to])
    }
}

fn kind(dtype: Dtype) -> Option<ElementType> {
    ALL.iter().find(|(_, known)| *known == dtype).map(|(kind, _)| *kind)
}

const ALL: [(ElementType, Dtype); 10] = [
    (ElementType::F16, Dtype::F16),
    (ElementType::BF16, Dtype::BF16),
    (ElementType::F32, Dtype::F32),
    (ElementType::F64, Dtype::F64),
    (ElementType::I8, Dtype::I8),
    (ElementType::I16, Dtype::I16),
    (ElementType::I32, Dtype::I32),
    (ElementType::I64, Dtype::I64),
    (ElementType::U8, Dtype::U8),
    (ElementType::Bool, Dtype::BOOL),
];

/// Writes named tensors to `path`; on any error (disk full, say) an older file stays as it was.
///
/// Streams: beside the tensors themselves it takes the memory of one header.
pub fn save(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    save_each(
        path,
        tensors.iter().map(|(name, tensor)| {
            let stored = Stored::of(tensor);
            let (kind, shape) = (stored.kind(), stored.shape().to_vec());
            let read = Box::new(move || Ok(stored.clone()));
            ToSave { name: name.clone(), kind, shape, read }
        }),
    )
}

/// A tensor that is fetched when its turn comes to be written.
pub struct ToSave<'a> {
    /// Its name.
    pub name: String,
    /// Its number type.
    pub kind: ElementType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Fetches it, in this type and shape.
    pub read: Box<dyn Fn() -> Result<Stored<'a>> + 'a>,
}

/// As [`save`], for tensors that would not all fit into memory: one at a time is fetched, and an
/// error of fetching is one of saving.
pub fn save_each<'a>(path: &Path, tensors: impl Iterator<Item = ToSave<'a>>) -> Result<()> {
    let metadata = [("format".to_string(), "pt".to_string())].into();
    let failed = RefCell::new(None);
    let views = tensors.map(|tensor| (tensor.name.clone(), Lazy { tensor, failed: &failed }));
    let written = replace(path, |beside| {
        safetensors::serialize_to_file(views, Some(metadata), beside).map_err(io::Error::other)?;
        match failed.borrow().is_some() {
            true => Err(io::Error::other("a tensor could not be fetched")),
            false => Ok(()),
        }
    });
    failed.into_inner().map_or(written, Err)
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

/// The writer takes no errors from a tensor: the first is kept beside, and zeros stand in until then.
struct Lazy<'a, 'b> {
    tensor: ToSave<'a>,
    failed: &'b RefCell<Option<Error>>,
}

impl View for Lazy<'_, '_> {
    fn dtype(&self) -> Dtype {
        ALL.iter().find(|(kind, _)| *kind == self.tensor.kind).map_or(Dtype::U8, |(_, dtype)| *dtype)
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut failed = self.failed.borrow_mut();
        if failed.is_some() {
            return Cow::Owned(vec![0; self.data_len()]);
        }
        match (self.tensor.read)() {
            Ok(stored) if (stored.kind(), stored.shape()) == (self.tensor.kind, &self.tensor.shape) => {
                stored.into_bytes()
            }
            Ok(stored) => {
                let (kind, shape) = (stored.kind(), stored.shape());
                let message = format!("{}: became {kind:?} {shape:?} while it was saved", self.tensor.name);
                *failed = Some(Error::Value { op: "save", message });
                Cow::Owned(vec![0; self.data_len()])
            }
            Err(error) => {
                *failed = Some(error);
                Cow::Owned(vec![0; self.data_len()])
            }
        }
    }

    fn data_len(&self) -> usize {
        bytes_of(self.tensor.kind, &self.tensor.shape).unwrap_or(usize::MAX)
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
    fn a_tensor_that_cannot_be_fetched_fails_the_save() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        save(&path, &some()).unwrap();
        let before = fs::read(&path).unwrap();
        let (kind, shape) = (ElementType::F16, vec![1]);
        let read = || Error::value("reading", "its checksum is wrong");
        let one = ToSave { name: "a".into(), kind, shape, read: Box::new(read) };
        let error = save_each(&path, [one].into_iter()).unwrap_err().to_string();
        assert!(error.contains("its checksum is wrong"), "{error}");
        assert_eq!(before, fs::read(&path).unwrap());
        assert!(!dir.path().join("model.safetensors.partial").exists());
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

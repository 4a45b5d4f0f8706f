//! Vectors as a NumPy array `[N, D]`, with the number of rows written last.
//!
//! The array grows in a file beside its place and takes it when it is whole: a kill leaves no half array.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::f16;

use super::{Number, Row, VectorWriter};
use crate::{Error, Result};

/// Bytes before the numbers: room for any shape, and a multiple of 64 as the format asks.
const HEADER: usize = 128;

/// Writes an array.
pub struct Npy {
    path: PathBuf,
    partial: PathBuf,
    out: BufWriter<File>,
    number: Number,
    width: Option<usize>,
    rows: usize,
}

impl Npy {
    /// Of numbers of a type, into a file that is replaced when it exists.
    pub fn create(path: &Path, number: Number) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let partial = path.with_file_name(format!(".{name}.partial"));
        let file = File::create(&partial).map_err(|e| Error::file(path, e))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&[0; HEADER]).map_err(|e| Error::file(path, e))?;
        Ok(Self { path: path.to_path_buf(), partial, out, number, width: None, rows: 0 })
    }

    fn header(&self) -> Vec<u8> {
        let kind = match self.number {
            Number::F32 => "<f4",
            Number::F16 => "<f2",
        };
        let (rows, width) = (self.rows, self.width.unwrap_or_default());
        let shape = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend(((HEADER - 10) as u16).to_le_bytes());
        header.extend(shape.as_bytes());
        header.resize(HEADER - 1, b' ');
        header.push(b'\n');
        header
    }
}

impl VectorWriter for Npy {
    fn write(&mut self, row: &Row) -> Result<()> {
        let width = *self.width.get_or_insert(row.vector.len());
        if row.vector.len() != width {
            let message =
                format!("row {} has {} numbers, those before {width}", self.rows + 1, row.vector.len());
            return Err(Error::file(&self.path, message));
        }
        let write = |bytes: Vec<u8>, out: &mut BufWriter<File>| out.write_all(&bytes);
        let bytes: Vec<u8> = match self.number {
            Number::F32 => row.vector.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Number::F16 => {
                if let Some(x) = row.vector.iter().find(|x| x.abs() > f32::from(f16::MAX)) {
                    let message = format!("row {} has {x}, more than 16 bits hold; write f32", self.rows + 1);
                    return Err(Error::file(&self.path, message));
                }
                row.vector.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect()
            }
        };
        self.rows += 1;
        write(bytes, &mut self.out).map_err(|e| Error::file(&self.path, e))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(()) // nobody can follow an array whose shape is not known yet
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let header = self.header();
        let end = |out: &mut BufWriter<File>| -> std::io::Result<()> {
            out.seek(SeekFrom::Start(0))?;
            out.write_all(&header)?;
            out.flush()?;
            out.get_ref().sync_all()
        };
        end(&mut self.out)
            .and_then(|()| fs::rename(&self.partial, &self.path))
            .map_err(|e| Error::file(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(vector: &[f32]) -> Row<'_> {
        Row { id: None, text: "", vector, truncated: false }
    }

    #[test]
    fn the_bytes_are_numpys() {
        let dir = tempfile::tempdir().unwrap();
        for (number, width) in [(Number::F32, 4), (Number::F16, 2)] {
            let path = dir.path().join("a.npy");
            let mut npy = Box::new(Npy::create(&path, number).unwrap());
            for vector in [[1.0, -2.5], [0.0, 3.0]] {
                npy.write(&row(&vector)).unwrap();
            }
            assert!(npy.write(&row(&[1.0])).unwrap_err().to_string().contains("row 3 has 1 numbers"));
            npy.finish().unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len(), HEADER + 4 * width);
            let header = String::from_utf8_lossy(&bytes[10..HEADER]).into_owned();
            assert!(header.contains("'shape': (2, 2)") && header.ends_with('\n'), "{header}");
            assert_eq!(u16::from_le_bytes([bytes[8], bytes[9]]) as usize + 10, HEADER);
            let second = &bytes[HEADER + width..HEADER + 2 * width];
            match number {
                Number::F32 => assert_eq!(second, (-2.5f32).to_le_bytes()),
                Number::F16 => assert_eq!(second, f16::from_f32(-2.5).to_le_bytes()),
            }
        }
    }

    #[test]
    fn what_is_not_finished_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let mut npy = Npy::create(&path, Number::F16).unwrap();
        assert!(npy.write(&row(&[1e6])).unwrap_err().to_string().contains("write f32"));
        drop(npy);
        assert!(!path.exists());
    }
}

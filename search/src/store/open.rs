//! Opening: walking the frames of the file, and telling half a write from damage.

use std::path::Path;
use std::sync::OnceLock;

use bert4rs_kernels::mapped_file::MappedFile;

use super::frame::{ALIGN, Header};
use super::settings::Manifest;
use super::{Frame, Index};
use crate::bits::Bits;
use crate::{Error, Result};

/// What is said where bytes are not those that were written.
pub(super) fn damaged(path: &Path, at: usize) -> Error {
    Error::index(
        path,
        format!(
            "byte {at} and what follows is not what was written: the file is damaged; restore it from a copy, or \
             make the index again"
        ),
    )
}

impl Index {
    /// Opens an index. Nothing is changed.
    pub fn open(dir: &Path) -> Result<Self> {
        let manifest = Manifest::read(dir)?;
        let path = dir.join(&manifest.rows);
        let map = MappedFile::open(&path).map_err(|e| Error::file(&path, e))?;
        if (map.bytes().len() as u64) < manifest.sealed {
            let message = format!(
                "has {} bytes, {} were written: the file is cut off; restore it from a copy, or make the index again",
                map.bytes().len(),
                manifest.sealed
            );
            return Err(Error::index(&path, message));
        }
        let mut index = Self {
            dir: dir.to_path_buf(),
            manifest,
            map,
            frames: Vec::new(),
            rows: 0,
            deleted: Bits::default(),
            end: 0,
            notes: Vec::new(),
            checked: OnceLock::new(),
        };
        index.walk(&path)?;
        Ok(index)
    }

    /// Maps the file anew and reads the frames after the last one that is known.
    pub(super) fn walk(&mut self, path: &Path) -> Result<()> {
        self.map = MappedFile::open(path).map_err(|e| Error::file(path, e))?;
        let length = self.map.bytes().len();
        while self.end < length {
            let at = self.end;
            match self.frame_at(at, path)? {
                Some(frame) => self.take(frame, path)?,
                None if (at as u64) < self.manifest.sealed || self.header_after(at) => {
                    return Err(damaged(path, at));
                }
                None => {
                    self.notes.push(format!(
                        "{}: {} bytes after byte {at} are half a write, as a kill leaves it; they are left out (no \
                         vector that was acknowledged is among them)",
                        path.display(),
                        length - at
                    ));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The frame that begins there; none when it is not whole.
    fn frame_at(&self, at: usize, path: &Path) -> Result<Option<Frame>> {
        let bytes = &self.map.bytes()[at..];
        let Some(header) = Header::from_bytes(bytes) else { return Ok(None) };
        let Some(layout) = header.layout().filter(|layout| layout.total <= bytes.len()) else {
            return Ok(None);
        };
        let sealed = (at + layout.total) as u64 <= self.manifest.sealed;
        if !sealed && !header.is_whole(&bytes[..layout.total], &layout, true) {
            return Ok(None);
        }
        let settings = self.settings();
        if (header.width as usize, header.kinds, header.first)
            != (settings.width, settings.kinds(), self.rows)
        {
            let message = format!(
                "the rows at byte {at} are of another index (width {}, first row {}); expected width {} and row {}",
                header.width, header.first, settings.width, self.rows
            );
            return Err(Error::index(path, message));
        }
        Ok(Some(Frame { start: at, header, layout }))
    }

    fn take(&mut self, frame: Frame, path: &Path) -> Result<()> {
        let rows = self.rows.checked_add(frame.header.rows).ok_or_else(|| damaged(path, frame.start))?;
        let gone: Vec<u32> = self.numbers(&frame, &frame.layout.deleted)?.to_vec();
        if gone.iter().any(|&row| row >= rows) {
            return Err(damaged(path, frame.start));
        }
        gone.into_iter().for_each(|row| {
            self.deleted.insert(row);
        });
        self.rows = rows;
        self.end = frame.start + frame.layout.total;
        self.frames.push(frame);
        Ok(())
    }

    /// Whether a whole header stands somewhere after `at`: then what is before it was once complete, since
    /// nothing is written before the last frame is on disk.
    fn header_after(&self, at: usize) -> bool {
        let bytes = self.map.bytes();
        (at + ALIGN..bytes.len()).step_by(ALIGN).any(|next| Header::from_bytes(&bytes[next..]).is_some())
    }
}

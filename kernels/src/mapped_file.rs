//! The bytes of a file as one slice, loaded by the operating system when touched.

use std::fs::File;
use std::io;
use std::path::Path;

/// A read-only memory map; an empty file gives an empty slice.
pub struct MappedFile(Option<memmap2::Mmap>);

impl MappedFile {
    /// Maps a file. It must not be changed in place while it is open (replacing it by renaming
    /// another over it, as our writers do, is fine).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the map is read-only and private to this value; the documented contract above
        // keeps other processes from changing the bytes under it.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self(Some(map)))
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

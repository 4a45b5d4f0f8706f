//! A number that tells weights apart. It guards against mistakes, not against malice, and is fast enough to
//! be looked up at every start: 8 bytes a multiplication, four sums side by side.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Of all weight files of a folder and of the folders of its modules.
pub(super) fn of(dir: &Path) -> Result<String> {
    let mut files = weight_files(dir)?;
    for entry in fs::read_dir(dir).map_err(|e| Error::file(dir, e))? {
        let path = entry.map_err(|e| Error::file(dir, e))?.path();
        if path.is_dir() && path.join("config.json").is_file() {
            files.extend(weight_files(&path)?);
        }
    }
    files.sort();
    if files.is_empty() {
        let message = "has no weights to calibrate; expected model.safetensors, or first `bert4rs convert`";
        return Err(Error::model(dir, message));
    }
    let mut hash = Hash::default();
    for file in files {
        hash.file(&file).map_err(|e| Error::file(&file, e))?;
    }
    Ok(hash.finish())
}

/// In the order in which a folder's weights are looked for.
const KINDS: [&str; 4] = [".safetensors", "pytorch_model", ".pt", ".ckpt"];

/// Those of the kind that is opened.
fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::file(dir, e))? {
        let path = entry.map_err(|e| Error::file(dir, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(kind) = KINDS.iter().position(|kind| name.contains(kind)) {
            found.push((kind, path));
        }
    }
    let first = found.iter().map(|(kind, _)| *kind).min();
    Ok(found.into_iter().filter(|(kind, _)| Some(*kind) == first).map(|(_, path)| path).collect())
}

/// Odd numbers with bits everywhere (the fractions of the golden ratio and of roots).
const FACTORS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

/// Read at once; a multiple of 32 that stays in cache.
const BLOCK: usize = 1 << 18;

#[derive(Default)]
struct Hash {
    lanes: [u64; 4],
    bytes: u64,
}

impl Hash {
    fn file(&mut self, path: &Path) -> std::io::Result<()> {
        let (mut file, mut block) = (File::open(path)?, vec![0; BLOCK]);
        loop {
            let mut filled = 0;
            while filled < BLOCK {
                match file.read(&mut block[filled..])? {
                    0 => break,
                    n => filled += n,
                }
            }
            if filled == 0 {
                return Ok(());
            }
            block[filled..filled.next_multiple_of(32)].fill(0);
            self.add(&block[..filled.next_multiple_of(32)], filled);
        }
    }

    /// Blocks of 32 bytes, of which so many are content.
    fn add(&mut self, bytes: &[u8], content: usize) {
        for group in bytes.chunks_exact(32) {
            for ((lane, factor), word) in self.lanes.iter_mut().zip(FACTORS).zip(group.chunks_exact(8)) {
                let word = word.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
                *lane = (*lane ^ word).wrapping_mul(factor).rotate_left(29);
            }
        }
        self.bytes += content as u64;
    }

    fn finish(&self) -> String {
        let hash = self.lanes.iter().zip(FACTORS).fold(self.bytes, |hash, (lane, factor)| {
            let mixed = (hash ^ lane).wrapping_mul(factor);
            mixed ^ (mixed >> 31)
        });
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_its_place_and_the_length_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        assert!(of(dir.path()).unwrap_err().to_string().contains("has no weights"));
        let hash = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            of(dir.path()).unwrap()
        };
        let mut bytes: Vec<u8> = (0..BLOCK + 70).map(|i| (i % 251) as u8).collect();
        let first = hash(&bytes);
        assert_eq!(hash(&bytes), first);
        for at in [0, 9, 31, 4000, BLOCK, BLOCK + 69] {
            bytes[at] ^= 1;
            assert_ne!(hash(&bytes), first, "byte {at}");
            bytes[at] ^= 1;
        }
        bytes.swap(64, 72);
        assert_ne!(hash(&bytes), first);
        bytes.swap(64, 72);
        bytes.push(0);
        assert_ne!(hash(&bytes), first);
    }

    #[test]
    fn weights_of_modules_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("model.safetensors"), "a").unwrap();
        let alone = of(dir.path()).unwrap();
        fs::create_dir(dir.path().join("2_Dense")).unwrap();
        fs::write(dir.path().join("2_Dense/config.json"), "{}").unwrap();
        fs::write(dir.path().join("2_Dense/model.safetensors"), "b").unwrap();
        assert_ne!(of(dir.path()).unwrap(), alone);
    }
}

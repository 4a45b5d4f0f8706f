//! A number that tells weights apart, cheap enough to be looked up at every start: of large files it reads
//! the length, the beginning (where formats keep names and shapes) and one page of every 8.
//!
//! It guards against mistakes: another checkpoint, one trained further, converted or cut off. A change
//! that touches less than `PERIOD` bytes in one place, as by hand, can stay unseen.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Of all weight files of a folder and of the folders of its modules.
pub(super) fn of(dir: &Path) -> Result<String> {
    hash(dir, &[])
}

/// As [`of`], and of the files that decide how a text becomes a vector.
pub(crate) fn of_vectors(dir: &Path) -> Result<String> {
    const DECIDE: [&str; 7] = [
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "vocab.txt",
        "spiece.model",
        "1_Pooling/config.json",
    ];
    hash(dir, &DECIDE)
}

fn hash(dir: &Path, beside: &[&str]) -> Result<String> {
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
    files.extend(beside.iter().map(|name| dir.join(name)).filter(|path| path.is_file()));
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

/// What is read of a file in full: all of a small one, the beginning of a large one.
const WHOLE: u64 = 1 << 18;
/// Beyond it, this many bytes are read ..
const SAMPLE: u64 = 1 << 12;
/// .. of every so many, wherever a tensor of this size lies.
const PERIOD: u64 = 1 << 15;

#[derive(Default)]
struct Hash {
    lanes: [u64; 4],
    bytes: u64,
}

impl Hash {
    fn file(&mut self, path: &Path) -> std::io::Result<()> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        self.bytes += length;
        let mut block = Vec::new();
        self.part(&mut file, WHOLE, &mut block)?;
        for start in (WHOLE..length).step_by(PERIOD as usize) {
            file.seek(SeekFrom::Start(start))?;
            self.part(&mut file, SAMPLE, &mut block)?;
        }
        Ok(())
    }

    /// The next bytes of a file, at most so many.
    fn part(&mut self, file: &mut File, most: u64, block: &mut Vec<u8>) -> std::io::Result<()> {
        block.clear();
        file.take(most).read_to_end(block)?;
        block.resize(block.len().next_multiple_of(32), 0);
        self.add(block);
        Ok(())
    }

    /// Groups of 32 bytes: 8 bytes a multiplication, four sums side by side.
    fn add(&mut self, bytes: &[u8]) {
        for group in bytes.chunks_exact(32) {
            for ((lane, factor), word) in self.lanes.iter_mut().zip(FACTORS).zip(group.chunks_exact(8)) {
                let word = word.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
                *lane = (*lane ^ word).wrapping_mul(factor).rotate_left(29);
            }
        }
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
        let mut bytes: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        let first = hash(&bytes);
        assert_eq!(hash(&bytes), first);
        for at in [0, 9, 31, 4000, 4999] {
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
    fn of_a_large_file_a_changed_tensor_and_the_length_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let hash = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            of(dir.path()).unwrap()
        };
        let (whole, period) = (WHOLE as usize, PERIOD as usize);
        let mut bytes: Vec<u8> = (0..whole + 5 * period + 70).map(|i| (i % 251) as u8).collect();
        let first = hash(&bytes);
        for start in [0, whole - 1, whole - 1 + period / 2, whole + 2 * period + 5, whole + 4 * period + 70] {
            let tensor = start..start + period;
            bytes[tensor.clone()].iter_mut().for_each(|byte| *byte ^= 1);
            assert_ne!(hash(&bytes), first, "a tensor at {start}");
            bytes[tensor].iter_mut().for_each(|byte| *byte ^= 1);
        }
        assert_eq!(hash(&bytes), first);
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

//! The sorted table of an index: LevelDB's format.
//! Definition:  file = blocks, footer; footer = handle of the directory of meta blocks, handle of the
//!              index block, padding, magic (48 bytes). handle = offset, length (varints); a block is
//!              followed by its compression (1 byte) and checksum (4). A block is a list of entries
//!              (shared, added, value length: varints; added key bytes; value), then restart points;
//!              a key is the first `shared` bytes of the key before and the added ones. The values
//!              of the index block are handles of the data blocks
//! Reference:   LevelDB, table_format.md.

use super::super::checksum::{crc32c, mask};

const FOOTER: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;

type Result<T> = std::result::Result<T, String>;
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// All keys with their values, in order.
pub(super) fn entries(file: &[u8]) -> Result<Pairs> {
    let foreign = || "is no index of a TensorFlow checkpoint; copy or download it again".to_string();
    let footer = file.len().checked_sub(FOOTER).and_then(|at| file.get(at..)).ok_or_else(foreign)?;
    if footer[FOOTER - 8..] != MAGIC.to_le_bytes() {
        return Err(foreign());
    }
    let mut at = footer;
    let (_meta, index) = (handle(&mut at), handle(&mut at));
    let mut all = Vec::new();
    for (_, place) in pairs(block(file, index.ok_or_else(damaged)?)?)? {
        all.extend(pairs(block(file, handle(&mut place.as_slice()).ok_or_else(damaged)?)?)?);
    }
    Ok(all)
}

fn damaged() -> String {
    "is damaged; copy or download it again".into()
}

fn handle(bytes: &mut &[u8]) -> Option<(usize, usize)> {
    Some((usize::try_from(varint(bytes)?).ok()?, usize::try_from(varint(bytes)?).ok()?))
}

/// The contents of a block whose checksum holds.
fn block(file: &[u8], (offset, length): (usize, usize)) -> Result<&[u8]> {
    let end = offset.checked_add(length).and_then(|end| end.checked_add(5));
    let block = end.and_then(|end| file.get(offset..end)).ok_or_else(damaged)?;
    let (contents, trailer) = block.split_at(length);
    let checksum = trailer[1..].iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte));
    if mask(crc32c(&[contents, &trailer[..1]])) != checksum {
        return Err(damaged());
    }
    match trailer[0] {
        0 => Ok(contents),
        other => Err(format!(
            "has blocks compressed by method {other}, which TensorFlow does not write for checkpoints of \
             version 2; save it again with TensorFlow"
        )),
    }
}

fn pairs(block: &[u8]) -> Result<Pairs> {
    let read = || {
        let restarts = block.len().checked_sub(4)?;
        let count = u32::from_le_bytes(*block[restarts..].first_chunk()?) as usize;
        let mut rest = &block[..restarts.checked_sub(count.checked_mul(4)?)?];
        let mut all: Pairs = Vec::new();
        while !rest.is_empty() {
            let mut length = || usize::try_from(varint(&mut rest)?).ok();
            let (shared, added, value) = (length()?, length()?, length()?);
            let before = all.last().map_or(&[][..], |(key, _)| key);
            let key = [before.get(..shared)?, rest.get(..added)?].concat();
            rest = &rest[added..];
            all.push((key, rest.get(..value)?.to_vec()));
            rest = &rest[value..];
        }
        Some(all)
    };
    read().ok_or_else(damaged)
}

/// An integer by sevens of bits, the lowest first; a byte of 128 or more says that another follows.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

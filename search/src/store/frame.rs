//! One addition to an index: a header, vectors, deletions, ids and payloads, as bytes of a file.
//!
//! Layout:      64 bytes of header, then sections that begin at multiples of 64: f32 [N, D]; 8-bit blocks;
//!              scales [N]; bits in blocks; deleted rows; ends of texts [2 N]; the texts (id, payload, id, ..).
//!              Numbers are little-endian; so must the machine be, since sections are read where they lie
//! Numerics:    three CRC-32: of the header, of the f32 section, of the others

use std::ops::Range;

use bert4rs_kernels::nearest::{bits, int8};

use super::settings::Kinds;
use crate::codes;

/// Sections begin at multiples of it.
pub const ALIGN: usize = 64;
const MAGIC: [u8; 8] = *b"b4rsrows";

/// What stands at the beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub width: u32,
    pub kinds: Kinds,
    /// The row number of the first vector.
    pub first: u32,
    pub rows: u32,
    /// How many rows are deleted by it.
    pub deleted: u32,
    /// Bytes of ids and payloads.
    pub text: u32,
    pub float_checksum: u32,
    pub rest_checksum: u32,
}

/// Where sections lie, from the beginning of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub float: Range<usize>,
    pub int8: Range<usize>,
    pub scales: Range<usize>,
    pub bits: Range<usize>,
    pub deleted: Range<usize>,
    pub ends: Range<usize>,
    pub text: Range<usize>,
    /// The length of the frame.
    pub total: usize,
}

impl Header {
    pub fn to_bytes(self) -> [u8; ALIGN] {
        let mut out = [0; ALIGN];
        out[..8].copy_from_slice(&MAGIC);
        let numbers = [
            self.width,
            self.kinds.to_number(),
            self.first,
            self.rows,
            self.deleted,
            self.text,
            self.float_checksum,
            self.rest_checksum,
        ];
        for (i, number) in numbers.iter().enumerate() {
            out[8 + 4 * i..][..4].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// `None` when the bytes are no whole header.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ALIGN] = bytes.first_chunk()?;
        let number = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        if bytes[..8] != MAGIC || number(60) != crc32fast::hash(&bytes[..60]) {
            return None;
        }
        Some(Self {
            width: number(8),
            kinds: Kinds::from_number(number(12))?,
            first: number(16),
            rows: number(20),
            deleted: number(24),
            text: number(28),
            float_checksum: number(32),
            rest_checksum: number(36),
        })
    }

    /// `None` when it is larger than memory can be.
    pub fn layout(&self) -> Option<Layout> {
        let (rows, width) = (self.rows as usize, self.width as usize);
        let mut at = ALIGN;
        let mut section = |there: bool, count: usize, each: usize, size: usize| -> Option<Range<usize>> {
            let bytes = if there { count.checked_mul(each)?.checked_mul(size)? } else { 0 };
            let start = at;
            at = start.checked_add(bytes)?.checked_next_multiple_of(ALIGN)?;
            Some(start..start + bytes)
        };
        let kinds = self.kinds;
        Some(Layout {
            float: section(kinds.float, rows, width, 4)?,
            int8: section(kinds.int8, rows.next_multiple_of(int8::BLOCK), int8::padded(width), 1)?,
            scales: section(kinds.int8, rows, 1, 4)?,
            bits: section(kinds.bits, rows.next_multiple_of(bits::BLOCK), codes::words(width), 8)?,
            deleted: section(true, self.deleted as usize, 1, 4)?,
            ends: section(true, 2 * rows, 1, 4)?,
            text: section(true, self.text as usize, 1, 1)?,
            total: at,
        })
    }

    /// Whether the bytes of a whole frame are those that were written; of the f32 section only on request.
    pub fn is_whole(&self, frame: &[u8], layout: &Layout, float: bool) -> bool {
        let rest = layout.int8.start..layout.total;
        (!float || crc32fast::hash(&frame[layout.float.clone()]) == self.float_checksum)
            && crc32fast::hash(&frame[rest]) == self.rest_checksum
    }
}

/// Rows on their way into a frame; numbers of a kind that is not kept stay empty.
#[derive(Default)]
pub struct Rows {
    pub count: usize,
    /// `[N, D]`
    pub float: Vec<f32>,
    /// `[N, D]`
    pub int8: Vec<i8>,
    /// `[N]`
    pub scales: Vec<f32>,
    /// `[N, words]`
    pub bits: Vec<u64>,
    /// `[2 N]`
    pub ends: Vec<u32>,
    pub text: Vec<u8>,
}

impl Rows {
    /// Adds a vector in every kind that is kept.
    pub fn push_vector(&mut self, kinds: Kinds, x: &[f32]) {
        if kinds.float {
            self.float.extend_from_slice(x);
        }
        if kinds.int8 {
            let at = self.int8.len();
            self.int8.resize(at + x.len(), 0);
            let scale = codes::to_int8(x, &mut self.int8[at..]);
            self.scales.push(scale);
        }
        if kinds.bits {
            let at = self.bits.len();
            self.bits.resize(at + codes::words(x.len()), 0);
            codes::to_bits(x, &mut self.bits[at..]);
        }
        self.count += 1;
    }

    /// Adds what belongs to a vector; false when a frame cannot hold so much text.
    #[must_use]
    pub fn push_text(&mut self, id: &str, payload: &[u8]) -> bool {
        for bytes in [id.as_bytes(), payload] {
            self.text.extend_from_slice(bytes);
            match u32::try_from(self.text.len()) {
                Ok(end) => self.ends.push(end),
                Err(_) => return false,
            }
        }
        true
    }

    /// The bytes of the frame.
    pub fn encode(&self, width: usize, kinds: Kinds, first: u32, deleted: &[u32]) -> Option<Vec<u8>> {
        let mut header = Header {
            width: u32::try_from(width).ok()?,
            kinds,
            first,
            rows: u32::try_from(self.count).ok()?,
            deleted: u32::try_from(deleted.len()).ok()?,
            text: u32::try_from(self.text.len()).ok()?,
            float_checksum: 0,
            rest_checksum: 0,
        };
        let layout = header.layout()?;
        let mut out = vec![0; layout.total];
        let mut put = |range: &Range<usize>, bytes: &[u8]| out[range.clone()].copy_from_slice(bytes);
        put(&layout.float, bytemuck::cast_slice(&self.float));
        put(&layout.int8, bytemuck::cast_slice(&int8::pack(&self.int8, width)));
        put(&layout.scales, bytemuck::cast_slice(&self.scales));
        put(&layout.bits, bytemuck::cast_slice(&bits::pack(&self.bits, codes::words(width))));
        put(&layout.deleted, bytemuck::cast_slice(deleted));
        put(&layout.ends, bytemuck::cast_slice(&self.ends));
        put(&layout.text, &self.text);
        header.float_checksum = crc32fast::hash(&out[layout.float.clone()]);
        header.rest_checksum = crc32fast::hash(&out[layout.int8.start..]);
        out[..ALIGN].copy_from_slice(&header.to_bytes());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Vec<u8> {
        let kinds = Kinds { float: true, int8: true, bits: true };
        let mut rows = Rows::default();
        for (i, id) in ["a", "bc", ""].iter().enumerate() {
            rows.push_vector(kinds, &[i as f32, -1.0, 0.5]);
            assert!(rows.push_text(id, &[7; 5]));
        }
        rows.encode(3, kinds, 40, &[1, 2]).unwrap()
    }

    #[test]
    fn a_frame_says_what_went_in() {
        let bytes = frame();
        let header = Header::from_bytes(&bytes).unwrap();
        assert_eq!((header.first, header.rows, header.deleted, header.text), (40, 3, 2, 18));
        let layout = header.layout().unwrap();
        assert_eq!(layout.total, bytes.len());
        assert!(header.is_whole(&bytes, &layout, true));
        assert_eq!(&bytes[layout.float.clone()][..4], 0f32.to_le_bytes());
        assert!([layout.float.start, layout.bits.start, layout.text.start].iter().all(|at| at % ALIGN == 0));
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let good = frame();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            let seen = match Header::from_bytes(&bad) {
                None => true,
                Some(header) => !header.is_whole(&bad, &header.layout().unwrap(), true),
            };
            // Between the f32 section and the next there is nothing to read.
            let layout = Header::from_bytes(&good).unwrap().layout().unwrap();
            assert!(seen || (layout.float.end..layout.int8.start).contains(&at), "byte {at}");
        }
        assert_eq!(Header::from_bytes(&good[..63]), None);
    }

    #[test]
    fn sizes_beyond_memory_are_no_layout() {
        let mut header = Header::from_bytes(&frame()).unwrap();
        (header.rows, header.width) = (u32::MAX, u32::MAX);
        assert_eq!(header.layout(), None);
    }
}

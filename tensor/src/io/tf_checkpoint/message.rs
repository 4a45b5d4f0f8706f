//! The two messages of an index, in the encoding of protocol buffers.
//! Definition:  message = fields; field = varint of 8 number + kind, then by kind: 0 a varint, 1 eight
//!              bytes, 2 a length and so many bytes, 5 four bytes. Unknown fields are skipped
//! Reference:   TensorFlow, tensor_bundle.proto, tensor_shape.proto, types.proto.

use super::super::stored::ElementType;
use super::table::varint;

/// `BundleHeaderProto`, stored under the empty name.
pub(super) struct Header {
    pub shards: usize,
    pub big_endian: bool,
}

/// `BundleEntryProto`: a variable.
#[derive(Default)]
pub(super) struct Entry {
    pub dtype: u64,
    pub shape: Vec<usize>,
    pub shard: usize,
    pub offset: usize,
    pub length: usize,
    pub checksum: u32,
    /// Whether it only describes parts that are stored under other names.
    pub sliced: bool,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (mut shards, mut big_endian) = (0, false);
        for field in fields(bytes)? {
            match field {
                (1, Field::Number(n)) => shards = usize::try_from(n).ok()?,
                (2, Field::Number(n)) => big_endian = n != 0,
                _ => {}
            }
        }
        // The name of a data file has five digits.
        (1..100_000).contains(&shards).then_some(Self { shards, big_endian })
    }
}

impl Entry {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut entry = Entry::default();
        for field in fields(bytes)? {
            match field {
                (1, Field::Number(n)) => entry.dtype = n,
                (2, Field::Bytes(shape)) => entry.shape = dimensions(shape)?,
                (3, Field::Number(n)) => entry.shard = usize::try_from(n).ok()?,
                (4, Field::Number(n)) => entry.offset = usize::try_from(n).ok()?,
                (5, Field::Number(n)) => entry.length = usize::try_from(n).ok()?,
                (6, Field::Four(n)) => entry.checksum = n,
                (7, Field::Bytes(_)) => entry.sliced = true,
                _ => {}
            }
        }
        Some(entry)
    }
}

/// The number type behind TensorFlow's number for it; none for texts, complex numbers and handles.
pub(super) fn kind(dtype: u64) -> Option<ElementType> {
    match dtype {
        1 => Some(ElementType::F32),
        2 => Some(ElementType::F64),
        3 => Some(ElementType::I32),
        4 => Some(ElementType::U8),
        5 => Some(ElementType::I16),
        6 => Some(ElementType::I8),
        9 => Some(ElementType::I64),
        10 => Some(ElementType::Bool),
        14 => Some(ElementType::BF16),
        19 => Some(ElementType::F16),
        _ => None,
    }
}

/// `TensorShapeProto`: field 2, again and again, is a message whose field 1 is a size.
fn dimensions(bytes: &[u8]) -> Option<Vec<usize>> {
    let mut shape = Vec::new();
    for field in fields(bytes)? {
        let (2, Field::Bytes(dimension)) = field else { continue };
        let mut size = 0; // what is 0 is left out of a message
        for field in fields(dimension)? {
            if let (1, Field::Number(n)) = field {
                size = usize::try_from(n).ok()?;
            }
        }
        shape.push(size);
    }
    Some(shape)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Four(u32),
    Eight,
}

fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Field::Eight)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Field::Bytes(take(&mut rest, length)?)
            }
            5 => Field::Four(u32::from_le_bytes(*take(&mut rest, 4)?.first_chunk()?)),
            _ => return None,
        };
        all.push((tag >> 3, field));
    }
    Some(all)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let taken = rest.get(..length)?;
    *rest = &rest[length..];
    Some(taken)
}

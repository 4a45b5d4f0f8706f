//! A tensor as it lies in a weight file: type, shape and little-endian bytes, rows one after another.

use std::borrow::Cow;

use half::{bf16, f16};

use crate::storage::Storage;
use crate::{DType, Error, Result, Tensor};

/// The number types that weight files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 16-bit floating point, IEEE.
    F16,
    /// The upper 16 bits of an `f32`.
    BF16,
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
    /// 8-bit integers.
    I8,
    /// 16-bit integers.
    I16,
    /// 32-bit integers.
    I32,
    /// 64-bit integers.
    I64,
    /// Bytes.
    U8,
    /// Truth values, a byte each.
    Bool,
}

impl ElementType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            ElementType::I8 | ElementType::U8 | ElementType::Bool => 1,
            ElementType::F16 | ElementType::BF16 | ElementType::I16 => 2,
            ElementType::F32 | ElementType::I32 => 4,
            ElementType::F64 | ElementType::I64 => 8,
        }
    }

    /// Whether it holds fractions: weights, not ids.
    pub fn is_float(self) -> bool {
        match self {
            ElementType::F16 | ElementType::BF16 | ElementType::F32 | ElementType::F64 => true,
            ElementType::I8
            | ElementType::I16
            | ElementType::I32
            | ElementType::I64
            | ElementType::U8
            | ElementType::Bool => false,
        }
    }
}

/// The bytes an array of this shape takes; none where the product exceeds what a machine can address.
pub(super) fn bytes_of(kind: ElementType, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(kind.size(), |product, n| product.checked_mul(*n))
}

/// A tensor of a file, its bytes borrowed from the file where they lie there in one piece.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<'a> {
    kind: ElementType,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// Bytes with their meaning; their number must be that of the shape.
    pub fn new(kind: ElementType, shape: Vec<usize>, bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        if bytes_of(kind, &shape) != Some(bytes.len()) {
            return Error::shape("stored tensor", format!("{} bytes for {kind:?} {shape:?}", bytes.len()));
        }
        Ok(Self { kind, shape, bytes })
    }

    /// Numbers of a tensor, as they would lie in a file.
    pub fn of(tensor: &'a Tensor) -> Self {
        let (kind, bytes) = match tensor.storage() {
            Storage::F32(x) => (ElementType::F32, little_endian(x, |v| v.to_le_bytes())),
            Storage::F64(x) => (ElementType::F64, little_endian(x, |v| v.to_le_bytes())),
            Storage::I64(x) => (ElementType::I64, little_endian(x, |v| v.to_le_bytes())),
        };
        Self { kind, shape: tensor.shape().to_vec(), bytes }
    }

    /// The number type.
    pub fn kind(&self) -> ElementType {
        self.kind
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Cow<'a, [u8]> {
        self.bytes
    }

    /// The numbers in the wanted type.
    pub fn to_tensor(&self, dtype: DType) -> Result<Tensor> {
        let bytes = &self.bytes;
        let storage = match (self.kind, dtype) {
            (ElementType::F32, DType::F32) => Storage::from(read(bytes, f32::from_le_bytes)),
            (ElementType::F32, _) => Storage::from(read(bytes, |b| f64::from(f32::from_le_bytes(b)))),
            (ElementType::F16, DType::F32) => Storage::from(read(bytes, |b| f16::from_le_bytes(b).to_f32())),
            (ElementType::F16, _) => Storage::from(read(bytes, |b| f16::from_le_bytes(b).to_f64())),
            (ElementType::BF16, DType::F32) => {
                Storage::from(read(bytes, |b| bf16::from_le_bytes(b).to_f32()))
            }
            (ElementType::BF16, _) => Storage::from(read(bytes, |b| bf16::from_le_bytes(b).to_f64())),
            (ElementType::F64, _) => Storage::from(read(bytes, f64::from_le_bytes)),
            (ElementType::I8, _) => Storage::from(read(bytes, |b| i64::from(i8::from_le_bytes(b)))),
            (ElementType::I16, _) => Storage::from(read(bytes, |b| i64::from(i16::from_le_bytes(b)))),
            (ElementType::I32, _) => Storage::from(read(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            (ElementType::I64, _) => Storage::from(read(bytes, i64::from_le_bytes)),
            (ElementType::U8 | ElementType::Bool, _) => Storage::from(read(bytes, |[b]| i64::from(b))),
        };
        Tensor::constant(storage, self.shape.clone()).cast(dtype)
    }

    /// Rows and columns of a matrix exchanged; `O(rows columns)`, in tiles that fit the cache.
    pub fn transposed(&self) -> Result<Stored<'static>> {
        let &[rows, columns] = self.shape.as_slice() else {
            return Error::shape("transpose", format!("{:?} is no matrix", self.shape));
        };
        let size = self.kind.size();
        let mut bytes = vec![0; self.bytes.len()];
        const TILE: usize = 32;
        for top in (0..rows).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                for i in top..rows.min(top + TILE) {
                    for j in left..columns.min(left + TILE) {
                        let (from, to) = ((i * columns + j) * size, (j * rows + i) * size);
                        bytes[to..to + size].copy_from_slice(&self.bytes[from..from + size]);
                    }
                }
            }
        }
        Stored::new(self.kind, vec![columns, rows], bytes)
    }

    /// The rows (along the first axis) of these numbers, one after the other.
    pub fn rows(&self, ids: &[usize]) -> Result<Stored<'static>> {
        let Some((rows, rest)) = self.shape.split_first() else {
            return Error::shape("rows", "a single number has no rows".to_string());
        };
        let size = rest.iter().product::<usize>() * self.kind.size();
        let mut bytes = Vec::with_capacity(ids.len() * size);
        for &id in ids {
            if id >= *rows {
                return Error::value("rows", format!("there is no row {id} of {rows}"));
            }
            bytes.extend_from_slice(&self.bytes[id * size..(id + 1) * size]);
        }
        Stored::new(self.kind, [&[ids.len()], rest].concat(), bytes)
    }

    /// Floating-point numbers rounded to the type of a file.
    pub fn from_f64(kind: ElementType, shape: Vec<usize>, values: &[f64]) -> Result<Stored<'static>> {
        let bytes: Vec<u8> = match kind {
            ElementType::F16 => values.iter().flat_map(|v| f16::from_f64(*v).to_le_bytes()).collect(),
            ElementType::BF16 => values.iter().flat_map(|v| bf16::from_f64(*v).to_le_bytes()).collect(),
            ElementType::F32 => values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
            ElementType::F64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ElementType::I8
            | ElementType::I16
            | ElementType::I32
            | ElementType::I64
            | ElementType::U8
            | ElementType::Bool => {
                return Error::value("stored tensor", format!("{kind:?} holds no fractions"));
            }
        };
        Stored::new(kind, shape, bytes)
    }
}

fn read<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&b| convert(b)).collect()
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

    #[test]
    fn every_type_is_read_as_its_numbers() {
        let cases: [(ElementType, &[u8], [f64; 2]); 10] = [
            (ElementType::F16, &[0, 0x3e, 0, 0xc0], [1.5, -2.0]),
            (ElementType::BF16, &[0xc0, 0x3f, 0, 0xc0], [1.5, -2.0]),
            (ElementType::F32, &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0], [1.5, -2.0]),
            (ElementType::F64, &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0], [1.5, -2.0]),
            (ElementType::I8, &[3, 0xff], [3.0, -1.0]),
            (ElementType::I16, &[3, 0, 0xff, 0xff], [3.0, -1.0]),
            (ElementType::I32, &[3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [3.0, -1.0]),
            (
                ElementType::I64,
                &[3, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
                [3.0, -1.0],
            ),
            (ElementType::U8, &[3, 0xff], [3.0, 255.0]),
            (ElementType::Bool, &[1, 0], [1.0, 0.0]),
        ];
        for (kind, bytes, expected) in cases {
            let stored = Stored::new(kind, vec![2], bytes).unwrap();
            assert_eq!(stored.to_tensor(DType::F64).unwrap().to_f64_vec(), expected, "{kind:?}");
            assert_eq!(stored.to_tensor(DType::F32).unwrap().to_f64_vec(), expected, "{kind:?}");
            if kind.is_float() {
                assert_eq!(Stored::from_f64(kind, vec![2], &expected).unwrap(), stored);
            }
        }
    }

    #[test]
    fn a_transposed_matrix_exchanges_its_indices() {
        for (rows, columns) in [(1, 1), (2, 3), (40, 33), (0, 4)] {
            let values: Vec<f64> = (0..rows * columns).map(|i| i as f64).collect();
            let matrix = Stored::from_f64(ElementType::F32, vec![rows, columns], &values).unwrap();
            let turned = matrix.transposed().unwrap();
            assert_eq!(turned.shape(), [columns, rows]);
            let numbers = turned.to_tensor(DType::F64).unwrap().to_f64_vec();
            for i in 0..rows {
                (0..columns).for_each(|j| assert_eq!(numbers[j * rows + i], values[i * columns + j]));
            }
            assert_eq!(turned.transposed().unwrap(), matrix);
        }
        assert!(Stored::new(ElementType::U8, vec![2], vec![0, 1]).unwrap().transposed().is_err());
    }

    #[test]
    fn rows_are_picked_in_the_order_asked_for() {
        let table = Stored::from_f64(ElementType::F16, vec![3, 2], &[0., 1., 2., 3., 4., 5.]).unwrap();
        let picked = table.rows(&[2, 0, 2]).unwrap();
        assert_eq!(picked.shape(), [3, 2]);
        assert_eq!(picked.to_tensor(DType::F64).unwrap().to_f64_vec(), [4., 5., 0., 1., 4., 5.]);
        assert!(table.rows(&[3]).unwrap_err().to_string().contains("no row 3 of 3"));
        assert!(Stored::new(ElementType::F32, vec![2, 2], vec![0; 15]).is_err());
        assert!(Stored::new(ElementType::F32, vec![usize::MAX, 2], vec![]).is_err());
    }
}

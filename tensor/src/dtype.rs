//! Number types of tensors.

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit floating point: training and inference.
    F32,
    /// 64-bit floating point: gradient checks and golden vectors.
    F64,
    /// 64-bit integers: ids and labels, never tracked.
    I64,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 | DType::I64 => 8,
        }
    }

    /// Whether gradients can flow through it.
    pub fn is_float(self) -> bool {
        match self {
            DType::F32 | DType::F64 => true,
            DType::I64 => false,
        }
    }
}

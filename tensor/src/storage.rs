//! Shared, immutable element buffers.

use std::sync::Arc;

use crate::{DType, Tensor};

#[derive(Clone, Debug)]
pub(crate) enum Storage {
    F32(Arc<Vec<f32>>),
    F64(Arc<Vec<f64>>),
    I64(Arc<Vec<i64>>),
}

impl Storage {
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Storage::F32(_) => DType::F32,
            Storage::F64(_) => DType::F64,
            Storage::I64(_) => DType::I64,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Storage::F32(x) => x.len(),
            Storage::F64(x) => x.len(),
            Storage::I64(x) => x.len(),
        }
    }
}

impl From<Vec<f32>> for Storage {
    fn from(x: Vec<f32>) -> Self {
        Storage::F32(Arc::new(x))
    }
}

impl From<Vec<f64>> for Storage {
    fn from(x: Vec<f64>) -> Self {
        Storage::F64(Arc::new(x))
    }
}

impl From<Vec<i64>> for Storage {
    fn from(x: Vec<i64>) -> Self {
        Storage::I64(Arc::new(x))
    }
}

/// Evaluates `$body` with the type alias `$T` (`f32` or `f64`) of `$tensor`, an error for integers.
macro_rules! float {
    ($op:expr, $tensor:expr, $T:ident => $body:expr) => {
        match $tensor.dtype() {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            got @ $crate::DType::I64 => {
                Err($crate::Error::DType { op: $op, expected: "a floating-point tensor", got })
            }
        }
    };
}
pub(crate) use float;

impl Tensor {
    pub(crate) fn storage(&self) -> &Storage {
        &self.0.storage
    }
}

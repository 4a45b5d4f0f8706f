//! Shared, immutable element buffers.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::{DType, Tensor};

#[derive(Clone, Debug)]
pub(crate) enum Storage {
    F32(Arc<Buffer<f32>>),
    F64(Arc<Buffer<f64>>),
    I64(Arc<Buffer<i64>>),
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

macro_rules! from_buffers {
    ($($type:ty, $variant:ident);*) => {$(
        impl From<Buffer<$type>> for Storage {
            fn from(x: Buffer<$type>) -> Self {
                Storage::$variant(Arc::new(x))
            }
        }

        impl From<Vec<$type>> for Storage {
            fn from(x: Vec<$type>) -> Self {
                Buffer::from(x).into()
            }
        }
    )*};
}
from_buffers!(f32, F32; f64, F64; i64, I64);

/// Evaluates `$body`, as `$op` in a profile, with the type alias `$T` (`f32` or `f64`) of `$tensor`, an error for integers.
macro_rules! float {
    ($op:expr, $tensor:expr, $T:ident => $body:expr) => {{
        let _scope = $crate::profile::scope($op);
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
    }};
}
pub(crate) use float;

impl Tensor {
    pub(crate) fn storage(&self) -> &Storage {
        &self.0.storage
    }
}

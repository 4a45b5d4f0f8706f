//! The tensor: shared data, a shape, and where it came from.

use std::fmt;
use std::sync::Arc;

use crate::buffer::{Buffer, Pooled, unset};
use crate::gradient::{Node, Step};
use crate::shape::elements;
use crate::storage::Storage;
use crate::{DType, Device, Error, Result, Shape};

/// A row-major, contiguous array of numbers; cheap to clone.
#[derive(Clone)]
pub struct Tensor(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) storage: Storage,
    pub(crate) shape: Shape,
    pub(crate) origin: Origin,
}

pub(crate) enum Origin {
    /// No gradient flows here.
    Constant,
    /// A gradient ends here: a parameter or an input under study.
    Leaf,
    /// Made by an operation on tracked tensors.
    Made(Node),
}

/// A Rust type that can be an element.
pub trait Element: Copy + Default + Send + Sync + fmt::Debug + 'static {
    /// Its run-time name.
    const DTYPE: DType;
    #[doc(hidden)]
    fn storage(values: Vec<Self>) -> StorageBox;
    #[doc(hidden)]
    fn values(tensor: &Tensor) -> Option<&[Self]>;
    #[doc(hidden)]
    fn shared(tensor: &mut SharedValues) -> Option<&mut [Self]>;
}

/// Opaque buffer, so that [`Element`] does not expose the storage type.
#[doc(hidden)]
pub struct StorageBox(Storage);

/// Values taken out of a tensor for an update in place.
#[doc(hidden)]
pub struct SharedValues(pub(crate) Storage);

macro_rules! element {
    ($type:ty, $variant:ident, $dtype:expr) => {
        impl Element for $type {
            const DTYPE: DType = $dtype;
            fn storage(values: Vec<Self>) -> StorageBox {
                StorageBox(Storage::from(values))
            }
            fn values(tensor: &Tensor) -> Option<&[Self]> {
                if let Storage::$variant(x) = tensor.storage() { Some(x) } else { None }
            }
            fn shared(values: &mut SharedValues) -> Option<&mut [Self]> {
                if let Storage::$variant(x) = &mut values.0 { Some(&mut **Arc::make_mut(x)) } else { None }
            }
        }
    };
}
element!(f32, F32, DType::F32);
element!(f64, F64, DType::F64);
element!(i64, I64, DType::I64);

impl Tensor {
    /// A tensor of `values` in row-major order.
    pub fn new<T: Element>(values: Vec<T>, shape: &[usize]) -> Result<Self> {
        if values.len() != elements(shape) {
            return Error::shape(
                "tensor",
                format!("{} values for shape {shape:?} ({} elements)", values.len(), elements(shape)),
            );
        }
        Ok(Self::constant(T::storage(values).0, shape.to_vec()))
    }

    /// A scalar.
    pub fn scalar(value: f64, dtype: DType) -> Self {
        Self::full(value, &[], dtype)
    }

    /// A tensor of one value everywhere.
    pub fn full(value: f64, shape: &[usize], dtype: DType) -> Self {
        let n = elements(shape);
        let storage = match dtype {
            DType::F32 => filled(value as f32, n),
            DType::F64 => filled(value, n),
            DType::I64 => filled(value as i64, n),
        };
        Self::constant(storage, shape.to_vec())
    }

    /// A tensor of zeros.
    pub fn zeros(shape: &[usize], dtype: DType) -> Self {
        Self::full(0.0, shape, dtype)
    }

    /// Zeros with the shape and dtype of this tensor.
    pub fn zeros_like(&self) -> Self {
        Self::zeros(self.shape(), self.dtype())
    }

    pub(crate) fn constant(storage: Storage, shape: Shape) -> Self {
        debug_assert_eq!(storage.len(), elements(&shape));
        Tensor(Arc::new(Inner { storage, shape, origin: Origin::Constant }))
    }

    /// The result of an operation: tracked when an input is, and then `backward` says how the
    /// gradient goes back. `fused` operations have no gradient of their gradient.
    pub(crate) fn made(
        op: &'static str,
        fused: bool,
        storage: impl Into<Storage>,
        shape: Shape,
        inputs: &[&Tensor],
        backward: impl Fn(&Step) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
    ) -> Self {
        let storage = storage.into();
        debug_assert_eq!(storage.len(), elements(&shape), "{op}");
        let origin = if inputs.iter().any(|x| x.is_tracked()) {
            let inputs = inputs.iter().map(|&x| x.clone()).collect();
            Origin::Made(Node { op, fused, inputs, backward: Box::new(backward) })
        } else {
            Origin::Constant
        };
        Tensor(Arc::new(Inner { storage, shape, origin }))
    }

    /// This value as a new leaf that gradients are taken for.
    pub fn tracked(&self) -> Self {
        let Inner { storage, shape, .. } = &*self.0;
        Tensor(Arc::new(Inner { storage: storage.clone(), shape: shape.clone(), origin: Origin::Leaf }))
    }

    /// This value without its history.
    pub fn detach(&self) -> Self {
        if !self.is_tracked() {
            return self.clone();
        }
        Self::constant(self.storage().clone(), self.0.shape.clone())
    }

    /// Whether gradients flow into it.
    pub fn is_tracked(&self) -> bool {
        !matches!(self.0.origin, Origin::Constant)
    }

    /// Whether this is the same tensor, and not only one of the same values.
    pub(crate) fn is(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The extents of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.shape.len()
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.storage().len()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.storage().dtype()
    }

    /// Where the data lives.
    pub fn device(&self) -> Device {
        Device::Cpu
    }

    /// The elements, when they are of type `T`.
    pub fn values<T: Element>(&self) -> Result<&[T]> {
        T::values(self).ok_or(Error::DType {
            op: "values",
            expected: std::any::type_name::<T>(),
            got: self.dtype(),
        })
    }

    /// The elements converted to `f64`.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        match self.storage() {
            Storage::F32(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Storage::F64(x) => x.to_vec(),
            Storage::I64(x) => x.iter().map(|&x| x as f64).collect(),
        }
    }

    /// The single element of a tensor with one element.
    pub fn item(&self) -> Result<f64> {
        match self.elements() {
            1 => Ok(self.to_f64_vec()[0]),
            n => Error::shape("item", format!("{n} elements in shape {:?}, expected 1", self.shape())),
        }
    }

    /// The values in another type; the gradient is converted back.
    pub fn cast(&self, dtype: DType) -> Result<Self> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let storage = match (self.storage(), dtype) {
            (Storage::F32(x), DType::F64) => {
                Storage::from(x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>())
            }
            (_, DType::F64) => Storage::from(self.to_f64_vec()),
            (_, DType::F32) => Storage::from(self.to_f64_vec().iter().map(|&v| v as f32).collect::<Vec<_>>()),
            (_, DType::I64) => {
                self.refuse_gradient("cast to integers")?;
                Storage::from(self.to_f64_vec().iter().map(|&v| v as i64).collect::<Vec<_>>())
            }
        };
        let from = self.dtype();
        Ok(Self::made("cast", false, storage, self.shape().to_vec(), &[self], move |step| {
            Ok(vec![Some(step.grad.cast(from)?)])
        }))
    }

    /// An error when gradients would have to flow through an operation that has none.
    pub(crate) fn refuse_gradient(&self, op: &'static str) -> Result<()> {
        if self.is_tracked() {
            let message = "has no gradient; call it on `x.detach()`".to_string();
            return Err(Error::Gradient { op, message });
        }
        Ok(())
    }
}

fn filled<T: Pooled>(value: T, len: usize) -> Storage
where
    Storage: From<Buffer<T>>,
{
    let mut values = unset::<T>(len);
    values.fill(value);
    values.into()
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.to_f64_vec();
        let shown = &values[..values.len().min(8)];
        let more = if values.len() > 8 { ", .." } else { "" };
        write!(f, "Tensor({:?} {:?} {shown:?}{more})", self.dtype(), self.shape())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_of_values_is_an_error() {
        let error = Tensor::new(vec![1.0f32; 3], &[2, 2]).unwrap_err().to_string();
        assert_eq!(error, "tensor: 3 values for shape [2, 2] (4 elements)");
    }

    #[test]
    fn values_of_another_type_are_an_error() {
        let x = Tensor::zeros(&[2], DType::F32);
        assert!(x.values::<f32>().is_ok());
        assert_eq!(x.values::<i64>().unwrap_err().to_string(), "values: expected i64, got F32");
    }

    #[test]
    fn integers_refuse_tracked_inputs() {
        let x = Tensor::zeros(&[2], DType::F32).tracked();
        assert!(x.cast(DType::I64).unwrap_err().to_string().contains("x.detach()"));
    }
}

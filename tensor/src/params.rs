//! Named parameters: shared between the layers that use them and the optimizer that moves them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::storage::Storage;
use crate::tensor::SharedValues;
use crate::{Element, Error, Result, Tensor};

/// What a parameter is for; optimizers treat kinds differently (decay, learning rate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// Weights of a product.
    Matrix,
    /// Rows looked up by id.
    Embedding,
    /// Added after a product.
    Bias,
    /// Multiplies a normalised vector.
    NormGain,
    /// Added to a normalised vector.
    NormShift,
}

impl ParameterKind {
    /// Whether weight decay applies: to matrices and embeddings only.
    pub fn decays(self) -> bool {
        match self {
            ParameterKind::Matrix | ParameterKind::Embedding => true,
            ParameterKind::Bias | ParameterKind::NormGain | ParameterKind::NormShift => false,
        }
    }
}

/// One named tensor that training changes. Clones share the value.
#[derive(Clone)]
pub struct Parameter(Arc<Inner>);

struct Inner {
    name: String,
    kind: ParameterKind,
    frozen: AtomicBool,
    value: RwLock<Tensor>, // always a tracked leaf
}

impl Parameter {
    fn new(name: String, kind: ParameterKind, value: &Tensor) -> Self {
        let value = RwLock::new(value.tracked());
        Parameter(Arc::new(Inner { name, kind, frozen: AtomicBool::new(false), value }))
    }

    /// Its full name, as in a weight file.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is for.
    pub fn kind(&self) -> ParameterKind {
        self.0.kind
    }

    /// The leaf that gradients are kept for; untracked when frozen.
    pub fn leaf(&self) -> Tensor {
        let value = self.0.value.read().unwrap_or_else(PoisonError::into_inner).clone();
        if self.is_frozen() { value.detach() } else { value }
    }

    /// The value as a constant.
    pub fn value(&self) -> Tensor {
        self.leaf().detach()
    }

    /// Whether anybody else holds this parameter.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether training leaves it alone.
    pub fn is_frozen(&self) -> bool {
        self.0.frozen.load(Ordering::Relaxed)
    }

    /// Excludes it from training, or includes it again.
    pub fn set_frozen(&self, frozen: bool) {
        self.0.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Replaces the value; shape and dtype must stay.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        let mut current = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
        if value.shape() != current.shape() || value.dtype() != current.dtype() {
            let message = format!(
                "{} is {:?} {:?}, got {:?} {:?}",
                self.name(),
                current.dtype(),
                current.shape(),
                value.dtype(),
                value.shape()
            );
            return Err(Error::Shape { op: "set parameter", message });
        }
        *current = value.tracked();
        Ok(())
    }

    /// Changes the elements in place (a copy is made only while somebody else holds the value).
    pub fn update<T: Element>(&self, change: impl FnOnce(&mut [T])) -> Result<()> {
        let mut current = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
        let shape = current.shape().to_vec();
        let mut values = SharedValues(current.storage().clone());
        *current = Tensor::constant(Storage::from(Vec::<f32>::new()), vec![0]); // lets go of the old value
        let dtype = values.0.dtype();
        let done = T::shared(&mut values).map(change);
        *current = Tensor::constant(values.0, shape).tracked();
        done.ok_or(Error::DType { op: "update parameter", expected: std::any::type_name::<T>(), got: dtype })
    }
}

/// All parameters of a model, in the order they were made.
#[derive(Clone, Default)]
pub struct Params {
    list: Vec<Parameter>,
    index: HashMap<String, usize>,
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter; a name that is taken is an error.
    pub fn add(&mut self, name: &str, value: &Tensor, kind: ParameterKind) -> Result<Parameter> {
        if self.index.contains_key(name) {
            return Error::value("params", format!("two parameters are called {name}"));
        }
        let parameter = Parameter::new(name.to_string(), kind, value);
        self.index.insert(name.to_string(), self.list.len());
        self.list.push(parameter.clone());
        Ok(parameter)
    }

    /// The parameter of a name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.list[i])
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter> {
        self.list.iter()
    }

    /// How many tensors.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many numbers.
    pub fn elements(&self) -> usize {
        self.list.iter().map(|p| p.value().elements()).sum()
    }

    /// Freezes (or thaws) every parameter whose name starts with `prefix`; says how many.
    pub fn set_frozen(&self, prefix: &str, frozen: bool) -> usize {
        let matching = self.list.iter().filter(|p| p.name().starts_with(prefix));
        matching.map(|p| p.set_frozen(frozen)).count()
    }

    /// Names and values, for saving.
    pub fn values(&self) -> Vec<(String, Tensor)> {
        self.list.iter().map(|p| (p.name().to_string(), p.value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, backward};

    #[test]
    fn updates_happen_in_place_and_keep_the_name() {
        let mut params = Params::new();
        let w = params.add("w", &Tensor::full(2.0, &[3], DType::F32), ParameterKind::Matrix).unwrap();
        let loss = w.leaf().square().unwrap().sum_all().unwrap();
        let gradients = backward(loss).unwrap();
        let g = gradients.of(&w.leaf()).unwrap().clone();
        w.update::<f32>(|v| v.iter_mut().zip(g.values::<f32>().unwrap()).for_each(|(v, g)| *v -= 0.5 * g))
            .unwrap();
        assert_eq!(w.value().to_f64_vec(), [0.0; 3]);
        assert!(w.update::<f64>(|_| ()).is_err());
        assert_eq!(w.value().to_f64_vec(), [0.0; 3]);
        assert!(params.add("w", &w.value(), ParameterKind::Matrix).is_err());
    }

    #[test]
    fn frozen_parameters_are_not_tracked() {
        let mut params = Params::new();
        let w = params.add("encoder.w", &Tensor::zeros(&[1], DType::F32), ParameterKind::Matrix).unwrap();
        assert_eq!(params.set_frozen("encoder.", true), 1);
        assert!(!w.leaf().is_tracked());
        params.set_frozen("", false);
        assert!(w.leaf().is_tracked());
    }
}

//! What a state dict's pickle says, read by a closed list of opcodes and globals.
//!
//! A pickle is a program for a machine with a stack: it pushes values, joins them to tuples, lists
//! and dicts, and calls what it names. Here the names are those of state dicts only, and "calling"
//! one makes a description. Values refer to each other by number, so that no nesting can exhaust
//! the stack of this program; a pickle takes memory in proportion to its length.

use std::rc::Rc;

use super::machine::Machine;
use crate::io::ElementType;

/// Where a tensor's numbers lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Name of the file with the numbers.
    pub storage: String,
    pub kind: ElementType,
    /// In elements, as strides are.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl View {
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product() // checked against the storage when the file is opened
    }

    /// Whether its rows lie one after another.
    pub(super) fn in_one_piece(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(n, stride)| {
            let fits = *n <= 1 || *stride == expected;
            expected *= n;
            fits
        }) || self.elements() == 0
    }
}

pub(super) type Result<T> = std::result::Result<T, String>;

/// The named tensors of a pickled state dict, in its order.
pub(super) fn tensors(pickle: &[u8]) -> Result<Vec<(String, View)>> {
    let mut machine = Machine::new(pickle);
    let top = machine.run()?;
    let Value::Dict(dict) = top else {
        return Err(format!("holds {}, not a dict of tensors; {HINT}", top.kind()));
    };
    let mut tensors = Vec::new();
    for (key, value) in &machine.dicts[dict] {
        match (key, value) {
            (Value::Text(name), Value::Tensor(view)) => tensors.push((name.to_string(), (**view).clone())),
            (Value::Text(name), other) => {
                return Err(format!("{name} is {}, not a tensor; {HINT}", other.kind()));
            }
            (other, _) => return Err(format!("holds a dict with {} as a key; {HINT}", other.kind())),
        }
    }
    Ok(tensors)
}

pub(super) const HINT: &str = "save the weights alone: torch.save(model.state_dict(), path)";

/// What may be named; the rest is refused.
#[derive(Clone, Copy)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(ElementType),
}

pub(super) fn global(module: &str, name: &str) -> Result<Global> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "HalfStorage") => Global::Storage(ElementType::F16),
        ("torch", "BFloat16Storage") => Global::Storage(ElementType::BF16),
        ("torch", "FloatStorage") => Global::Storage(ElementType::F32),
        ("torch", "DoubleStorage") => Global::Storage(ElementType::F64),
        ("torch", "CharStorage") => Global::Storage(ElementType::I8),
        ("torch", "ShortStorage") => Global::Storage(ElementType::I16),
        ("torch", "IntStorage") => Global::Storage(ElementType::I32),
        ("torch", "LongStorage") => Global::Storage(ElementType::I64),
        ("torch", "ByteStorage") => Global::Storage(ElementType::U8),
        ("torch", "BoolStorage") => Global::Storage(ElementType::Bool),
        _ => {
            return Err(format!(
                "names {module}.{name}, which no state dict of plain tensors needs and which is not \
                 run here; {HINT}"
            ));
        }
    })
}

#[derive(Clone)]
pub(super) enum Value {
    /// None, a truth value or a fraction: allowed, never looked at.
    Other,
    Int(i64),
    Text(Rc<str>),
    /// Number of a tuple or list.
    Items(usize),
    /// Number of a dict.
    Dict(usize),
    Global(Global),
    Storage(Rc<(String, ElementType)>),
    Tensor(Rc<View>),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Other => "None, a truth value or a fraction",
            Value::Int(_) => "an integer",
            Value::Text(_) => "a text",
            Value::Items(_) => "a list or tuple",
            Value::Dict(_) => "a dict",
            Value::Global(_) => "a class or function",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}

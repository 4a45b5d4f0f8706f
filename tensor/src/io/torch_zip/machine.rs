//! The machine of a pickle: a stack, a memo, and the opcodes that state dicts use.

use std::collections::HashMap;
use std::rc::Rc;

use super::pickle::{Global, HINT, Result, Value, View, global};

/// More axes than any weight has; torch itself stops at 64.
const MAX_RANK: usize = 64;

#[derive(Default)]
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    items: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Runs to the end; the value on top.
    pub(super) fn run(&mut self) -> Result<Value> {
        loop {
            let start = self.at;
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode, start)?;
        }
    }

    fn step(&mut self, opcode: u8, start: usize) -> Result<()> {
        match opcode {
            0x80 => self.version()?,
            0x95 => drop(self.take(8)?), // length of a frame
            b'(' => self.marks.push(self.stack.len()),
            b'}' => self.push_dict(),
            b']' | b')' => self.push_items(Vec::new()),
            b't' => {
                let items = self.marked()?;
                self.push_items(items);
            }
            0x85..=0x87 => {
                let from = self.below(usize::from(opcode) - 0x84)?;
                let items = self.stack.split_off(from);
                self.push_items(items);
            }
            b'a' => {
                let items = vec![self.pop()?];
                self.append(items)?;
            }
            b'e' => {
                let items = self.marked()?;
                self.append(items)?;
            }
            b's' => {
                let from = self.below(2)?;
                let pairs = self.stack.split_off(from);
                self.set(pairs)?;
            }
            b'u' => {
                let pairs = self.marked()?;
                self.set(pairs)?;
            }
            b'q' => self.remember(1)?,
            b'r' => self.remember(4)?,
            0x94 => {
                let (key, value) = (self.memo.len() as u32, self.top()?);
                self.memo.insert(key, value);
            }
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b'X' => self.push_text(4)?,
            0x8c => self.push_text(1)?,
            b'K' => self.push_unsigned(1)?,
            b'M' => self.push_unsigned(2)?,
            b'J' => {
                let n = self.unsigned(4)? as u32;
                self.stack.push(Value::Int(i64::from(n.cast_signed())));
            }
            0x8a => self.push_long()?,
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Other);
            }
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Other),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(global(module, name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(name), Value::Text(module)) = (name, module) else {
                    return Err("names something by what is no text".into());
                };
                self.stack.push(Value::Global(global(&module, &name)?));
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'b' => self.attributes()?,
            other => {
                return Err(format!(
                    "its pickle has opcode {other:#04x} at byte {start}, which no state dict needs; {HINT}"
                ));
            }
        }
        Ok(())
    }

    /// The state of a dict: the versions of modules, of no use here.
    fn attributes(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) => Ok(()),
            other => Err(format!("sets attributes of {}; {HINT}", other.kind())),
        }
    }

    /// `("storage", type, file, device, elements)`; the elements are those of the file.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let storage = match self.as_items(&id) {
            [Value::Text(tag), Value::Global(Global::Storage(kind)), Value::Text(file), _, Value::Int(_)]
                if **tag == *"storage" =>
            {
                Rc::new((file.to_string(), *kind))
            }
            _ => return Err(format!("refers to something that is no storage of numbers; {HINT}")),
        };
        self.stack.push(Value::Storage(storage));
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = function else {
            return Err(format!("calls {}; {HINT}", function.kind()));
        };
        let made = match (function, self.as_items(&arguments)) {
            (Global::OrderedDict, []) => None,
            (Global::RebuildTensor, [Value::Storage(storage), Value::Int(offset), shape, strides, ..]) => {
                let (offset, shape, strides) = (size(*offset)?, self.sizes(shape)?, self.sizes(strides)?);
                if shape.len() != strides.len() {
                    return Err(format!("has a tensor of shape {shape:?} with strides {strides:?}"));
                }
                let (storage, kind) = (**storage).clone();
                Some(Value::Tensor(Rc::new(View { storage, kind, offset, shape, strides })))
            }
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Some(tensor.clone()),
            (Global::OrderedDict, _) => {
                return Err("makes a dict of something that is no list of pairs".into());
            }
            (Global::RebuildTensor | Global::RebuildParameter, _) => {
                return Err("makes a tensor of something that is no storage".into());
            }
            (Global::Storage(_), _) => return Err("calls a type of storage".into()),
        };
        match made {
            Some(value) => self.stack.push(value),
            None => self.push_dict(),
        }
        Ok(())
    }

    fn sizes(&self, value: &Value) -> Result<Vec<usize>> {
        let one = |value: &Value| match value {
            Value::Int(n) => size(*n),
            other => Err(format!("has {} where a tensor's size should be", other.kind())),
        };
        match self.as_items(value) {
            items if items.len() > MAX_RANK => Err(format!("has a tensor with {} axes", items.len())),
            items => items.iter().map(one).collect(),
        }
    }

    /// The items of a tuple or list; none of anything else.
    fn as_items(&self, value: &Value) -> &[Value] {
        match value {
            Value::Items(n) => &self.items[*n],
            Value::Other
            | Value::Int(_)
            | Value::Text(_)
            | Value::Dict(_)
            | Value::Global(_)
            | Value::Storage(_)
            | Value::Tensor(_) => &[],
        }
    }

    fn append(&mut self, items: Vec<Value>) -> Result<()> {
        match self.top()? {
            Value::Items(n) => self.items[n].extend(items),
            other => return Err(format!("appends to {}", other.kind())),
        }
        Ok(())
    }

    fn set(&mut self, pairs: Vec<Value>) -> Result<()> {
        let Value::Dict(n) = self.top()? else {
            return Err(format!("sets a key of {}", self.top()?.kind()));
        };
        if pairs.len() % 2 == 1 {
            return Err("has a key without a value".into());
        }
        let mut pairs = pairs.into_iter();
        while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
            self.dicts[n].push((key, value));
        }
        Ok(())
    }

    fn push_items(&mut self, items: Vec<Value>) {
        self.stack.push(Value::Items(self.items.len()));
        self.items.push(items);
    }

    fn push_dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    fn remember(&mut self, size: usize) -> Result<()> {
        let (key, value) = (self.unsigned(size)? as u32, self.top()?);
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, size: usize) -> Result<()> {
        let key = self.unsigned(size)? as u32;
        let value = self.memo.get(&key).ok_or("recalls what it never remembered")?;
        self.stack.push(value.clone());
        Ok(())
    }

    fn push_text(&mut self, size: usize) -> Result<()> {
        let length = self.unsigned(size)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "has a text that is no UTF-8")?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn push_unsigned(&mut self, size: usize) -> Result<()> {
        let n = self.unsigned(size)?;
        self.stack.push(Value::Int(n as i64));
        Ok(())
    }

    /// An integer of any length, little-endian and signed; here of 8 bytes at most.
    fn push_long(&mut self) -> Result<()> {
        let length = self.unsigned(1)?;
        let bytes = self.take(length)?;
        let sign = if bytes.last().is_some_and(|b| *b >= 0x80) { -1 } else { 0 };
        if length > 8 {
            return Err("has an integer of more than 64 bits".into());
        }
        let n = bytes.iter().rev().fold(sign, |n: i64, b| n << 8 | i64::from(*b));
        self.stack.push(Value::Int(n));
        Ok(())
    }

    fn version(&mut self) -> Result<()> {
        match self.unsigned(1)? {
            2..=5 => Ok(()),
            other => Err(format!("is pickled by protocol {other}; 2 to 5 can be read")),
        }
    }

    fn marked(&mut self) -> Result<Vec<Value>> {
        let height = self.marks.pop().filter(|height| *height <= self.stack.len());
        Ok(self.stack.split_off(height.ok_or("closes a group that it never opened")?))
    }

    fn below(&self, count: usize) -> Result<usize> {
        self.stack.len().checked_sub(count).ok_or_else(|| EMPTY.into())
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().ok_or_else(|| EMPTY.into())
    }

    fn top(&self) -> Result<Value> {
        self.stack.last().cloned().ok_or_else(|| EMPTY.into())
    }

    fn unsigned(&mut self, size: usize) -> Result<usize> {
        Ok(self.take(size)?.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or("its pickle ends too early; copy or download it again")?;
        self.at += length;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|b| *b == b'\n').ok_or("its pickle ends inside a name")?;
        let line = std::str::from_utf8(self.take(length)?).map_err(|_| "has a name that is no UTF-8")?;
        self.take(1)?;
        Ok(line)
    }
}

const EMPTY: &str = "its pickle takes from an empty stack; copy or download it again";

fn size(n: i64) -> Result<usize> {
    usize::try_from(n).map_err(|_| format!("has a tensor with the size, stride or offset {n}"))
}

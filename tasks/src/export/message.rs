//! Writing the messages of an ONNX file, in the encoding of protocol buffers.
//! Definition:  field = varint of 8 number + kind, then by kind: 0 a varint, 2 a length and so many
//!              bytes, 5 four bytes. A message is its fields; numbers below are those of onnx.proto
//! Reference:   onnx.proto, IR version 8.

/// A message that is written field by field.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn number(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value.cast_unsigned());
        self
    }

    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(super) fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    fn float(mut self, field: u32, value: f32) -> Self {
        self.varint(u64::from(field) << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

pub(super) const FLOAT: i64 = 1;
pub(super) const INT64: i64 = 7;

/// What an operation is told beside its inputs.
pub(super) enum Attribute<'a> {
    Float(&'a str, f32),
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
}

/// `NodeProto`
pub(super) fn node(op: &str, inputs: &[&str], output: &str, attributes: &[Attribute]) -> Message {
    let mut node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    node = node.text(2, output).text(3, output).text(4, op);
    for attribute in attributes {
        let message = match attribute {
            Attribute::Float(name, value) => Message::default().text(1, name).float(2, *value).number(20, 1),
            Attribute::Int(name, value) => Message::default().text(1, name).number(3, *value).number(20, 2),
            Attribute::Ints(name, values) => {
                let named = Message::default().text(1, name);
                values.iter().fold(named, |message, value| message.number(8, *value)).number(20, 7)
            }
        };
        node = node.message(5, &message);
    }
    node
}

/// `TensorProto` with its numbers as they lie in memory.
pub(super) fn tensor(name: &str, kind: i64, shape: &[usize], bytes: &[u8]) -> Message {
    let sized = shape.iter().fold(Message::default(), |tensor, n| tensor.number(1, *n as i64));
    sized.number(2, kind).text(8, name).bytes(9, bytes)
}

/// `ValueInfoProto`: an axis is a name where its size is free.
pub(super) fn value(name: &str, kind: i64, axes: &[Result<i64, &str>]) -> Message {
    let shape = axes.iter().fold(Message::default(), |shape, axis| {
        let dimension = match axis {
            Ok(size) => Message::default().number(1, *size),
            Err(free) => Message::default().text(2, free),
        };
        shape.message(1, &dimension)
    });
    let tensor = Message::default().number(1, kind).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_the_format_says() {
        // The examples of the description of the encoding.
        assert_eq!(Message::default().number(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").into_bytes(), b"\x12\x07testing");
        let inner = Message::default().number(1, 150);
        assert_eq!(Message::default().message(3, &inner).into_bytes(), [0x1a, 3, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().number(1, -2).into_bytes().len(), 11);
        assert_eq!(Message::default().float(1, 1.0).into_bytes(), [0x0d, 0, 0, 0x80, 0x3f]);
    }
}

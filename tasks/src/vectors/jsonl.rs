//! Vectors as JSON Lines: `{"id", "text", "vector", "truncated"}`.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use super::{Row, VectorWriter};
use crate::{Error, Result};

/// Writes one object a line.
pub struct JsonLines<W: Write> {
    out: W,
}

impl<W: Write> JsonLines<W> {
    /// Onto an open output.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    text: &'a str,
    vector: &'a [f32],
    truncated: bool,
}

impl<W: Write> VectorWriter for JsonLines<W> {
    fn write(&mut self, row: &Row) -> Result<()> {
        let &Row { id, text, vector, truncated } = row;
        let mut line = serde_json::to_vec(&Line { id, text, vector, truncated })
            .map_err(|e| Error::Input(format!("a vector cannot be written as JSON: {e}")))?;
        line.push(b'\n');
        Ok(self.out.write_all(&line)?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()
    }
}

//! Annotated texts from files.

use std::path::{Path, PathBuf};

use bert4rs_text::Example;
use bert4rs_text::format::Format;

use crate::{Error, Result};

/// Examples of a file, one after the other; a file without any is an error at its end.
pub struct Examples {
    path: PathBuf,
    reader: bert4rs_text::format::Examples,
    is_empty: bool,
}

/// The examples of a file, read as they are asked for: JSON Lines, CoNLL or CLUENER, plain or
/// compressed.
pub fn stream_examples(path: &Path) -> Result<Examples> {
    let reader = Format::detect(path)?.read(path)?;
    Ok(Examples { path: path.to_path_buf(), reader, is_empty: true })
}

/// All examples of a file at once; see [`stream_examples`].
pub fn read_examples(path: &Path) -> Result<Vec<Example>> {
    stream_examples(path)?.collect()
}

impl Iterator for Examples {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.reader.next();
        if next.is_none() && self.is_empty {
            self.is_empty = false;
            return Some(Err(Error::file(&self.path, "has no examples")));
        }
        self.is_empty = false;
        Some(next?.map_err(Error::from))
    }
}

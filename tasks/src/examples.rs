//! Annotated texts from files.

use std::path::Path;

use bert4rs_text::Example;
use bert4rs_text::format::Format;

use crate::{Error, Result};

/// All examples of a file: JSON Lines, CoNLL or CLUENER, plain or compressed. A file without
/// examples is an error.
pub fn read_examples(path: &Path) -> Result<Vec<Example>> {
    let examples = Format::detect(path)?.read(path)?.collect::<std::result::Result<Vec<_>, _>>()?;
    if examples.is_empty() {
        return Err(Error::file(path, "has no examples"));
    }
    Ok(examples)
}

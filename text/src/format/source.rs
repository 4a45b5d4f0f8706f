//! Lines of a file: plain, gzip or zstd by its first bytes; UTF-8; numbered from 1.

use crate::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Numbered lines without their line ends; a byte order mark before the first is dropped.
pub(super) struct Lines {
    input: Box<dyn BufRead + Send>,
    file: String,
    line: usize,
    done: bool,
}

/// Opens a file, unpacking it when its first bytes say so.
pub(super) fn open(path: &Path) -> Result<Lines> {
    let io = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut head = Vec::new();
    file.by_ref().take(4).read_to_end(&mut head).map_err(io)?;
    let whole = std::io::Cursor::new(head.clone()).chain(file);
    let input: Box<dyn BufRead + Send> = if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(whole))))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::new(zstd::Decoder::new(whole).map_err(io)?))
    } else {
        Box::new(BufReader::new(whole))
    };
    Ok(Lines::new(input, path.display().to_string()))
}

impl Lines {
    /// Lines of an open input, called `file` in errors.
    pub(super) fn new(input: Box<dyn BufRead + Send>, file: String) -> Self {
        Self { input, file, line: 0, done: false }
    }

    /// An error on the line read last.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::line(&self.file, self.line, message)
    }

    /// An error about the file as a whole.
    pub(super) fn file_error(&self, message: impl Into<String>) -> Error {
        Error::File { file: self.file.clone(), message: message.into() }
    }

    /// The line read last, from 1.
    pub(super) fn number(&self) -> usize {
        self.line
    }

    /// The file's name in errors.
    pub(super) fn name(&self) -> &str {
        &self.file
    }

    fn read(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        self.line += 1;
        let read = self.input.read_until(b'\n', &mut bytes);
        let count =
            read.map_err(|source| self.error(format!("cannot read on: {source}; is the file complete?")))?;
        if count == 0 {
            return Ok(None);
        }
        while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            bytes.pop();
        }
        if self.line == 1 && bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            bytes.drain(..3);
        }
        String::from_utf8(bytes).map(Some).map_err(|e| {
            self.error(format!(
                "byte {} is not UTF-8; save the file as UTF-8 (GB18030 files: iconv -f GB18030 -t UTF-8)",
                e.utf8_error().valid_up_to() + 1
            ))
        })
    }
}

impl Iterator for Lines {
    type Item = Result<String>;

    /// Ends after the first error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let line = self.read().transpose();
        self.done = !matches!(line, Some(Ok(_)));
        line
    }
}

/// Examples parsed line by line; blank lines are skipped, a file without any line is an error,
/// and reading ends after the first error.
pub(super) struct PerLine<F> {
    pub(super) lines: Lines,
    pub(super) parse: F,
    /// What a line should look like, for the error on an empty file.
    pub(super) expected: &'static str,
    pub(super) state: State,
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Nothing,
    Some,
    Done,
}

impl<T, F: FnMut(&str) -> Result<T, String>> Iterator for PerLine<F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let item = loop {
            match self.lines.next() {
                Some(Ok(line)) if line.trim().is_empty() => {}
                Some(Ok(line)) => break Some((self.parse)(&line).map_err(|m| self.lines.error(m))),
                Some(Err(e)) => break Some(Err(e)),
                None if self.state == State::Nothing => {
                    break Some(Err(self
                        .lines
                        .file_error(format!("the file is empty; expected {}", self.expected))));
                }
                None => break None,
            }
        };
        self.state = if matches!(item, Some(Ok(_))) { State::Some } else { State::Done };
        item
    }
}

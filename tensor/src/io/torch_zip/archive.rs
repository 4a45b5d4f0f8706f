//! The table of contents of a zip archive whose files are stored as they are.
//!
//! torch compresses nothing and aligns every file, so that an archive can be mapped; what is needed
//! is the central directory, with the 64-bit fields of archives beyond 4 GiB. Where everything is
//! comes from the directory at the end, the length of a local header from the header itself.

/// Where a file lies in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub start: usize,
    pub length: usize,
}

struct Listed {
    name: String,
    method: u16,
    header: usize,
    length: usize,
}

pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    files: Vec<Listed>,
}

type Result<T> = std::result::Result<T, String>;

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const LISTED: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
/// Stands in a 32-bit field whose value is in the 64-bit extra field.
const ELSEWHERE: u64 = 0xffff_ffff;

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let cut = || "is not a complete zip archive; copy or download it again".to_string();
        let (count, mut at) = directory(bytes).ok_or_else(cut)?;
        let mut files = Vec::new();
        for _ in 0..count {
            let (listed, next) = listed(bytes, at).ok_or_else(cut)?;
            files.push(listed);
            at = next;
        }
        Ok(Self { bytes, files })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Where a file lies, if there is one of that name.
    pub(super) fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let Some(file) = self.files.iter().find(|file| file.name == name) else { return Ok(None) };
        if file.method != 0 {
            return Err(format!(
                "{name} is compressed, which torch.save does not do; save it again with torch"
            ));
        }
        let place = || {
            let fixed = part(self.bytes, file.header, 30)?.strip_prefix(&LOCAL)?;
            let start = file.header + 30 + number(fixed, 22, 2)? as usize + number(fixed, 24, 2)? as usize;
            part(self.bytes, start, file.length)?;
            Some(Entry { start, length: file.length })
        };
        place().map(Some).ok_or_else(|| format!("is cut off inside {name}; copy or download it again"))
    }

    /// The bytes of a file, if there is one of that name.
    pub(super) fn bytes(&self, name: &str) -> Result<Option<&'a [u8]>> {
        Ok(self.entry(name)?.map(|entry| &self.bytes[entry.start..entry.start + entry.length]))
    }
}

/// The number of files and where the directory begins.
fn directory(bytes: &[u8]) -> Option<(u64, usize)> {
    // The end record is 22 bytes and a comment of at most 65,535.
    let from = bytes.len().saturating_sub(22 + 0xffff);
    let at = bytes[from..].windows(4).rposition(|w| w == END)? + from;
    let end = part(bytes, at, 22)?;
    if let Some(locator) = at.checked_sub(20).and_then(|at| part(bytes, at, 20))
        && let Some(locator) = locator.strip_prefix(&LOCATOR_64)
    {
        let end = part(bytes, usize::try_from(number(locator, 4, 8)?).ok()?, 56)?.strip_prefix(&END_64)?;
        return Some((number(end, 28, 8)?, usize::try_from(number(end, 44, 8)?).ok()?));
    }
    Some((number(end, 10, 2)?, usize::try_from(number(end, 16, 4)?).ok()?))
}

/// An entry of the directory and where the next one begins.
fn listed(bytes: &[u8], at: usize) -> Option<(Listed, usize)> {
    let fixed = part(bytes, at, 46)?.strip_prefix(&LISTED)?; // offsets below are 4 less than in the standard
    let length_at = |at| number(fixed, at, 2).map(|n| n as usize);
    let (name, extra, comment) = (length_at(24)?, length_at(26)?, length_at(28)?);
    let next = at + 46 + name + extra + comment;
    let mut wide = wide_fields(part(bytes, at + 46 + name, extra)?);
    // In the extra field stand only those of the three that did not fit, in this order.
    let mut field = |at| match number(fixed, at, 4)? {
        ELSEWHERE => number(wide?, 0, 8).inspect(|_| wide = wide.map(|rest| &rest[8..])),
        small => Some(small),
    };
    let (length, compressed, header) = (field(20)?, field(16)?, field(38)?);
    let method = number(fixed, 6, 2)? as u16;
    if method == 0 && length != compressed {
        return None;
    }
    let name = String::from_utf8_lossy(part(bytes, at + 46, name)?).into_owned();
    let (length, header) = (usize::try_from(length).ok()?, usize::try_from(header).ok()?);
    Some((Listed { name, method, header, length }, next))
}

/// The 64-bit part of an extra field: a list of (id, length, bytes).
fn wide_fields(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (id, length) = (number(extra, 0, 2)?, number(extra, 2, 2)? as usize);
        let field = part(extra, 4, length)?;
        if id == 1 {
            return Some(field);
        }
        extra = &extra[4 + length..];
    }
}

fn part(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}

/// A little-endian number of at most 8 bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    Some(part(bytes, at, size)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

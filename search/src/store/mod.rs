//! An index in a folder: vectors, ids and payloads, written so that a kill at any moment loses nothing
//! that was acknowledged.
//!
//! Files:       `index.json` (what the index is), replaced by renaming; `rows-N`, frames that are only
//!              appended, each synced before it is acknowledged (`frame.rs`); `lock`, held by the one writer
//! Opening:     the file is mapped, headers are walked. Frames after the part that is known to be on disk
//!              are checked; half a frame at the end is what a kill leaves, and is cut. Damage anywhere else
//!              is an error. What a search looks through is checked once, before the first search
//! Deleting:    a later frame names the row; compaction writes the living rows into a new file

mod compact;
mod frame;
mod open;
mod settings;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bert4rs_kernels::mapped_file::MappedFile;
use bert4rs_kernels::nearest::float;
use rayon::prelude::*;

pub use settings::{Metric, Scan, Settings};
pub use writer::{Item, Writer};

use crate::bits::{Allowed, Bits};
use crate::exact::{self, Part, Vectors};
use crate::{Error, Hit, Result, codes};
use frame::{Header, Layout};
use settings::Manifest;

/// An index that is open for searching.
pub struct Index {
    dir: PathBuf,
    manifest: Manifest,
    map: MappedFile,
    frames: Vec<Frame>,
    rows: u32,
    deleted: Bits,
    /// The end of the last whole frame.
    end: usize,
    notes: Vec<String>,
    checked: OnceLock<()>,
}

/// Where a frame lies in the file.
struct Frame {
    start: usize,
    header: Header,
    layout: Layout,
}

/// What is asked of an index.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// How many neighbours of each query; fewer come when fewer are there.
    pub k: usize,
    /// Only among these rows, see [`Index::select`].
    pub only: Option<&'a Bits>,
    /// Score so many times `k` candidates again, in f32.
    pub rescore: Option<usize>,
}

impl Index {
    /// What it is.
    pub fn settings(&self) -> &Settings {
        &self.manifest.settings
    }

    /// How many vectors can be found.
    pub fn len(&self) -> usize {
        self.rows as usize - self.deleted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows were deleted or replaced, and take room until [`Writer::compact`].
    pub fn deleted(&self) -> usize {
        self.deleted.len()
    }

    /// Bytes of the rows on disk.
    pub fn bytes(&self) -> usize {
        self.end
    }

    /// What was noticed when it was opened: half a frame that was left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The id of a row, as it was added.
    pub fn id(&self, row: u32) -> Option<&str> {
        std::str::from_utf8(self.text(row, 0)?).ok()
    }

    /// The payload of a row.
    pub fn payload(&self, row: u32) -> Option<&[u8]> {
        self.text(row, 1)
    }

    /// The rows whose payload is as wanted; deleted ones are not asked.
    pub fn select(&self, wanted: impl Fn(&[u8]) -> bool + Sync) -> Bits {
        let alive = |row: &u32| !self.deleted.contains(*row);
        let rows: Vec<u32> = (0..self.rows)
            .into_par_iter()
            .filter(|row| alive(row) && self.payload(*row).is_some_and(&wanted))
            .collect();
        Bits::of(rows)
    }

    /// The `k` vectors most like each query, the best first; equal ones in the order in which they were
    /// added.
    pub fn search(&self, queries: &[f32], ask: &Ask) -> Result<Vec<Vec<Hit>>> {
        let settings = self.settings();
        let queries = check_vectors(queries, settings, "query")?;
        if ask.rescore.is_some() && !settings.kinds().float {
            let message =
                "has no numbers in f32 to rescore with; make it with --keep-f32, or search without --rescore";
            return Err(Error::index(&self.dir, message));
        }
        self.check_scanned()?;
        let allowed = Allowed { only: ask.only, without: Some(&self.deleted) };
        let parts = self.parts()?;
        let rescore = ask.rescore.filter(|_| settings.scan != Scan::F32);
        let candidates = ask.k.saturating_mul(rescore.unwrap_or(1)).max(ask.k);
        let mut found = exact::search(&parts, settings.width, &queries, candidates, allowed);
        if rescore.is_some() {
            let each = found.par_iter_mut().zip(queries.par_chunks_exact(settings.width));
            each.try_for_each(|(hits, query)| self.rescore(hits, query, ask.k))?;
        }
        Ok(found)
    }

    /// Scores anew in f32 and keeps the best `k`.
    fn rescore(&self, hits: &mut Vec<Hit>, query: &[f32], k: usize) -> Result<()> {
        hits.sort_unstable_by_key(|hit| hit.row);
        let (mut places, mut scores) = (Vec::new(), Vec::new());
        for group in hits.chunk_by_mut(|a, b| self.frame_of(a.row) == self.frame_of(b.row)) {
            let Some(frame) = self.frame_of(group[0].row).and_then(|i| self.frames.get(i)) else { continue };
            places.clear();
            places.extend(group.iter().map(|hit| hit.row - frame.header.first));
            scores.clear();
            scores.resize(places.len(), 0.0);
            float::products_at(self.numbers(frame, &frame.layout.float)?, &places, query, &mut scores);
            group.iter_mut().zip(&scores).for_each(|(hit, score)| hit.score = score + 0.0);
        }
        hits.sort_unstable_by(Hit::order);
        hits.truncate(k);
        Ok(())
    }

    fn parts(&self) -> Result<Vec<Part<'_>>> {
        let part = |frame: &'_ Frame| -> Result<Part<'_>> {
            let layout = &frame.layout;
            let vectors = match self.settings().scan {
                Scan::F32 => Vectors::Float(self.numbers(frame, &layout.float)?),
                Scan::Int8 => {
                    Vectors::Int8(self.numbers(frame, &layout.int8)?, self.numbers(frame, &layout.scales)?)
                }
                Scan::Binary => Vectors::Bits(self.numbers(frame, &layout.bits)?),
            };
            Ok(Part { first: frame.header.first, rows: frame.header.rows as usize, vectors })
        };
        self.frames.iter().filter(|frame| frame.header.rows > 0).map(part).collect()
    }

    /// Which frame holds a row.
    fn frame_of(&self, row: u32) -> Option<usize> {
        let after = self.frames.partition_point(|frame| frame.header.first <= row);
        // Frames of deletions alone share their first row with the next one.
        (0..after).rev().find(|&i| self.frames[i].header.rows > 0).filter(|_| row < self.rows)
    }

    fn bytes_of(&self, frame: &Frame, section: &Range<usize>) -> &[u8] {
        &self.map.bytes()[frame.start + section.start..frame.start + section.end]
    }

    fn numbers<T: bytemuck::Pod>(&self, frame: &Frame, section: &Range<usize>) -> Result<&[T]> {
        bytemuck::try_cast_slice(self.bytes_of(frame, section))
            .map_err(|e| Error::index(&self.dir, format!("a section cannot be read in place: {e}")))
    }

    /// Text 0 of a row is its id, text 1 its payload.
    fn text(&self, row: u32, which: usize) -> Option<&[u8]> {
        let frame = &self.frames[self.frame_of(row)?];
        let ends: &[u32] = self.numbers(frame, &frame.layout.ends).ok()?;
        let at = 2 * (row - frame.header.first) as usize + which;
        let start = if at == 0 { 0 } else { *ends.get(at - 1)? as usize };
        self.bytes_of(frame, &frame.layout.text).get(start..*ends.get(at)? as usize)
    }

    /// Checks once what searches look through.
    fn check_scanned(&self) -> Result<()> {
        if self.checked.get().is_none() {
            self.check_frames(self.settings().scan == Scan::F32)?;
            let _ = self.checked.set(());
        }
        Ok(())
    }

    /// Reads every byte and compares it with the checksums.
    pub fn check(&self) -> Result<()> {
        self.check_frames(true)
    }

    fn check_frames(&self, float: bool) -> Result<()> {
        let broken = self.frames.par_iter().find_first(|frame| {
            let bytes = &self.map.bytes()[frame.start..frame.start + frame.layout.total];
            !frame.header.is_whole(bytes, &frame.layout, float)
        });
        match broken {
            None => Ok(()),
            Some(frame) => Err(open::damaged(&self.dir.join(&self.manifest.rows), frame.start)),
        }
    }
}

/// Vectors of the right length with finite numbers, scaled as the metric wants.
fn check_vectors(vectors: &[f32], settings: &Settings, what: &str) -> Result<Vec<f32>> {
    let width = settings.width;
    if !vectors.len().is_multiple_of(width) {
        return Err(Error::Input(format!(
            "{} numbers are no whole vectors: this index has vectors of {width}; is it of another model?",
            vectors.len()
        )));
    }
    if let Some(at) = vectors.iter().position(|x| !x.is_finite()) {
        return Err(Error::Input(format!(
            "{what} {}: number {} is not finite",
            at / width + 1,
            at % width + 1
        )));
    }
    let mut vectors = vectors.to_vec();
    if settings.metric == Metric::Cosine {
        vectors.chunks_exact_mut(width).for_each(codes::normalize);
    }
    Ok(vectors)
}

/// Whether a folder holds an index.
pub fn is_index(dir: &Path) -> bool {
    dir.join(settings::MANIFEST).is_file()
}

#[cfg(test)]
mod tests;

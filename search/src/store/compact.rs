//! Compaction: the living rows in a new file, which takes the place of the old one by the manifest's
//! renaming. A kill before it leaves the old file, one after it the new one.

use std::fs::{File, OpenOptions};
use std::io::Write;

use bert4rs_kernels::nearest::{bits, int8};

use super::frame::Rows;
use super::settings::sync_folder;
use super::writer::{FRAME, number, remove_others, rows_file};
use super::{Index, Writer};
use crate::{Error, Result, codes};

impl Writer {
    /// Writes the rows that are not deleted into a new file; gives how many bytes were freed.
    pub fn compact(&mut self) -> Result<usize> {
        let index = &self.index;
        index.check()?;
        let before = index.bytes();
        let old = index.manifest.rows.strip_prefix("rows-").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        let name = rows_file(old + 1);
        let path = index.dir.join(&name);
        let failed = |e: std::io::Error| Error::file(&path, format!("cannot be written: {e}"));
        let mut file = File::create(&path).map_err(failed)?;
        let alive: Vec<u32> = (0..index.rows).filter(|row| !index.deleted.contains(*row)).collect();
        let (mut first, mut length) = (0, 0);
        let settings = index.settings();
        for rows in alive.chunks(FRAME) {
            let frame = index.copy(rows)?.encode(settings.width, settings.kinds(), first, &[]);
            let frame = frame.ok_or_else(|| Error::index(&path, "a frame is too large"))?;
            file.write_all(&frame).map_err(failed)?;
            first += rows.len() as u32;
            length += frame.len();
        }
        file.sync_all().map_err(failed)?;
        sync_folder(&index.dir).map_err(failed)?;
        let mut manifest = index.manifest.clone();
        (manifest.rows, manifest.sealed) = (name, length as u64);
        manifest.write(&index.dir)?;
        self.file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        self.index = Index::open(&self.index.dir)?;
        self.ids = number(&self.index)?;
        remove_others(&self.index.dir, &self.index.manifest.rows)?;
        Ok(before.saturating_sub(self.index.bytes()))
    }
}

impl Index {
    /// Rows as they were added: nothing is rounded a second time.
    fn copy(&self, rows: &[u32]) -> Result<Rows> {
        let (width, kinds) = (self.settings().width, self.settings().kinds());
        let mut out = Rows { count: rows.len(), ..Rows::default() };
        for &row in rows {
            let lost = || Error::index(&self.dir, format!("row {row} is not there"));
            let frame = &self.frames[self.frame_of(row).ok_or_else(lost)?];
            let at = (row - frame.header.first) as usize;
            if kinds.float {
                let all: &[f32] = self.numbers(frame, &frame.layout.float)?;
                out.float.extend_from_slice(&all[at * width..][..width]);
            }
            if kinds.int8 {
                let all: &[i8] = self.numbers(frame, &frame.layout.int8)?;
                let scales: &[f32] = self.numbers(frame, &frame.layout.scales)?;
                out.int8.extend((0..width).map(|i| all[int8::place(at, i, width)]));
                out.scales.push(scales[at]);
            }
            if kinds.bits {
                let all: &[u64] = self.numbers(frame, &frame.layout.bits)?;
                let words = codes::words(width);
                out.bits.extend((0..words).map(|w| all[bits::place(at, w, words)]));
            }
            let (id, payload) = (self.id(row).ok_or_else(lost)?, self.payload(row).ok_or_else(lost)?);
            if !out.push_text(id, payload) {
                return Err(Error::index(&self.dir, "ids and payloads of a frame are longer than 4 GiB"));
            }
        }
        Ok(out)
    }
}

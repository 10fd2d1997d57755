//! Brings the rows of a tile in, mapped or read, panel by panel, and checks chunk hashes on the way.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::check::Check;
use super::probe::Way;
use super::rows::{Part, Rows};
use super::tiles::Tile;
use crate::error::Result;

/// Bytes that are fetched from the disk ahead of a scan.
const AHEAD: usize = 64 << 20;

/// What one worker needs to read rows; made by [`Rows::reader`].
#[derive(Debug)]
pub struct Reader {
    way: Way,
    buffer: Vec<u8>,
    check: Check,
}

/// Bytes of one shard's tensor: the shard's number, their place in the tensor, and themselves.
type Segment<'a> = (usize, usize, &'a [u8]);

/// The part of a buffer that is not yet filled.
struct Free<'a>(&'a mut [u8]);

impl<'a> Free<'a> {
    fn take(&mut self, bytes: usize) -> &'a mut [u8] {
        let (now, later) = std::mem::take(&mut self.0).split_at_mut(bytes);
        self.0 = later;
        now
    }
}

impl Rows {
    /// A reader that maps unless reading is asked for or safer.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { way: self.probe.settled(), buffer: Vec::new(), check: Check::default() }
    }

    /// Rows of a panel that stays in the second cache level.
    #[must_use]
    pub fn panel_rows(&self) -> usize {
        ((512 << 10) / self.row_bytes().max(1)).clamp(16, 1 << 14)
    }

    /// Call `work` for each panel of a tile, then hash the panel where chunks are to be checked.
    ///
    /// `work` gets the rows of the tile up to the end of the panel, and the panel, counted from the
    /// first row of the tile. The kernel comes first: it reads ahead, and the hash finds the bytes
    /// in the cache.
    pub fn scan(
        &self,
        tile: &Tile,
        reader: &mut Reader,
        panel_rows: usize,
        mut work: impl FnMut(Range<usize>, &[&[u8]]) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        reader.way = self.probe.pick();
        let Reader { way, buffer, check } = reader;
        let mapped = self.is_mapped(*way, &tile.rows);
        let wanted = if mapped { 0 } else { tile.rows.len() * self.row_bytes() };
        buffer.resize(wanted.max(buffer.len()), 0);
        let mut free = Free(&mut buffer[..wanted]);
        let mut rows = Vec::with_capacity(tile.rows.len());
        for panel in panels(&tile.rows, panel_rows) {
            let segments = self.bring(&panel, &mut free)?;
            for (_, _, bytes) in &segments {
                self.split(bytes, &mut rows);
            }
            rows.resize(panel.end - tile.rows.start, &[][..]);
            work(panel.start - tile.rows.start..panel.end - tile.rows.start, &rows)?;
            for (part, offset, bytes) in segments {
                check.feed(self, part, offset, bytes)?;
            }
        }
        if tile.ends_run {
            check.finish(self, *way)?;
        }
        if mapped {
            self.release(&tile.rows);
        }
        let (bytes, taken) = (tile.rows.len() * self.row_bytes(), start.elapsed());
        self.probe.report(*way, bytes, taken);
        if taken.as_nanos() * 2 > bytes as u128 {
            self.ask_ahead(tile.rows.end);
        }
        Ok(())
    }

    /// The bytes of each row of `range`, valid until the reader is used again; nothing is checked.
    pub fn read<'a>(
        &'a self,
        range: &Range<usize>,
        reader: &'a mut Reader,
    ) -> Result<Vec<&'a [u8]>> {
        let mapped = self.is_mapped(reader.way, range);
        reader.buffer.resize(if mapped { 0 } else { range.len() * self.row_bytes() }, 0);
        let mut rows = Vec::with_capacity(range.len());
        for (_, _, bytes) in self.bring(range, &mut Free(&mut reader.buffer[..]))? {
            self.split(bytes, &mut rows);
        }
        rows.resize(range.len(), &[][..]);
        Ok(rows)
    }

    /// Run through all rows in order, mapped or read.
    pub fn each_panel(
        &self,
        range: &Range<usize>,
        panel_rows: usize,
        reader: &mut Reader,
        mut work: impl FnMut(Range<usize>, &[&[u8]]) -> Result<()>,
    ) -> Result<()> {
        for panel in panels(range, panel_rows) {
            let rows = self.read(&panel, reader)?;
            work(panel, &rows)?;
        }
        Ok(())
    }

    /// Whether all rows of `range` come from mapped memory.
    fn is_mapped(&self, way: Way, range: &Range<usize>) -> bool {
        way == Way::Map
            && self.overlapping(range).all(|(index, _)| self.parts[index].shard.mapping().is_some())
    }

    /// The bytes of `range` from the mappings, or read into the front of `free` where there is any.
    fn bring<'a>(&'a self, range: &Range<usize>, free: &mut Free<'a>) -> Result<Vec<Segment<'a>>> {
        let size = self.row_bytes();
        let mut segments = Vec::new();
        for (index, local) in self.overlapping(range) {
            let part = &self.parts[index];
            let bytes = local.start * size..local.end * size;
            let data = if free.0.is_empty() {
                part.mapped(&bytes).unwrap_or_default()
            } else {
                let now = free.take(bytes.len());
                part.shard.read_at(part.begin + bytes.start as u64, now)?;
                &*now
            };
            segments.push((index, bytes.start, data));
        }
        Ok(segments)
    }

    fn split<'a>(&self, bytes: &'a [u8], rows: &mut Vec<&'a [u8]>) {
        if self.row_bytes() > 0 {
            rows.extend(bytes.chunks_exact(self.row_bytes()));
        }
    }

    /// Have the bytes after row `row` fetched while the tiles before them are waited for.
    ///
    /// Done where a tile took longer than half a nanosecond per byte, so that the page cache seems not
    /// to hold it; where it does, asking would cost time.
    fn ask_ahead(&self, row: usize) {
        let size = self.row_bytes().max(1);
        let wanted = (row + AHEAD / size).min(self.n_rows());
        let asked = self.asked.fetch_max(wanted, Ordering::Relaxed).max(row);
        for (index, local) in self.overlapping(&(asked..wanted.max(asked))) {
            let part = &self.parts[index];
            if let Some(mapping) = part.shard.mapping() {
                let begin = part.begin as usize;
                mapping.will_need(begin + local.start * size, begin + local.end * size);
            }
        }
    }

    /// Give the mapped pages of the rows a while before the end of `range` back.
    fn release(&self, range: &Range<usize>) {
        let size = self.row_bytes();
        for (index, local) in self.overlapping(range) {
            let part = &self.parts[index];
            if let Some(mapping) = part.shard.mapping() {
                let begin = part.begin as usize;
                let last = local.end == part.rows.len();
                mapping.release(begin + local.start * size, begin + local.end * size, last);
            }
        }
    }
}

impl Part {
    /// These bytes of the tensor as mapped memory.
    pub(super) fn mapped(&self, bytes: &Range<usize>) -> Option<&[u8]> {
        let mapping = self.shard.mapping()?;
        let (begin, end) = (self.begin as usize + bytes.start, self.begin as usize + bytes.end);
        Some(&mapping.bytes()[begin..end])
    }
}

/// Cut a range into pieces of `step` rows.
pub(crate) fn panels(range: &Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    let step = step.max(1);
    range.clone().step_by(step).map(move |begin| begin..begin.saturating_add(step).min(end))
}

//! Compares recorded chunk hashes with the bytes that pass by.
//!
//! A worker hashes the chunks that begin in its run of tiles, piece by piece as the tiles come; where
//! the last one reaches into the next run, the rest of it is looked at once more.

use std::hash::Hasher;
use std::ops::Range;

use twox_hash::XxHash3_64;

use super::probe::Way;
use super::rows::{Part, Rows};
use crate::error::{Error, Result};
use crate::shard::hash::{CHUNK, chunk_hex};

/// The chunk that is being hashed, if any.
#[derive(Debug, Default)]
pub(super) struct Check {
    current: Option<Current>,
    buffer: Vec<u8>,
}

struct Current {
    part: usize,
    chunk: usize,
    /// First byte of the tensor that is not yet hashed.
    at: usize,
    hasher: XxHash3_64,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "chunk {} of part {} at {}", self.chunk, self.part, self.at)
    }
}

impl Check {
    /// Hash `bytes`, which lie at `offset` of the tensor in shard `part`, as far as they belong to
    /// chunks that began under this check.
    pub(super) fn feed(
        &mut self,
        rows: &Rows,
        part: usize,
        offset: usize,
        bytes: &[u8],
    ) -> Result<()> {
        if rows.parts[part].chunks.is_none() {
            return Ok(());
        }
        let mut at = offset;
        while at < offset + bytes.len() {
            let chunk = at / CHUNK;
            let end = ((chunk + 1) * CHUNK).min(offset + bytes.len());
            if at == chunk * CHUNK {
                self.current = Some(Current { part, chunk, at, hasher: XxHash3_64::new() });
            }
            if let Some(current) = &mut self.current
                && (current.part, current.at) == (part, at)
            {
                current.hasher.write(&bytes[at - offset..end - offset]);
                current.at = end;
                self.compare_whole(rows)?;
            }
            at = end;
        }
        Ok(())
    }

    /// End a run: hash the rest of the chunk that reaches beyond it.
    pub(super) fn finish(&mut self, rows: &Rows, way: Way) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let part = &rows.parts[current.part];
        let rest = current.at..rows.chunk(part, current.chunk).end;
        let buffer = &mut self.buffer;
        current.hasher.write(part.bytes(&rest, way, buffer)?);
        current.at = rest.end;
        self.compare_whole(rows)
    }

    /// Compare the current chunk once all of it is hashed.
    fn compare_whole(&mut self, rows: &Rows) -> Result<()> {
        match self.current.take() {
            Some(current)
                if current.at == rows.chunk(&rows.parts[current.part], current.chunk).end =>
            {
                rows.compare(&rows.parts[current.part], current.chunk, current.hasher.finish())
            }
            unfinished => {
                self.current = unfinished;
                Ok(())
            }
        }
    }
}

impl Part {
    fn bytes<'a>(
        &'a self,
        bytes: &Range<usize>,
        way: Way,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        if way == Way::Map
            && let Some(mapped) = self.mapped(bytes)
        {
            return Ok(mapped);
        }
        buffer.resize(bytes.len(), 0);
        self.shard.read_at(self.begin + bytes.start as u64, buffer)?;
        Ok(buffer)
    }
}

impl Rows {
    /// Compare every recorded chunk that holds a byte of `range`, now.
    ///
    /// Called before a value is blamed: damage is the better explanation.
    pub fn check_now(&self, range: &Range<usize>) -> Result<()> {
        let (way, mut buffer) = (self.probe.settled(), Vec::new());
        for (index, local) in self.overlapping(range) {
            let part = &self.parts[index];
            let Some(chunks) = &part.chunks else { continue };
            let bytes = local.start * self.row_bytes()..local.end * self.row_bytes();
            for chunk in bytes.start / CHUNK..bytes.end.div_ceil(CHUNK).min(chunks.len()) {
                let data = part.bytes(&self.chunk(part, chunk), way, &mut buffer)?;
                self.compare(part, chunk, XxHash3_64::oneshot(data))?;
            }
        }
        Ok(())
    }

    /// Bytes of a chunk within the tensor of a shard.
    fn chunk(&self, part: &Part, chunk: usize) -> Range<usize> {
        chunk * CHUNK..((chunk + 1) * CHUNK).min(part.rows.len() * self.row_bytes())
    }

    fn compare(&self, part: &Part, chunk: usize, found: u64) -> Result<()> {
        let found = chunk_hex(found);
        let recorded = part.chunks.as_ref().and_then(|chunks| chunks.get(chunk));
        let Some(recorded) = recorded.filter(|recorded| !found.eq_ignore_ascii_case(recorded))
        else {
            return Ok(());
        };
        part.shard.check_unchanged()?;
        Err(Error::artifact(format!(
            "{}: tensor {:?} is damaged in chunk {chunk}: xxh3 {found}, recorded {recorded}",
            part.shard.path().display(),
            self.tensor()
        ))
        .hint("restore the shard from a copy or capture the store again"))
    }
}

//! The rows of one tensor over all its shards, mapped or read, with chunk hashes checked in passing.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use super::probe::{Probe, Way};
use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::shard::Shard;
use crate::shard::hash::{CHUNK, chunk_hash};
use crate::shard::header::TensorInfo;
use crate::shard::map::Mapping;

/// How bytes come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Whatever suits the file system and the state of the page cache.
    Auto,
    /// Mapped memory.
    Mmap,
    /// Positional reads.
    Pread,
}

impl Io {
    /// Parse `auto`, `mmap` or `pread`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "mmap" => Ok(Self::Mmap),
            "pread" => Ok(Self::Pread),
            _ => Err(Error::usage(format!("io is {name:?}, it must be auto, mmap or pread"))),
        }
    }
}

/// Tensors of fewer bytes are mapped without a probe.
const PROBED: usize = 256 << 20;

/// Rows of one tensor, counted over all shards.
#[derive(Debug)]
pub struct Rows {
    tensor: String,
    parts: Vec<Part>,
    dtype: Float,
    width: usize,
    total: usize,
    io: Io,
    probe: Probe,
}

#[derive(Debug)]
struct Part {
    shard: Shard,
    /// Byte of the file at which the tensor begins.
    begin: u64,
    /// Rows of this tensor over all shards that it holds.
    rows: Range<usize>,
    /// Recorded hash of each chunk, where hashes are to be checked.
    chunks: Option<Vec<String>>,
}

/// What one worker needs to read rows.
#[derive(Debug, Default)]
pub struct Reader {
    way: Way,
    rows: Vec<u8>,
    chunk: Vec<u8>,
}

impl Rows {
    /// Open `tensor` in every shard; `chunks` holds the recorded chunk hashes of each shard.
    pub fn open(
        paths: &[PathBuf],
        tensor: &str,
        io: Io,
        chunks: Option<Vec<Vec<String>>>,
    ) -> Result<Self> {
        if let Some(chunks) = &chunks
            && chunks.len() != paths.len()
        {
            return Err(Error::usage(format!(
                "chunk hashes are given for {} shards, there are {}",
                chunks.len(),
                paths.len()
            )));
        }
        let mut chunks = chunks.map(Vec::into_iter);
        let mut rows: Option<Self> = None;
        for path in paths {
            let shard = Shard::open(path)?;
            let info = shard.tensor(tensor)?.clone();
            let (dtype, n_rows, width) = matrix(&shard, &info)?;
            let all = rows.get_or_insert_with(|| Self {
                tensor: tensor.to_owned(),
                parts: Vec::new(),
                dtype,
                width,
                total: 0,
                io,
                probe: Probe::default(),
            });
            if (all.dtype, all.width) != (dtype, width) {
                return Err(Error::artifact(format!(
                    "{}: tensor {tensor:?} is {dtype:?} of width {width}, in the shards before it {:?} of width {}",
                    path.display(),
                    all.dtype,
                    all.width
                )));
            }
            all.push(shard, &info, n_rows, chunks.as_mut().and_then(Iterator::next))?;
        }
        let mut rows =
            rows.ok_or_else(|| Error::usage("no shards are given, at least one is needed"))?;
        rows.probe = rows.plan();
        Ok(rows)
    }

    /// The way of reading, or a probe of both where it is free and there is enough to gain.
    fn plan(&self) -> Probe {
        let mappable = |part: &Part| !part.shard.is_remote() && part.shard.mapping().is_some();
        let way = match self.io {
            Io::Mmap => Some(Way::Map),
            Io::Pread => Some(Way::Read),
            Io::Auto if !self.parts.iter().all(mappable) => Some(Way::Read),
            Io::Auto if self.total * self.row_bytes() < PROBED => Some(Way::Map),
            Io::Auto => None,
        };
        if way != Some(Way::Read) {
            self.each_mapped(&(0..self.total), |mapping, bytes| {
                mapping.expect_scan(bytes.start, bytes.end);
            });
        }
        way.map_or_else(Probe::default, Probe::fixed)
    }

    fn push(
        &mut self,
        shard: Shard,
        info: &TensorInfo,
        n_rows: usize,
        chunks: Option<Vec<String>>,
    ) -> Result<()> {
        let n_chunks = (info.end - info.begin).div_ceil(CHUNK as u64);
        if let Some(chunks) = &chunks
            && chunks.len() as u64 != n_chunks
        {
            return Err(Error::artifact(format!(
                "{}: tensor {:?} has {n_chunks} chunks, hashes are recorded for {}",
                shard.path().display(),
                info.name,
                chunks.len()
            )));
        }
        if self.io == Io::Mmap && shard.mapping().is_none() {
            return Err(Error::resource(format!("{} cannot be mapped", shard.path().display()))
                .hint("use io=\"pread\""));
        }
        let rows = self.total..self.total + n_rows;
        self.total = rows.end;
        self.parts.push(Part { shard, begin: info.begin, rows, chunks });
        Ok(())
    }

    /// Name of the tensor.
    #[must_use]
    pub fn tensor(&self) -> &str {
        &self.tensor
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> Float {
        self.dtype
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Fail unless rows are as wide as the columns of the argument `name`.
    pub fn expect_width(&self, width: usize, name: &str) -> Result<()> {
        if width == self.width {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{name} has {width} columns, tensor {:?} has width {}",
            self.tensor, self.width
        )))
    }

    /// Rows over all shards.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.total
    }

    /// Bytes of one row.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.width * self.dtype.size()
    }

    /// Do the work of one tile: check its chunks, run `work`, give its pages back.
    pub fn tile<T>(
        &self,
        range: &Range<usize>,
        reader: &mut Reader,
        work: impl FnOnce(&mut Reader) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        reader.way = self.probe.pick();
        self.check_chunks(range, reader)?;
        let output = work(reader)?;
        if reader.way == Way::Map {
            self.each_mapped(range, |mapping, bytes| mapping.release(bytes.start, bytes.end));
        }
        self.probe.report(reader.way, range.len() * self.row_bytes(), start.elapsed());
        Ok(output)
    }

    /// Rows that one call of `read` may take and still stay in a core's cache.
    #[must_use]
    pub fn panel_rows(&self) -> usize {
        ((1 << 20) / self.row_bytes().max(1)).clamp(16, 1 << 14)
    }

    /// The bytes of each row of `range`, valid until the reader is used again.
    pub fn read<'a>(
        &'a self,
        range: Range<usize>,
        reader: &'a mut Reader,
    ) -> Result<Vec<&'a [u8]>> {
        let size = self.row_bytes();
        if size == 0 {
            return Ok(vec![&[]; range.len()]);
        }
        let mut rows = Vec::with_capacity(range.len());
        if reader.way == Way::Map {
            self.each_mapped(&range, |mapping, bytes| {
                mapping.populate(bytes.start, bytes.end);
                rows.extend(mapping.bytes()[bytes].chunks_exact(size));
            });
            if rows.len() == range.len() {
                return Ok(rows);
            }
            rows.clear();
        }
        reader.rows.resize(range.len() * size, 0);
        let mut at = 0;
        for (part, local) in self.overlapping(&range) {
            let bytes = local.len() * size;
            let offset = part.begin + (local.start * size) as u64;
            part.shard.read_at(offset, &mut reader.rows[at..at + bytes])?;
            at += bytes;
        }
        rows.extend(reader.rows.chunks_exact(size));
        Ok(rows)
    }

    /// Call `take` with the mapping and the bytes of each shard that holds rows of `range`.
    fn each_mapped<'a>(
        &'a self,
        range: &Range<usize>,
        mut take: impl FnMut(&'a Mapping, Range<usize>),
    ) {
        let size = self.row_bytes();
        for (part, local) in self.overlapping(range) {
            if let Some(mapping) = part.shard.mapping() {
                let begin = part.begin as usize + local.start * size;
                take(mapping, begin..begin + local.len() * size);
            }
        }
    }

    /// Compare the recorded hash of every chunk that begins in the rows of `range`.
    ///
    /// Over all tiles each chunk is checked once, just before its bytes are used.
    fn check_chunks(&self, range: &Range<usize>, reader: &mut Reader) -> Result<()> {
        let size = self.row_bytes();
        for (part, local) in self.overlapping(range) {
            let Some(chunks) = &part.chunks else { continue };
            let first = (local.start * size).div_ceil(CHUNK);
            let last = (local.end * size).div_ceil(CHUNK);
            for (index, recorded) in chunks[first..last].iter().enumerate() {
                let begin = (first + index) * CHUNK;
                let end = (begin + CHUNK).min(part.rows.len() * size);
                let found = part.hash(begin..end, reader)?;
                if !found.eq_ignore_ascii_case(recorded) {
                    part.shard.check_unchanged()?;
                    return Err(self.damaged(part, first + index, &found, recorded));
                }
            }
        }
        Ok(())
    }

    fn damaged(&self, part: &Part, chunk: usize, found: &str, recorded: &str) -> Error {
        Error::artifact(format!(
            "{}: tensor {:?} is damaged in chunk {chunk}: xxh3 {found}, recorded {recorded}",
            part.shard.path().display(),
            self.tensor
        ))
        .hint("restore the shard from a copy or capture the store again")
    }

    /// Fail when a shard was truncated, changed or replaced since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.shard.check_unchanged())
    }

    /// Shards that hold rows of `range`, each with its own rows, counted within the shard.
    fn overlapping(&self, range: &Range<usize>) -> impl Iterator<Item = (&Part, Range<usize>)> {
        let range = range.clone();
        let first = self.parts.partition_point(|part| part.rows.end <= range.start);
        self.parts[first..].iter().take_while(move |part| part.rows.start < range.end).filter_map({
            let range = range.clone();
            move |part| {
                let begin = range.start.max(part.rows.start);
                let end = range.end.min(part.rows.end);
                (begin < end).then(|| (part, begin - part.rows.start..end - part.rows.start))
            }
        })
    }

    /// The error for a non-finite value, naming where it lies.
    #[must_use]
    pub fn non_finite(&self, row: usize, column: usize, value: f32) -> Error {
        let part = self.parts.iter().find(|part| part.rows.contains(&row));
        let shard = part.map_or_else(String::new, |part| {
            format!(" ({} row {})", part.shard.path().display(), row - part.rows.start)
        });
        Error::numerical(format!(
            "tensor {:?} holds {value} at row {row}, column {column}{shard}",
            self.tensor
        ))
        .hint("capture in a wider dtype, or leave this sample out")
    }
}

impl Part {
    fn hash(&self, bytes: Range<usize>, reader: &mut Reader) -> Result<String> {
        let begin = self.begin as usize + bytes.start;
        if reader.way == Way::Map
            && let Some(mapping) = self.shard.mapping()
        {
            mapping.populate(begin, begin + bytes.len());
            return Ok(chunk_hash(&mapping.bytes()[begin..begin + bytes.len()]));
        }
        reader.chunk.resize(bytes.len(), 0);
        self.shard.read_at(begin as u64, &mut reader.chunk)?;
        Ok(chunk_hash(&reader.chunk))
    }
}

/// Type, rows and columns of a floating matrix.
pub(crate) fn matrix(shard: &Shard, info: &TensorInfo) -> Result<(Float, usize, usize)> {
    let place = || format!("{}: tensor {:?}", shard.path().display(), info.name);
    let Some(dtype) = info.dtype.float() else {
        return Err(Error::artifact(format!(
            "{} is {}, kernels read BF16, F16 and F32",
            place(),
            info.dtype.name()
        )));
    };
    let [rows, width] = info.shape[..] else {
        return Err(Error::artifact(format!(
            "{} has shape {:?}, a matrix is needed",
            place(),
            info.shape
        )));
    };
    let (Ok(rows), Ok(width)) = (usize::try_from(rows), usize::try_from(width)) else {
        return Err(Error::artifact(format!(
            "{} has shape {:?}, too large for this machine",
            place(),
            info.shape
        )));
    };
    Ok((dtype, rows, width))
}

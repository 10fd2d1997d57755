//! The rows of one tensor over all its shards: what they are and where they lie.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use super::probe::{Probe, Way};
use super::tile_rows;
use super::tiles::Tiling;
use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::shard::Shard;
use crate::shard::hash::CHUNK;
use crate::shard::header::TensorInfo;

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
    pub(super) parts: Vec<Part>,
    dtype: Float,
    width: usize,
    total: usize,
    io: Io,
    pub(super) probe: Probe,
    /// Row up to which the system was asked to fetch.
    pub(super) asked: AtomicUsize,
}

/// The rows that lie in one shard.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) shard: Shard,
    /// Byte of the file at which the tensor begins.
    pub(super) begin: u64,
    /// Rows of this tensor over all shards that it holds.
    pub(super) rows: Range<usize>,
    /// Recorded hash of each chunk, where hashes are to be checked.
    pub(super) chunks: Option<Vec<String>>,
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
                asked: AtomicUsize::new(0),
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
            for part in &self.parts {
                let bytes = part.rows.len() * self.row_bytes();
                if let Some(mapping) = part.shard.mapping() {
                    mapping.expect_scan(part.begin as usize, part.begin as usize + bytes);
                }
            }
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

    /// Whether the bytes of a panel are worth keeping in a cache: they are hashed after their use, or
    /// were read into a buffer before it.
    #[must_use]
    pub fn uses_bytes_twice(&self) -> bool {
        self.io == Io::Pread || self.parts.iter().any(|part| part.chunks.is_some())
    }

    /// Cut the rows into tiles for a task with `n_groups` labels.
    ///
    /// Where chunks are checked, the tiles from the start of one chunk to that of the next are done
    /// in a row by one worker, which hashes them on the way.
    #[must_use]
    pub fn tiling(&self, n_groups: usize) -> Tiling {
        self.tiling_of(tile_rows(self.row_bytes(), n_groups))
    }

    /// Cut the rows into tiles of `tile` rows, for tensors that are walked side by side.
    #[must_use]
    pub fn tiling_of(&self, tile: usize) -> Tiling {
        let checked =
            self.parts.iter().filter_map(|part| part.chunks.as_ref().map(|chunks| (part, chunks)));
        let starts = checked.flat_map(|(part, chunks)| {
            let row = |chunk: usize| part.rows.start + chunk * CHUNK / self.row_bytes().max(1);
            (0..chunks.len()).map(move |chunk| row(chunk) / tile)
        });
        if self.parts.iter().any(|part| part.chunks.is_some()) {
            Tiling::in_runs(self.total, tile, starts)
        } else {
            Tiling::new(self.total, tile)
        }
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

    /// Fail when a shard was truncated, changed or replaced since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.shard.check_unchanged())
    }

    /// Numbers of the shards that hold rows of `range`, each with its rows counted from its first.
    pub(super) fn overlapping(
        &self,
        range: &Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>)> {
        let range = range.clone();
        let first = self.parts.partition_point(|part| part.rows.end <= range.start);
        let parts = self.parts.iter().enumerate().skip(first);
        parts
            .take_while({
                let end = range.end;
                move |(_, part)| part.rows.start < end
            })
            .filter_map(move |(index, part)| {
                let begin = range.start.max(part.rows.start);
                let end = range.end.min(part.rows.end);
                (begin < end).then(|| (index, begin - part.rows.start..end - part.rows.start))
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

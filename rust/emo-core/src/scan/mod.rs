//! Walks the rows of one tensor over all its shards, in fixed tiles, with a fixed merge order.
//!
//! Rows are counted over all shards and cut into tiles whose size follows from the tensor and the
//! task alone; a tile may straddle shards. Workers take tiles in order, partial results are merged
//! in tile order. So threads, shard splits and the way of reading never change a bit.

mod check;
pub mod pool;
mod probe;
pub mod reader;
pub mod rows;
pub mod tiles;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::kernels::simd::Tier;
pub use reader::Reader;
pub use rows::{Io, Rows};
pub use tiles::{Tile, Tiling, ordered};

/// How a scan runs: its number of threads, its instructions and the flag that stops it.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// Workers, at least 1.
    pub threads: usize,
    /// Instructions of the kernels.
    pub tier: Tier,
    /// Polled by the workers; set it to stop the scan within milliseconds.
    pub cancel: &'a AtomicBool,
}

impl<'a> Control<'a> {
    /// Settle the number of threads (0: by the environment) and the instructions.
    pub fn new(threads: usize, cancel: &'a AtomicBool) -> Result<Self> {
        Ok(Self { threads: pool::thread_count(threads)?, tier: Tier::current()?, cancel })
    }
}

/// Fail when the caller asked to stop.
pub fn check_cancel(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) { Err(Error::interrupted()) } else { Ok(()) }
}

/// Rows of a tile: about 2 MiB, but enough rows for each of `n_groups` labels to be worth merging.
///
/// ```
/// assert_eq!(emo_core::scan::tile_rows(6144, 1), 384);
/// assert_eq!(emo_core::scan::tile_rows(6144, 6), 768);
/// ```
#[must_use]
pub fn tile_rows(row_bytes: usize, n_groups: usize) -> usize {
    let by_bytes = (2 << 20) / row_bytes.max(1);
    by_bytes.max(128 * n_groups.min(16)).clamp(64, 1 << 14).next_multiple_of(64)
}

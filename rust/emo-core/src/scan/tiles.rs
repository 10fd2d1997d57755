//! Hands tiles to workers in order and merges their results in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Control, check_cancel};
use crate::error::{Error, Result};

/// Rows cut into tiles, and tiles into runs that one worker does in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    rows: usize,
    tile: usize,
    /// First tile of each run, then the number of tiles.
    runs: Vec<usize>,
}

/// One tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Number of the tile.
    pub index: usize,
    /// Its rows, counted over all shards.
    pub rows: Range<usize>,
    /// Whether another worker may do the next one.
    pub ends_run: bool,
}

impl Tiling {
    /// Tiles of `tile` rows, each a run of its own.
    ///
    /// ```
    /// use emo_core::scan::Tiling;
    /// assert_eq!(Tiling::new(10, 4).tile(2).rows, 8..10);
    /// ```
    #[must_use]
    pub fn new(rows: usize, tile: usize) -> Self {
        Self { rows, tile, runs: (0..=rows.div_ceil(tile)).collect() }
    }

    /// The same tiles in runs that begin at the tiles `starts`, in ascending order.
    #[must_use]
    pub fn in_runs(rows: usize, tile: usize, starts: impl Iterator<Item = usize>) -> Self {
        let n_tiles = rows.div_ceil(tile);
        let mut runs: Vec<usize> =
            std::iter::once(0).chain(starts).take_while(|s| *s < n_tiles).collect();
        runs.push(n_tiles);
        runs.dedup();
        Self { rows, tile, runs }
    }

    /// Number of tiles.
    #[must_use]
    pub fn n_tiles(&self) -> usize {
        self.rows.div_ceil(self.tile)
    }

    /// The tile of this number.
    #[must_use]
    pub fn tile(&self, index: usize) -> Tile {
        let rows = index * self.tile..((index + 1) * self.tile).min(self.rows);
        Tile { index, rows, ends_run: self.runs.binary_search(&(index + 1)).is_ok() }
    }

    fn longest_run(&self) -> usize {
        self.runs.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(1)
    }
}

/// Compute a partial result for each tile and merge them in tile order.
///
/// `work(state, tile, part)` fills a part that `make_part` made and that may hold an older tile's
/// values; each worker keeps one `state`. `merge(part)` is called for tile 0, 1, 2 ... by one
/// thread at a time. When tiles fail, the error of the lowest one is returned, for any number of
/// threads. Runs on the rayon pool it is called from, with `control.threads` workers.
pub fn ordered<S, P: Send>(
    tiling: &Tiling,
    control: &Control,
    make_state: impl Fn() -> S + Sync,
    make_part: impl Fn() -> P + Sync,
    work: impl Fn(&mut S, &Tile, &mut P) -> Result<()> + Sync,
    merge: impl FnMut(&P) + Send,
) -> Result<()> {
    let workers = control.threads.clamp(1, tiling.runs.len().max(2) - 1);
    let queue = Queue {
        state: Mutex::new(State {
            next_run: 0,
            merged: 0,
            waiting: BTreeMap::new(),
            free: Vec::new(),
            merge: Some(merge),
            error: None,
        }),
        progress: Condvar::new(),
        tiling,
        limit: 2 * workers * tiling.longest_run(),
    };
    let tile = |state: &mut Option<S>, index: usize| {
        check_cancel(control.cancel)?;
        let mut part = queue.lock().free.pop().unwrap_or_else(&make_part);
        work(state.get_or_insert_with(&make_state), &tiling.tile(index), &mut part)?;
        queue.give(index, part);
        Ok(())
    };
    let worker = || {
        let mut state = None;
        while let Some(run) = queue.take() {
            for index in run {
                let outcome = catch_unwind(AssertUnwindSafe(|| tile(&mut state, index)));
                if let Err(error) = outcome.unwrap_or_else(|panic| Err(panic_error(&*panic))) {
                    return queue.fail(index, error);
                }
            }
        }
    };
    rayon::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|_| worker());
        }
        worker();
    });
    match queue.lock().error.take() {
        Some((_, error)) => Err(error),
        None => check_cancel(control.cancel),
    }
}

/// What a caught panic said, as an error.
pub(crate) fn panic_error(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into());
    Error::internal(text)
}

struct Queue<'a, P, M> {
    state: Mutex<State<P, M>>,
    progress: Condvar,
    tiling: &'a Tiling,
    /// Most tiles between the lowest one that is not merged and the next one to hand out.
    limit: usize,
}

struct State<P, M> {
    next_run: usize,
    merged: usize,
    waiting: BTreeMap<usize, P>,
    free: Vec<P>,
    /// Absent while a worker merges.
    merge: Option<M>,
    error: Option<(usize, Error)>,
}

impl<P, M: FnMut(&P)> Queue<'_, P, M> {
    fn lock(&self) -> MutexGuard<'_, State<P, M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next run of tiles, or `None` when there is nothing left to do.
    ///
    /// Waits where the run is too far ahead: the lowest tile is being computed, so it will come.
    fn take(&self) -> Option<Range<usize>> {
        let mut state = self.lock();
        loop {
            let run = self.tiling.runs.get(state.next_run..state.next_run + 2)?;
            if state.error.is_some() {
                return None;
            }
            if run[0] - state.merged < self.limit {
                state.next_run += 1;
                return Some(run[0]..run[1]);
            }
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give(&self, tile: usize, part: P) {
        let mut state = self.lock();
        state.waiting.insert(tile, part);
        self.merge_ready(state);
        self.progress.notify_all();
    }

    /// Keep the error of the lowest tile; no further run is handed out.
    fn fail(&self, tile: usize, error: Error) {
        let mut state = self.lock();
        if state.error.as_ref().is_none_or(|(lowest, _)| tile < *lowest) {
            state.error = Some((tile, error));
        }
        drop(state);
        self.progress.notify_all();
    }

    fn merge_ready<'a>(&'a self, mut state: MutexGuard<'a, State<P, M>>) {
        let Some(mut merge) = state.merge.take() else { return };
        loop {
            let lowest = state.merged;
            let Some(part) = state.waiting.remove(&lowest) else { break };
            drop(state);
            merge(&part);
            state = self.lock();
            state.merged += 1;
            state.free.push(part);
            self.progress.notify_all();
        }
        state.merge = Some(merge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::kernels::simd::Tier;
    use crate::scan::pool;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    fn in_pool(
        threads: usize,
        n_tiles: usize,
        fail: impl Fn(usize) -> Result<()> + Sync,
    ) -> Result<Vec<usize>> {
        let cancel = AtomicBool::new(false);
        let control = Control { threads, tier: Tier::SCALAR, cancel: &cancel };
        let task = || {
            let mut seen = Vec::new();
            ordered(
                &Tiling::in_runs(n_tiles, 1, (0..n_tiles).filter(|tile| tile % 4 != 2)),
                &control,
                || (),
                || 0,
                |(), tile, part| {
                    std::thread::sleep(Duration::from_micros((tile.index as u64 * 7919) % 300));
                    *part = tile.index;
                    fail(tile.index)
                },
                |part| seen.push(*part),
            )?;
            Ok(seen)
        };
        pool::run(threads, task, || ())?
    }

    #[test]
    fn tiles_cover_all_rows_and_know_where_runs_end() {
        let tiling = Tiling::in_runs(10, 3, [0, 0, 2, 2, 9].into_iter());
        let tiles: Vec<Tile> = (0..tiling.n_tiles()).map(|index| tiling.tile(index)).collect();
        assert_eq!(
            tiles.iter().flat_map(|tile| tile.rows.clone()).collect::<Vec<_>>(),
            (0..10).collect::<Vec<_>>()
        );
        assert_eq!(
            tiles.iter().map(|tile| tile.ends_run).collect::<Vec<_>>(),
            [false, true, false, true]
        );
        assert_eq!(Tiling::new(0, 3).n_tiles(), 0);
    }

    #[test]
    fn merges_in_order() {
        for threads in [1, 2, 5] {
            let seen = in_pool(threads, 100, |_| Ok(())).unwrap();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
        }
        assert!(in_pool(2, 0, |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn the_lowest_error_wins() {
        for threads in [1, 4] {
            let fail = |tile| match tile {
                20.. => Err(Error::numerical(format!("tile {tile}"))),
                _ => Ok(()),
            };
            assert_eq!(in_pool(threads, 100, fail).unwrap_err().to_string(), "tile 20");
        }
    }

    #[test]
    fn panics_become_errors() {
        let error = in_pool(3, 50, |tile| if tile == 7 { panic!("tile {tile}") } else { Ok(()) });
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Internal, "tile 7"));
    }

    #[test]
    fn cancelling_stops() {
        let cancel = AtomicBool::new(true);
        let control = Control { threads: 2, tier: Tier::SCALAR, cancel: &cancel };
        let task =
            || ordered(&Tiling::new(9, 1), &control, || (), || (), |(), _, ()| Ok(()), |()| ());
        let error = pool::run(2, task, || ()).unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Interrupted);
    }
}

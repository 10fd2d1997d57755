//! Hands tiles to workers in order and merges their results in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Control, check_cancel};
use crate::error::{Error, Result};

/// Compute `n_tiles` partial results and merge them in tile order.
///
/// `work(state, tile, part)` fills a part that `make_part` made and that may hold an older tile's
/// values; each worker keeps one `state`. `merge(part)` is called for tile 0, 1, 2 ... by one
/// thread at a time. When tiles fail, the error of the lowest one is returned, for any number of
/// threads. Runs on the rayon pool it is called from, with `control.threads` workers.
pub fn ordered<S, P: Send>(
    n_tiles: usize,
    control: &Control,
    make_state: impl Fn() -> S + Sync,
    make_part: impl Fn() -> P + Sync,
    work: impl Fn(&mut S, usize, &mut P) -> Result<()> + Sync,
    merge: impl FnMut(&P) + Send,
) -> Result<()> {
    let workers = control.threads.clamp(1, n_tiles.max(1));
    let queue = Queue {
        state: Mutex::new(State {
            next: 0,
            merged: 0,
            waiting: BTreeMap::new(),
            free: Vec::new(),
            made: 0,
            merge: Some(merge),
            error: None,
        }),
        progress: Condvar::new(),
        n_tiles,
        limit: 2 * workers + 1,
    };
    let worker = || {
        let mut state = None;
        while let Some((tile, part)) = queue.take() {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                check_cancel(control.cancel)?;
                let mut part = part.unwrap_or_else(&make_part);
                work(state.get_or_insert_with(&make_state), tile, &mut part)?;
                Ok(part)
            }));
            queue.give(tile, outcome.unwrap_or_else(|panic| Err(panic_error(&*panic))));
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

struct Queue<P, M> {
    state: Mutex<State<P, M>>,
    progress: Condvar,
    n_tiles: usize,
    limit: usize,
}

struct State<P, M> {
    next: usize,
    merged: usize,
    waiting: BTreeMap<usize, P>,
    free: Vec<P>,
    made: usize,
    /// Absent while a worker merges.
    merge: Option<M>,
    error: Option<(usize, Error)>,
}

impl<P, M: FnMut(&P)> Queue<P, M> {
    fn lock(&self) -> MutexGuard<'_, State<P, M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next tile with a part to fill, or `None` when there is nothing left to do.
    ///
    /// Waits while `limit` parts are out: the lowest of them is being computed, so it will come.
    fn take(&self) -> Option<(usize, Option<P>)> {
        let mut state = self.lock();
        loop {
            if state.error.is_some() || state.next == self.n_tiles {
                return None;
            }
            let part = state.free.pop();
            if part.is_some() || state.made < self.limit {
                state.made += usize::from(part.is_none());
                state.next += 1;
                return Some((state.next - 1, part));
            }
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give(&self, tile: usize, outcome: Result<P>) {
        let mut state = self.lock();
        match outcome {
            Ok(part) => {
                state.waiting.insert(tile, part);
                self.merge_ready(state);
            }
            Err(error) => {
                if state.error.as_ref().is_none_or(|(lowest, _)| tile < *lowest) {
                    state.error = Some((tile, error));
                }
            }
        }
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
        let control = Control { threads, tier: Tier::Scalar, cancel: &cancel };
        let task = || {
            let mut seen = Vec::new();
            ordered(
                n_tiles,
                &control,
                || (),
                || 0,
                |(), tile, part| {
                    std::thread::sleep(Duration::from_micros((tile as u64 * 7919) % 300));
                    *part = tile;
                    fail(tile)
                },
                |part| seen.push(*part),
            )?;
            Ok(seen)
        };
        pool::run(threads, task, || ())?
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
        let control = Control { threads: 2, tier: Tier::Scalar, cancel: &cancel };
        let task = || ordered(9, &control, || (), || (), |(), _, ()| Ok(()), |()| ());
        let error = pool::run(2, task, || ()).unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Interrupted);
    }
}

//! One private thread pool, made when first needed and made anew after a fork.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::kernels::simd::reset_rounding;

/// Most threads a pool is given.
pub const MAX_THREADS: usize = 512;

struct Pool {
    process: u32,
    threads: usize,
    workers: ThreadPool,
}

static CURRENT: ArcSwapOption<Pool> = ArcSwapOption::const_empty();

/// Number of threads: `requested`, or if 0 `EMO_NUM_THREADS`, or what the affinity of the process
/// and the quota of its control group allow.
///
/// ```
/// assert_eq!(emo_core::scan::pool::thread_count(3)?, 3);
/// # Ok::<(), emo_core::error::Error>(())
/// ```
pub fn thread_count(requested: usize) -> Result<usize> {
    if requested > MAX_THREADS {
        return Err(Error::usage(format!(
            "{requested} threads are too many, the limit is {MAX_THREADS}"
        )));
    }
    if requested > 0 {
        return Ok(requested);
    }
    match std::env::var("EMO_NUM_THREADS") {
        Ok(text) if !text.trim().is_empty() => from_environment(&text),
        // The standard library asks for the affinity and for both versions of control groups.
        _ => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)),
    }
}

fn from_environment(text: &str) -> Result<usize> {
    match text.trim().parse() {
        Ok(count) if (1..=MAX_THREADS).contains(&count) => Ok(count),
        _ => Err(Error::usage(format!(
            "EMO_NUM_THREADS is {text:?}, it must be a number from 1 to {MAX_THREADS}"
        ))),
    }
}

/// Run `task` on a pool of `threads` threads while the calling thread runs `wait`.
///
/// `wait` should return once the task is done or must stop; this returns when both have ended.
pub fn run<T: Send>(
    threads: usize,
    task: impl FnOnce() -> T + Send,
    wait: impl FnOnce(),
) -> Result<T> {
    let current = pool(threads)?;
    let mut output = None;
    current.workers.in_place_scope(|scope| {
        let slot = &mut output;
        scope.spawn(move |_| *slot = Some(task()));
        wait();
    });
    output.ok_or_else(|| Error::internal("a task of the thread pool left no result"))
}

fn pool(threads: usize) -> Result<Arc<Pool>> {
    let process = std::process::id();
    if let Some(current) = CURRENT.load_full()
        && current.process == process
        && current.threads == threads
    {
        return Ok(current);
    }
    let workers = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("emo-{index}"))
        .start_handler(|_| reset_rounding())
        .build()
        .map_err(|error| Error::resource(format!("cannot start {threads} threads: {error}")))?;
    let made = Arc::new(Pool { process, threads, workers });
    if let Some(old) = CURRENT.swap(Some(Arc::clone(&made)))
        && old.process != process
    {
        // Its threads stayed in the parent; ending them here would wait for ghosts.
        std::mem::forget(old);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_on_as_many_threads_as_asked() {
        for threads in [1, 3, 2] {
            assert_eq!(run(threads, rayon::current_num_threads, || ()).unwrap(), threads);
        }
    }

    #[test]
    fn counts_are_checked() {
        assert!(thread_count(MAX_THREADS + 1).is_err());
        assert!(thread_count(0).unwrap() >= 1);
        assert_eq!(from_environment(" 4 ").unwrap(), 4);
        for text in ["0", "-1", "two", "100000"] {
            assert!(from_environment(text).is_err());
        }
    }
}

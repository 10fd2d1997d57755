//! Runs a task of the core with the interpreter released, ready to be interrupted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use emo_core::error::{Error, Result};
use emo_core::scan::{Control, pool};
use pyo3::prelude::*;

use crate::error::to_python;

/// Time between two looks at Python's signals.
const STEP: Duration = Duration::from_millis(20);

/// Run `task` on the private pool while this thread waits and looks at Python's signals.
///
/// A signal whose handler raises sets the flag that the workers poll, and its exception is
/// returned once they have stopped.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    threads: usize,
    task: impl FnOnce(&Control) -> Result<T> + Send,
) -> PyResult<T> {
    let cancel = AtomicBool::new(false);
    let mut interrupt = None;
    let outcome = py.detach(|| {
        let control = Control::new(threads, &cancel)?;
        let (sender, done) = channel::<()>();
        let work = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| task(&control)));
            drop(sender);
            outcome.unwrap_or_else(|_| Err(Error::internal("the native core panicked")))
        };
        pool::run(control.threads, work, || {
            while done.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                let signals = Python::attach(|py: Python<'_>| py.check_signals());
                if let Err(error) = signals {
                    interrupt = Some(error);
                    cancel.store(true, Ordering::Relaxed);
                    break;
                }
            }
        })?
    });
    match interrupt {
        Some(error) => Err(error),
        None => outcome.map_err(|error| to_python(py, &error)),
    }
}

//! The runtime that commands run in.

use crate::failure::{CommandResult, Failure, no_threads};
use std::num::NonZero;
use std::sync::mpsc::channel;
use std::thread;

/// Runs a command to its end.
pub(crate) fn in_runtime(command: impl Future<Output = CommandResult>) -> CommandResult {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    check_threads(threads + 1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = runtime.block_on(command);
    // A call of the system that hangs, on a disk that doesn't answer, must not keep the process.
    runtime.shutdown_background();
    ended
}

/// Whether there are as many threads as a runtime needs. It would panic for want of the first, and of the others leave
/// what they should do undone.
fn check_threads(count: usize) -> Result<(), Failure> {
    let mut started = Vec::with_capacity(count);
    for _ in 0..count {
        let (end, ends) = channel::<()>();
        let thread =
            thread::Builder::new().spawn(move || ends.recv().is_ok()).map_err(|error| no_threads(&error))?;
        started.push((end, thread));
    }
    for (end, thread) in started {
        drop(end);
        let _ = thread.join();
    }
    Ok(())
}

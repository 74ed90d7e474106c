//! The threads that connections are served on.

use futures_util::future::join_all;
use hyper_util::server::graceful::GracefulShutdown;
use std::io;
use std::mem;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// More threads than this would mostly contend for the locks that all deliveries take.
const MAX_THREADS: usize = 8;
/// Shorter than the deadlines that comments mostly have, and long enough to leave an idle machine alone.
const IDLE_WAKE: Duration = Duration::from_secs(1);

/// One thread a core, each with a runtime of its own. A connection stays on its thread, and so do its deliveries and
/// their connections to the channel, so that no step of a delivery has to wake another thread. (A runtime that shares
/// its work among threads spends a fifth more on each delivery.) Dropping it ends the threads and what still runs on
/// them.
#[derive(Debug)]
pub(crate) struct ConnectionThreads {
    threads: Vec<ConnectionThread>,
    next: AtomicUsize,
    _stop: DropGuard,
}

#[derive(Debug)]
pub(super) struct ConnectionThread {
    pub(super) runtime: Handle,
    /// The thread's connections. Each is polled for whether it should end, so one list for all threads would have them
    /// contend for its lock.
    pub(super) connections: GracefulShutdown,
}

impl ConnectionThreads {
    /// Starts the threads: one fewer than there are cores if the ledger is a file, because the ledger's own thread
    /// is as busy as one of these.
    ///
    /// # Errors
    /// When the system gives no thread, or nothing to wait with.
    pub(crate) fn start(ledger_is_file: bool) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let count = cores.saturating_sub(usize::from(ledger_is_file)).clamp(1, MAX_THREADS);
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let mut threads = Vec::with_capacity(count);
        for number in 1..=count {
            let stop = stop.clone();
            let name = format!("connections-{number}");
            let (started, wait_for_start) = channel();
            // The runtime is made by its thread: where there is no thread, there is then no runtime to drop, which
            // would panic inside another runtime.
            thread::Builder::new().name(name).spawn(move || run(&stop, &started))?;
            let runtime = wait_for_start.recv().map_err(io::Error::other)??;
            threads.push(ConnectionThread { runtime, connections: GracefulShutdown::new() });
        }
        Ok(Self { threads, next: AtomicUsize::new(0), _stop: guard })
    }

    /// The thread for the next connection, one after the other.
    pub(super) fn next(&self) -> Option<&ConnectionThread> {
        self.threads.get(self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1))
    }

    /// Ends every connection once it has replied to what it was asked.
    pub(super) async fn close_connections(&mut self) {
        let threads = self.threads.iter_mut();
        join_all(threads.map(|thread| mem::take(&mut thread.connections).shutdown())).await;
    }
}

/// What a thread does: makes its runtime, hands it out, and drives it until the end.
fn run(stop: &CancellationToken, started: &Sender<io::Result<Handle>>) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error))),
    };
    if started.send(Ok(runtime.handle().clone())).is_ok() {
        runtime.block_on(wake_often_until(stop));
    }
}

/// Waits for the end with a timer that is always near. A sleeping runtime must be woken by a system call for each timer
/// that is earlier than all it knows of, which would be about one for each comment.
async fn wake_often_until(stop: &CancellationToken) {
    while tokio::time::timeout(IDLE_WAKE, stop.cancelled()).await.is_err() {}
}

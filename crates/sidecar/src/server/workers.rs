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

/// More than this many would only share the locks that all deliveries pass.
const MOST: usize = 8;
/// Less than comments mostly have, and rare enough to leave an idle machine alone.
const NEAR: Duration = Duration::from_secs(1);

/// One thread a core, each with a runtime of its own: a connection stays on its thread, and so do its deliveries and
/// their connections to the channel, so that nothing on a delivery's way has to wake another thread. A runtime whose
/// threads share their work spends a fifth more on each delivery. Dropping it ends the threads, and what still runs on
/// them.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: Vec<Worker>,
    turn: AtomicUsize,
    _stop: DropGuard,
}

/// One of the threads.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) runtime: Handle,
    /// Its connections, which look at each step whether they are to end. One for all threads would be one that they
    /// all wait for.
    pub(super) connections: GracefulShutdown,
}

impl Workers {
    /// One thread fewer if the ledger is a file: its own thread has as much to do as one of these, and each would wait
    /// for the other.
    ///
    /// # Errors
    /// When the system gives no thread, or nothing to wait with.
    pub(crate) fn start(ledger_is_file: bool) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let count = cores.saturating_sub(usize::from(ledger_is_file)).clamp(1, MOST);
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let mut threads = Vec::with_capacity(count);
        for number in 1..=count {
            let stop = stop.clone();
            let name = format!("connections-{number}");
            let (tell, told) = channel();
            // The thread makes its runtime itself: if there is no thread, there is no runtime to end, which no task may.
            thread::Builder::new().name(name).spawn(move || run(&stop, &tell))?;
            let runtime = told.recv().map_err(io::Error::other)??;
            threads.push(Worker { runtime, connections: GracefulShutdown::new() });
        }
        Ok(Self { threads, turn: AtomicUsize::new(0), _stop: guard })
    }

    /// The thread for the next connection, one after the other.
    pub(super) fn next(&self) -> Option<&Worker> {
        self.threads.get(self.turn.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1))
    }

    /// Ends every connection once it has answered what it was asked.
    pub(super) async fn hang_up(&mut self) {
        let threads = self.threads.iter_mut();
        join_all(threads.map(|thread| mem::take(&mut thread.connections).shutdown())).await;
    }
}

/// One of the threads: says what runtime it has, and runs it until the end.
fn run(stop: &CancellationToken, tell: &Sender<io::Result<Handle>>) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(tell.send(Err(error))),
    };
    if tell.send(Ok(runtime.handle().clone())).is_ok() {
        runtime.block_on(keep_time_until(stop));
    }
}

/// Waits for the end, with a timer that is always near. A runtime that sleeps is told of each timer that comes before
/// all that it knew of, by a call of the system, and for a comment's that would be about one each.
async fn keep_time_until(stop: &CancellationToken) {
    while tokio::time::timeout(NEAR, stop.cancelled()).await.is_err() {}
}

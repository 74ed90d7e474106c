//! The board's life: opened once, served on a listener that is handed in, drained when told to stop.

use crate::answer::Cut;
use crate::error::BoardError;
use crate::fault::{Fault, FaultPlan};
use crate::http_surface;
use crate::journal::Journal;
use crate::store::{Store, StoredComment};
use commentd_contract::SystemClock;
use commentd_contract::time::{Clock, Moment};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Most connections at a time; more wait to be accepted.
pub const MAX_CONNECTIONS: usize = 4096;
/// Most posts at a time, those included whose client has left but which will still be stored; more are
/// answered 503 and not counted.
pub const MAX_IN_FLIGHT: u64 = 4096;
/// How long a stopped board lets open connections end, in milliseconds.
pub const DRAIN_LIMIT_MS: u64 = 5000;
const HEADER_TIMEOUT_MS: u64 = 30_000;
const ACCEPT_PAUSE_MS: u64 = 50;

/// How a board is set up. The default is an honest one in memory.
#[derive(Clone, Debug, Default)]
pub struct BoardOptions {
    /// The SQLite file, created if missing; `None`: in memory.
    pub database: Option<PathBuf>,
    /// How it misbehaves.
    pub faults: FaultPlan,
    /// Any number; with the request's number it decides every draw of the plan.
    pub seed: u64,
    /// Whether a repeated idempotency key is answered with the first reply instead of storing again.
    pub deduplicate: bool,
    /// A file to which every fault is appended as it is decided on, a JSON line each: number of the request, fault,
    /// its lateness where it has one, and the texts of the comments; `None`: nowhere. For tests that judge a client
    /// by what it was up against.
    pub journal: Option<PathBuf>,
}

/// What the board has seen since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Posts of all shapes that were read in full; also the number of the latest.
    pub received: u64,
    /// Comments stored.
    pub stored: u64,
    /// Posts whose fate is still open: being delayed, held or stored late, with or without a client.
    pub in_flight: u64,
}

/// An open board. Clones share one store, one plan and one count.
#[derive(Clone, Debug)]
pub struct Board {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: SystemClock,
    faults: FaultPlan,
    seed: u64,
    deduplicate: bool,
    journal: Option<Journal>,
    counters: watch::Sender<Counters>,
}

impl Board {
    /// Checks the plan and opens the store. Blocks on the file, if one is named.
    ///
    /// # Errors
    /// [`BoardError::Plan`] for a plan out of range; the other kinds for a database that can't be used.
    pub fn open(options: BoardOptions) -> Result<Self, BoardError> {
        options.faults.check()?;
        let clock = SystemClock::start();
        let inner = Inner {
            store: Store::open(options.database.as_deref(), clock)?,
            clock,
            faults: options.faults,
            seed: options.seed,
            deduplicate: options.deduplicate,
            journal: options.journal.map(Journal::open).transpose()?,
            counters: watch::Sender::new(Counters::default()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Serves until `shutdown` resolves, then stops accepting, ends what a fault holds (held requests are cut,
    /// late ones never stored), lets the rest finish within [`DRAIN_LIMIT_MS`] and returns. Nothing is stored
    /// after it has returned. A board may be served again, on another listener.
    ///
    /// Dropping the future closes every connection at once; a store that has begun still ends.
    ///
    /// # Errors
    /// None today: a connection that can't be accepted is logged, and the next one is tried.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), BoardError> {
        let phase = watch::Sender::new(Phase::Serving);
        let (working, mut all_done) = mpsc::channel(1);
        let surface = Surface { board: self.clone(), phase: phase.subscribe(), _working: working };
        let mut connections = JoinSet::new();
        tokio::select! {
            () = shutdown => {}
            () = accept(&listener, &surface, &mut connections) => {}
        }
        drop(listener);
        drop(surface);
        phase.send_replace(Phase::Draining);
        let drained = async {
            while connections.join_next().await.is_some() {}
            all_done.recv().await;
        };
        if timeout(Duration::from_millis(DRAIN_LIMIT_MS), drained).await.is_err() {
            tracing::warn!(limit_ms = DRAIN_LIMIT_MS, "the board closes connections that did not end");
            phase.send_replace(Phase::Ended);
            connections.shutdown().await;
            all_done.recv().await;
        }
        Ok(())
    }

    /// All comments of a target, oldest first.
    ///
    /// # Errors
    /// [`BoardError::Database`] when SQLite fails; [`BoardError::Stopped`] when the runtime ends.
    pub async fn comments(&self, target: &str) -> Result<Vec<StoredComment>, BoardError> {
        Ok(self.inner.store.list(target.to_owned(), None, false, usize::MAX).await?.comments)
    }

    /// The counters as they are now.
    pub fn counters(&self) -> Counters {
        *self.inner.counters.borrow()
    }

    /// The counters as they change, to wait for a condition: `watch().wait_for(|c| c.stored == 3)`. A count
    /// of `stored` is raised only after the comment can be read.
    pub fn watch(&self) -> watch::Receiver<Counters> {
        self.inner.counters.subscribe()
    }

    pub(crate) fn now(&self) -> Moment {
        self.inner.clock.now()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn faults(&self) -> (&FaultPlan, u64) {
        (&self.inner.faults, self.inner.seed)
    }

    pub(crate) fn deduplicates(&self) -> bool {
        self.inner.deduplicate
    }

    /// Counts a post in: its number from 1, and the guard that counts it out. `None` when too many are in flight.
    pub(crate) fn begin(&self) -> Option<(u64, InFlight)> {
        let mut number = None;
        self.inner.counters.send_if_modified(|counters| {
            if counters.in_flight >= MAX_IN_FLIGHT {
                return false;
            }
            counters.received += 1;
            counters.in_flight += 1;
            number = Some(counters.received);
            true
        });
        number.map(|number| (number, InFlight { board: self.clone() }))
    }

    /// Takes down that a post with these texts meets this fault.
    pub(crate) fn note_fault(&self, number: u64, fault: &Fault, texts: &[&str]) {
        if let Some(journal) = &self.inner.journal {
            journal.note(number, fault, texts);
        }
    }

    pub(crate) fn count_stored(&self, comments: u64) {
        self.inner.counters.send_modify(|counters| counters.stored += comments);
    }
}

/// Opens a board and serves it; see [`Board::open`] and [`Board::serve`].
///
/// # Errors
/// As [`Board::open`].
pub async fn serve(
    listener: TcpListener,
    options: BoardOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BoardError> {
    Board::open(options)?.serve(listener, shutdown).await
}

/// A post that has been counted in and is counted out when this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    board: Board,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.board.inner.counters.send_modify(|counters| counters.in_flight -= 1);
    }
}

/// How far a serving board has come.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum Phase {
    Serving,
    /// No new connections; faults hold nothing any more.
    Draining,
    /// The drain took too long; nothing is started any more.
    Ended,
}

/// One serving of a board: what its handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Surface {
    pub(crate) board: Board,
    phase: watch::Receiver<Phase>,
    /// The serving ends when the last clone is gone: each piece of work holds one.
    _working: mpsc::Sender<Infallible>,
}

impl Surface {
    /// Waits. False when the serving reached `until` first, or was dropped.
    pub(crate) async fn pause(&self, pause_ms: u64, until: Phase) -> bool {
        if pause_ms == 0 {
            return *self.phase.borrow() < until;
        }
        tokio::select! {
            () = sleep(Duration::from_millis(pause_ms)) => true,
            () = self.reached(until) => false,
        }
    }

    /// Resolves when the serving has reached this phase, or was dropped.
    pub(crate) async fn reached(&self, phase: Phase) {
        // An error means that the serving is gone, which is past every phase.
        let _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }
}

async fn accept(listener: &TcpListener, surface: &Surface, connections: &mut JoinSet<()>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let router = http_surface::router(surface.clone());
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, surface) = (router.clone(), surface.clone());
                connections.spawn(async move {
                    serve_connection(stream, router, surface).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the board can't accept a connection; tries again");
                sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: axum::Router, surface: Surface) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let router = TowerToHyperService::new(router);
    // A service error is hyper's word for "close without an answer".
    let service = hyper::service::service_fn(move |request| {
        let answering = hyper::service::Service::call(&router, request);
        async move {
            match answering.await {
                Ok(response) if response.extensions().get::<Cut>().is_some() => Err(ConnectionCut),
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEADER_TIMEOUT_MS))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = surface.reached(Phase::Draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the board ended early");
    }
}

#[derive(Debug)]
struct ConnectionCut;

impl fmt::Display for ConnectionCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by the fault plan")
    }
}

impl std::error::Error for ConnectionCut {}

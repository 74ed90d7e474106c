//! A board from its start to its end: opened once, served on a listener that is handed in, drained when it is stopped.

use crate::error::BoardError;
use crate::response::Cut;
use crate::router;
use crate::serving::{Serving, ServingPhase};
use crate::state::{BoardOptions, BoardState, Counters};
use crate::store::StoredComment;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Most connections at a time; more wait to be accepted.
pub const MAX_CONNECTIONS: usize = 4096;
/// How long a stopped board lets open connections end, in milliseconds.
pub const DRAIN_LIMIT_MS: u64 = 5000;
const HEADER_TIMEOUT_MS: u64 = 30_000;
const ACCEPT_PAUSE_MS: u64 = 50;

/// An open board. Clones share one store, one plan and one count.
#[derive(Clone, Debug)]
pub struct Board {
    state: Arc<BoardState>,
}

impl Board {
    /// Checks the plan and opens the store. Blocks on the file, if one is named.
    ///
    /// # Errors
    /// [`BoardError::Plan`] for a plan out of range; the other kinds for a database that can't be used.
    pub fn open(options: BoardOptions) -> Result<Self, BoardError> {
        Ok(Self { state: Arc::new(BoardState::open(options)?) })
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
        let phase = watch::Sender::new(ServingPhase::Open);
        let (working, mut all_done) = mpsc::channel(1);
        let serving = Serving::new(Arc::clone(&self.state), phase.subscribe(), working);
        let mut connections = JoinSet::new();
        tokio::select! {
            () = shutdown => {}
            () = accept(&listener, &serving, &mut connections) => {}
        }
        drop(listener);
        drop(serving);
        phase.send_replace(ServingPhase::Draining);
        let drained = async {
            while connections.join_next().await.is_some() {}
            all_done.recv().await;
        };
        if timeout(Duration::from_millis(DRAIN_LIMIT_MS), drained).await.is_err() {
            tracing::warn!(limit_ms = DRAIN_LIMIT_MS, "the board closes connections that did not end");
            phase.send_replace(ServingPhase::Ended);
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
        Ok(self.state.store().list(target.to_owned(), None, false, usize::MAX).await?.comments)
    }

    /// The counters as they are now.
    pub fn counters(&self) -> Counters {
        *self.state.counters().borrow()
    }

    /// The counters as they change, to wait for a condition: `watch().wait_for(|c| c.stored == 3)`. A count
    /// of `stored` is raised only after the comment can be read.
    pub fn watch(&self) -> watch::Receiver<Counters> {
        self.state.counters().subscribe()
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

async fn accept(listener: &TcpListener, serving: &Serving, connections: &mut JoinSet<()>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let router = router::router(serving.clone());
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, serving) = (router.clone(), serving.clone());
                connections.spawn(async move {
                    serve_connection(stream, router, serving).await;
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

async fn serve_connection(stream: TcpStream, router: axum::Router, serving: Serving) {
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
        () = serving.reached(ServingPhase::Draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the board ended early");
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cut by the fault plan")]
struct ConnectionCut;

//! Connections, and the drain at the end. Listener and shutdown are handed in.

pub(crate) mod presence;
mod workers;

use crate::dispatch::Dispatcher;
use crate::http::Front;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use presence::{CallerStream, Presence};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub(crate) use workers::Workers;

/// A client that takes longer than this for its request's head is hung up on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// The whole drain takes at most this, closing the ledger included.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Of the drain, at least this is left for closing the ledger.
const CLOSING: Duration = Duration::from_secs(1);
/// After this much of the drain, whoever still waits is told what is known by then.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything in flight was settled and recorded.
    Settled,
    /// The limit came first; what was open is unknown at the next start.
    CutShort,
}

/// Serves until `shutdown` is ready, then stops accepting, waits for what is in flight, and closes the ledger.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Front,
    dispatcher: Dispatcher,
    mut workers: Workers,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let lanes = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &lanes) => accepted,
        };
        match accepted {
            Some((stream, lane)) => {
                if let Err(error) = spawn(stream, front.clone(), &workers, lane) {
                    tracing::warn!(%error, "a connection could not be served");
                }
            }
            None => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    drain(&dispatcher, &mut workers).await
}

/// Sees through what is in flight, and closes the ledger.
pub(crate) async fn drain(dispatcher: &Dispatcher, workers: &mut Workers) -> Drained {
    let (mut settled, mut closed) = (false, false);
    let all = async {
        let seeing_through = async {
            tokio::select! {
                () = workers.hang_up() => {}
                () = answer_late(dispatcher) => {}
            }
            dispatcher.drain().await;
        };
        settled = tokio::time::timeout(DRAIN_LIMIT.saturating_sub(CLOSING), seeing_through).await.is_ok();
        if let Err(error) = dispatcher.ledger().close().await {
            tracing::error!(%error, "the ledger could not be closed cleanly");
        }
        closed = true;
    };
    // Cut short, it says so by what is still false.
    let _ = tokio::time::timeout(DRAIN_LIMIT, all).await;
    if !closed {
        tracing::error!("the ledger's disk doesn't answer, so it is left open; what it has recorded stays");
        // Its last owner would wait for the disk.
        std::mem::forget(Arc::clone(dispatcher.ledger()));
    }
    if settled && closed { Drained::Settled } else { Drained::CutShort }
}

/// Has everybody answered when the time for it has come. Never ready: the answers end the connections.
async fn answer_late(dispatcher: &Dispatcher) {
    tokio::time::sleep(ANSWER_WITHIN).await;
    dispatcher.answer_now();
    std::future::pending().await
}

type Lane = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, lanes: &Arc<Semaphore>) -> Option<(TcpStream, Lane)> {
    let lane = Arc::clone(lanes).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, lane)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}

fn spawn(stream: TcpStream, front: Front, workers: &Workers, lane: Lane) -> io::Result<()> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let Some(worker) = workers.next() else { return Err(io::Error::other("there is no thread for it")) };
    let stream = stream.into_std()?;
    let stream = {
        // Whoever makes it here is told of its bytes.
        let _here = worker.runtime.enter();
        TcpStream::from_std(stream)?
    };
    let presence = Arc::<Presence>::default();
    let front = front.for_connection(Arc::clone(&presence));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(CallerStream::new(stream, presence)), front);
    let connection = worker.connections.watch(connection);
    worker.runtime.spawn(async move {
        // A client that hangs up is no fault of ours; its deliveries know what to do.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(lane);
    });
    Ok(())
}

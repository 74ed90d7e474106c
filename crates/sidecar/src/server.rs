//! Accepts connections, serves each on one of the threads for it, and drains at the end. Listener and shutdown are
//! handed in.

mod threads;

use crate::dispatch::Dispatcher;
use crate::http::{Api, CallerStream, Presence};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use threads::ConnectionThreads;

/// A client that takes longer than this for its request's head is hung up on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// The whole drain takes at most this, closing the ledger included.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Of the drain, at least this is left for closing the ledger.
const CLOSING: Duration = Duration::from_secs(1);
/// After this much of the drain, whoever still waits gets a reply with what is known by then.
const REPLY_WITHIN: Duration = Duration::from_secs(5);
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
    api: Api,
    dispatcher: Dispatcher,
    mut threads: ConnectionThreads,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Some((stream, permit)) => {
                if let Err(error) = serve_connection(stream, &api, &threads, permit) {
                    tracing::warn!(%error, "a connection could not be served");
                }
            }
            None => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    drain(&dispatcher, &mut threads).await
}

/// Waits for what is in flight, and closes the ledger; [`DRAIN_LIMIT`] at most.
pub(crate) async fn drain(dispatcher: &Dispatcher, threads: &mut ConnectionThreads) -> Drained {
    let (mut settled, mut closed) = (false, false);
    let all = async {
        let settling = async {
            tokio::select! {
                () = threads.close_connections() => {}
                () = reply_to_all_late(dispatcher) => {}
            }
            dispatcher.drain().await;
        };
        settled = tokio::time::timeout(DRAIN_LIMIT.saturating_sub(CLOSING), settling).await.is_ok();
        if let Err(error) = dispatcher.ledger().close().await {
            tracing::error!(%error, "the ledger could not be closed cleanly");
        }
        closed = true;
    };
    // Cut short, it says so by what is still false.
    let _ = tokio::time::timeout(DRAIN_LIMIT, all).await;
    if !closed {
        tracing::error!("the ledger's disk doesn't answer, so it is left open; what it has recorded stays");
        // Dropping the last reference would wait for the disk.
        std::mem::forget(Arc::clone(dispatcher.ledger()));
    }
    if settled && closed { Drained::Settled } else { Drained::CutShort }
}

/// Has everybody who still waits replied to, once it is time. Never ready: the replies end the connections.
async fn reply_to_all_late(dispatcher: &Dispatcher) {
    tokio::time::sleep(REPLY_WITHIN).await;
    dispatcher.answer_now();
    std::future::pending().await
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}

fn serve_connection(
    stream: TcpStream,
    api: &Api,
    threads: &ConnectionThreads,
    permit: OwnedSemaphorePermit,
) -> io::Result<()> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let Some(thread) = threads.next() else { return Err(io::Error::other("there is no thread for it")) };
    let stream = stream.into_std()?;
    let stream = {
        // A socket's events are told to the runtime in which it was made.
        let _in_runtime = thread.runtime.enter();
        TcpStream::from_std(stream)?
    };
    let presence = Arc::<Presence>::default();
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).serve_connection(
            TokioIo::new(CallerStream::new(stream, Arc::clone(&presence))),
            api.for_connection(presence),
        );
    let connection = thread.connections.watch(connection);
    thread.runtime.spawn(async move {
        // A client that hangs up is no fault of ours; its deliveries know what to do.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(permit);
    });
    Ok(())
}

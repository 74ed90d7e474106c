//! Connections to the channel, kept by hand because the gate needs to know the moment of the hand-over.
//!
//! A connection's driver isn't spawned: it lives in the value that owns the socket and is polled by whoever
//! uses the connection. Dropping that value closes the socket, and with it ends the attempt; no task is left
//! behind that could go on sending.

use super::dial::{Dial, Stream};
use super::tls::Tls;
use super::{Failure, Side};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::future::Future;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{self, Handle};

use commentd_delivery::Moment;

/// Idle connections are dropped after this: shorter than the keep-alive of the servers we know (gunicorn's
/// two seconds is the shortest), so that we rarely write into a connection that its server is closing.
const IDLE: Duration = Duration::from_millis(1500);
/// Most idle connections that are kept for each runtime.
const MOST_IDLE: usize = 256;

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// One HTTP/1.1 connection with its driver.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
    over: bool,
}

impl Connection {
    /// Connects, with TLS if `tls` is given, and does HTTP's own handshake (which sends nothing).
    pub(super) async fn open(
        dialer: &dyn Dial,
        host: &str,
        port: u16,
        tls: Option<&Tls>,
    ) -> Result<Self, Failure> {
        let refused = |what: &str, error: &dyn std::fmt::Display| Failure {
            side: Side::BeforeGate,
            message: format!("can't connect to {host}:{port}: {what}: {error}"),
        };
        let plain = dialer.dial(host, port).await.map_err(|error| refused("connect", &error))?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(crate::fence::watched(plain)),
            Some(tls) => Box::new(tls.connect(host, plain).await.map_err(|error| refused("TLS", &error))?),
        };
        let (sender, driver) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| refused("HTTP", &error))?;
        Ok(Self { sender, driver: Box::pin(driver), over: false })
    }

    /// Polls `work` and the driver together until `work` is done.
    async fn drive<T>(driver: &mut Pin<Box<Driver>>, over: &mut bool, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            // The work gives the driver something to do, and the driver the work. What is left after one pass of
            // each wakes this task again.
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            Self::poll_driver(driver, over, cx);
            work.as_mut().poll(cx)
        })
        .await
    }

    fn poll_driver(driver: &mut Pin<Box<Driver>>, over: &mut bool, cx: &mut Context<'_>) {
        if !*over && driver.as_mut().poll(cx).is_ready() {
            *over = true;
        }
    }

    /// Whether the connection can take a request; false if the server has closed it.
    pub(super) async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| {
            // First the driver: it hears of a server that has closed.
            Self::poll_driver(&mut self.driver, &mut self.over, cx);
            self.sender.poll_ready(cx)
        })
        .await
        .is_ok()
            && !self.over
    }

    /// Hands the request over. The gate must have been passed immediately before.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let sent = self.sender.try_send_request(request);
        match Self::drive(&mut self.driver, &mut self.over, sent).await {
            Ok(response) => Ok(response),
            Err(mut error) => {
                // hyper hands the request back only if it never took it from its queue: not a byte was written.
                let side = if error.take_message().is_some() { Side::HandedBack } else { Side::AfterGate };
                Err(Failure { side, message: format!("the connection failed: {}", chain(error.error())) })
            }
        }
    }

    /// Reads the body, at most `limit` bytes of it.
    pub(super) async fn read(&mut self, body: Incoming, limit: usize) -> Result<Bytes, Failure> {
        let reading = Limited::new(body, limit).collect();
        let read = Self::drive(&mut self.driver, &mut self.over, reading).await;
        read.map(Collected::to_bytes).map_err(|error| Failure {
            side: Side::AfterGate,
            message: if error.is::<LengthLimitError>() {
                format!("the reply is longer than {limit} bytes")
            } else {
                format!("the reply broke off: {}", chain(&*error))
            },
        })
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Idle connections to one channel, by the runtime that hears of their bytes: on another one, each of these would
/// have to be told across threads.
#[derive(Default)]
pub(super) struct Idle {
    stacks: Mutex<HashMap<Option<runtime::Id>, Stack>>,
}

/// Idle connections, the youngest on top, each with when it became idle.
type Stack = Vec<(Moment, Connection)>;

fn here() -> Option<runtime::Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

impl Idle {
    /// Keeps a connection whose last reply was read whole.
    pub(super) fn put(&self, connection: Connection, now: Moment) {
        if connection.over || connection.sender.is_closed() {
            return;
        }
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        let stack = stacks.entry(here()).or_default();
        let old = stack.iter().take_while(|(since, _)| now.since(*since) >= IDLE).count();
        stack.drain(..old);
        if stack.len() < MOST_IDLE {
            stack.push((now, connection));
        }
    }

    /// Takes the youngest one that still looks alive.
    pub(super) fn take(&self, now: Moment) -> Option<Connection> {
        loop {
            let mut connection = self.pop(now)?;
            // A connection that can't say at once whether it is ready isn't idle. Nobody is to be woken by it before it
            // has something to do: whoever hands it a request polls it then.
            let mut cx = Context::from_waker(Waker::noop());
            if pin!(connection.is_usable()).poll(&mut cx) == Poll::Ready(true) {
                return Some(connection);
            }
        }
    }

    fn pop(&self, now: Moment) -> Option<Connection> {
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        let stack = stacks.get_mut(&here())?;
        let (since, connection) = stack.pop()?;
        if now.since(since) >= IDLE {
            stack.clear();
            return None;
        }
        Some(connection)
    }
}

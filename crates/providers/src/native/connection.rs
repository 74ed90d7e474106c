//! Connections to the channel, kept by hand because the gate needs to know the moment of the hand-over.
//!
//! A connection's driver isn't spawned: it lives in the value that owns the socket and is polled by whoever
//! uses the connection. Dropping that value closes the socket, and with it ends the attempt; no task is left
//! behind that could go on sending.

use super::dial::{Dial, Stream, is_own_shortage};
use super::failure::{ExchangeError, Side};
use super::observed_stream::{ObservedStream, StreamObserver};
use super::tls::{self, Tls};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::Future;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

type Driver = http1::Connection<TokioIo<ObservedStream>, Full<Bytes>>;

/// One HTTP/1.1 connection with its driver.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
    over: bool,
    /// Why it is over, where that is known.
    why_ended: Option<String>,
    watch: Arc<StreamObserver>,
    /// A look beneath TLS tells nothing before the first reply: the tickets that a server sends unasked are there.
    is_opaque: bool,
}

impl Connection {
    /// Connects, with TLS if `tls` is given, and does HTTP's own handshake (which sends nothing).
    pub(super) async fn open(
        dialer: &dyn Dial,
        host: &str,
        port: u16,
        tls: Option<&Tls>,
    ) -> Result<Self, ExchangeError> {
        let failed = |side: Side, why: &dyn std::fmt::Display| ExchangeError {
            side,
            message: format!("can't connect to {host}:{port}: {why}"),
        };
        let refused = |error: &dyn std::fmt::Display| failed(Side::BeforeGate, error);
        let plain = dialer.dial(host, port).await.map_err(|error| {
            if is_own_shortage(&error) {
                let why = format!(
                    "this machine or this process has no more sockets to give ({error}); raise its limit of open files \
                     (ulimit -n), or lower --max-in-flight"
                );
                return failed(Side::OwnShortage, &why);
            }
            refused(&error)
        })?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(crate::failpoint::with_failpoints(plain)),
            Some(tls) => {
                Box::new(tls.connect(host, plain).await.map_err(|error| refused(&tls::words(&error)))?)
            }
        };
        let (stream, watch) = ObservedStream::new(stream);
        let (sender, driver) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|error| refused(&error))?;
        Ok(Self {
            sender,
            driver: Box::pin(driver),
            over: false,
            why_ended: None,
            watch,
            is_opaque: tls.is_some(),
        })
    }

    /// Polls `work` and the driver together until `work` is done.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            // The work gives the driver something to do, and the driver the work. What is left after one pass of
            // each wakes this task again.
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            self.poll_driver(cx);
            work.as_mut().poll(cx)
        })
        .await
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        if self.over {
            return;
        }
        if let Poll::Ready(ended) = self.driver.as_mut().poll(cx) {
            self.over = true;
            let Err(error) = ended else { return };
            // Nothing else than a message that nobody has asked for ends an idle connection without a cause beneath.
            if error.source().is_none() && !self.watch.is_asked() {
                self.watch.set_unasked();
            }
            self.why_ended = Some(reason(&error));
        }
    }

    /// Whether the connection can take a request; false if the server has closed it, or if a single byte came that
    /// nobody had asked for: the next reply that is read from it might not be ours. `closely`: the system itself is
    /// asked as well, which costs a call of it.
    pub(super) fn is_usable(&mut self, closely: bool) -> bool {
        // A connection that can't say at once whether it is ready isn't idle. Nobody is to be woken by it before it
        // has something to do: whoever hands it a request polls it then.
        let mut cx = Context::from_waker(Waker::noop());
        // First the driver: it hears of a server that has closed or spoken.
        self.watch.look_closely(closely && !self.is_opaque);
        self.poll_driver(&mut cx);
        self.watch.look_closely(false);
        matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(()))) && !self.over && !self.was_unasked()
    }

    /// Whether the connection hasn't ended, as far as the runtime has heard.
    pub(super) fn is_alive(&mut self) -> bool {
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        !self.over && !self.sender.is_closed() && !self.was_unasked()
    }

    /// Why the connection is over, in words for people; `None` if it isn't, or ended as connections do.
    pub(super) fn why_ended(&self) -> Option<&str> {
        self.why_ended.as_deref()
    }

    /// Whether it has brought bytes that nobody had asked for.
    pub(super) fn was_unasked(&self) -> bool {
        self.watch.was_unasked()
    }

    /// Hands the request over. The gate must have been passed immediately before.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ExchangeError> {
        let sent = self.sender.try_send_request(request);
        match self.drive(sent).await {
            Ok(_) if self.watch.was_early() => Err(ExchangeError {
                side: Side::AfterGate,
                message: "a reply began before the request was written, so that it may be another's".into(),
            }),
            Ok(response) => {
                self.watch.head_is_read();
                Ok(response)
            }
            Err(mut error) => {
                // hyper hands the request back only if it never took it from its queue: not a byte was written. And a
                // server that refuses our certificate has not finished the handshake, so that it has read nothing.
                let is_unread = error.take_message().is_some()
                    || (self.is_opaque && tls::refuses_certificate(error.error()));
                let side = if is_unread { Side::HandedBack } else { Side::AfterGate };
                Err(ExchangeError {
                    side,
                    message: format!("the connection failed: {}", reason(error.error())),
                })
            }
        }
    }

    /// Reads the body, at most `limit` bytes of it.
    pub(super) async fn read(&mut self, body: Incoming, limit: usize) -> Result<Bytes, ExchangeError> {
        let reading = Limited::new(body, limit).collect();
        let read = self.drive(reading).await;
        self.watch.reply_is_read();
        self.is_opaque = false;
        read.map(Collected::to_bytes).map_err(|error| ExchangeError {
            side: Side::AfterGate,
            message: if error.is::<LengthLimitError>() {
                too_long(limit)
            } else {
                format!("the reply broke off: {}", reason(&*error))
            },
        })
    }
}

/// What is said of a reply over this limit.
pub(super) fn too_long(limit: usize) -> String {
    format!("the reply is longer than {limit} bytes")
}

/// What an error says, with its causes; what TLS says, in words for people.
fn reason(error: &(dyn Error + 'static)) -> String {
    tls::cause(error).map_or_else(|| chain(error), tls::explain)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

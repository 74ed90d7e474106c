//! One exchange with the channel: connect, pass the gate, hand the request over, read the reply whole.

use super::base::BaseUrl;
use super::body::decoded;
use super::cassette::{CassetteMode, CassetteRecorder, ExchangeContext, Recording, Redact};
use super::connection::Connection;
use super::dial::{Dial, Tcp};
use super::failure::{ExchangeError, Side};
use super::idle_connections::{IdleConnection, IdleConnections, REST};
use super::proxy::{Proxy, Tunnels};
use super::tls::{Tls, TlsFiles};
use bytes::Bytes;
use commentd_channels::{ChannelReply, HttpRequest};
use commentd_delivery::{Clock, Gate};
use http::Uri;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use http_body_util::Full;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The longest reply that is read, in bytes, but for lookups, whose lists may be longer; a longer one is unreadable.
pub(super) const MAX_REPLY_BYTES: usize = 1 << 20;

/// A request as it leaves.
pub(super) type Outgoing = http::Request<Full<Bytes>>;

/// The way to one channel.
pub(super) struct ChannelClient {
    pub(super) base: BaseUrl,
    pub(super) timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    host: HeaderValue,
    idle: Arc<IdleConnections>,
    tls: Option<Tls>,
    dialer: Arc<dyn Dial>,
    proxy: Option<Proxy>,
    tape: CassetteMode,
    redact: Redact,
}

impl ChannelClient {
    /// # Errors
    /// When the address can't be named in a request, or needs TLS and there are no root certificates, or one of the files
    /// can't be used.
    pub(super) fn new(
        base: BaseUrl,
        timeout: Duration,
        clock: Arc<dyn Clock>,
        files: &TlsFiles,
    ) -> Result<Self, String> {
        let host = HeaderValue::from_str(base.authority())
            .map_err(|_| format!("{} can't be named in a request", base.shown()))?;
        let tls = if base.is_tls() { Some(Tls::new(files)?) } else { None };
        let idle = IdleConnections::new(base.shown(), Arc::clone(&clock));
        let dialer = Arc::new(Tcp::new(Arc::clone(&clock)));
        Ok(Self {
            base,
            timeout,
            clock,
            host,
            idle,
            tls,
            dialer,
            proxy: None,
            tape: CassetteMode::Live,
            redact: Arc::new(str::to_owned),
        })
    }

    /// The same way, without its idle connections, with new ones made by `dialer`; not by way of a proxy any more.
    pub(super) fn dialing(&self, dialer: Arc<dyn Dial>) -> Self {
        Self { dialer, proxy: None, ..self.anew() }
    }

    /// The same way, without its idle connections, with new ones made by way of this proxy.
    pub(super) fn by_proxy(&self, proxy: Proxy) -> Self {
        let dialer = Arc::new(Tunnels::new(proxy.clone(), Arc::clone(&self.dialer)));
        Self { dialer, proxy: Some(proxy), ..self.anew() }
    }

    /// Where it leads, and by what way: for people.
    pub(super) fn shown(&self) -> String {
        match &self.proxy {
            None => self.base.shown(),
            Some(proxy) => format!("{} by way of the proxy {}", self.base.shown(), proxy.shown()),
        }
    }

    /// Replaces what is secret in the addresses by `***`.
    pub(super) fn redact_addresses(&self, text: &str) -> String {
        let text = self.base.redact(text);
        match &self.proxy {
            None => text,
            Some(proxy) => proxy.redact(&text),
        }
    }

    /// The same way, without its idle connections, recorded or replayed.
    pub(super) fn with_cassette(&self, tape: CassetteMode, redact: Redact) -> Self {
        Self { tape, redact, ..self.anew() }
    }

    /// A replay needs no server, so none can be down.
    pub(super) fn is_replay(&self) -> bool {
        matches!(self.tape, CassetteMode::Replay(_))
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.tape, CassetteMode::Live)
    }

    fn anew(&self) -> Self {
        Self {
            base: self.base.clone(),
            timeout: self.timeout,
            clock: Arc::clone(&self.clock),
            host: self.host.clone(),
            idle: IdleConnections::new(self.base.shown(), Arc::clone(&self.clock)),
            tls: self.tls.clone(),
            dialer: Arc::clone(&self.dialer),
            proxy: self.proxy.clone(),
            tape: self.tape.clone(),
            redact: Arc::clone(&self.redact),
        }
    }

    /// Sends what has no effect at the channel, within the timeout.
    ///
    /// # Errors
    /// Says what failed; may hold secrets.
    pub(super) async fn ask(
        &self,
        request: &HttpRequest,
        context: ExchangeContext<'_>,
    ) -> Result<ChannelReply, String> {
        // A read that a cache answers says what was there, not what is.
        let fresh = vec![(CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        let gate = Gate::new();
        let outgoing = self.outgoing(request, fresh).map_err(|failure| failure.message)?;
        let exchange = pin!(self.send(request, outgoing, &gate, false, context));
        match within(self.timeout, exchange).await {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(failure)) => Err(failure.message),
            None => Err(format!("no answer within {} ms", self.timeout.as_millis())),
        }
    }

    /// A new connection, over which nothing was sent yet and nothing came. Not bounded in time.
    pub(super) async fn connect(&self) -> Result<Connection, ExchangeError> {
        let began = self.clock.now();
        let (host, port, tls) = (self.base.host(), self.base.port(), self.tls.as_ref());
        let mut connection = Connection::open(&*self.dialer, host, port, tls).await?;
        let took = self.clock.now() - began;
        self.idle.dialled(took);
        // Something that speaks first does so on every connection, so that one has to be listened to; and with TLS 1.3
        // a server that doesn't like our certificate, or misses one, says so only after our side of the handshake. Both
        // need a round trip, which connecting took at least.
        let is_to_be_heard = self.idle.is_to_be_heard();
        if is_to_be_heard {
            tokio::time::sleep(REST.max(took)).await;
        }
        if connection.is_usable(true) {
            if is_to_be_heard {
                self.idle.was_quiet();
            }
            return Ok(connection);
        }
        self.idle.note(&connection);
        let shown = self.shown();
        Err(ExchangeError::before_gate(&if connection.was_unasked() {
            format!("what listens at {shown} speaks before it is asked, so that no reply can be told from it")
        } else {
            match connection.why_ended() {
                Some(why) => format!("{shown} closed the connection before it could be used: {why}"),
                None => format!("{shown} closed the connection before it could be used"),
            }
        }))
    }

    /// A connection on which nothing is to be read but the reply to what is sent next: one that was used before,
    /// unless it has to be `fresh`. Not bounded in time.
    async fn connection(&self, fresh: bool) -> Result<Connection, ExchangeError> {
        if fresh {
            return self.connect().await;
        }
        match self.idle.take() {
            IdleConnection::Rested(connection) => return Ok(connection),
            IdleConnection::Resting(mut connection, left) => {
                tokio::time::sleep(left).await;
                if connection.is_usable(true) {
                    self.idle.was_quiet_after_reply();
                    return Ok(connection);
                }
                self.idle.note(&connection);
            }
            IdleConnection::Nothing => {}
        }
        self.connect().await
    }

    /// A request as it leaves, with `more` headers beside its own.
    pub(super) fn outgoing(
        &self,
        request: &HttpRequest,
        more: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Outgoing, ExchangeError> {
        let target = Uri::try_from(self.base.join(&request.path_and_query));
        let target = target
            .map_err(|error| ExchangeError::before_gate(&format!("the request can't be made: {error}")))?;
        let mut outgoing = http::Request::new(Full::new(request.body.clone()));
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = target;
        let headers = outgoing.headers_mut();
        headers.reserve(7 + more.len() + request.headers.len());
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("commentd/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(kind) = request.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(userinfo) = self.base.basic() {
            headers.insert(http::header::AUTHORIZATION, userinfo);
        }
        headers.extend(more);
        for (name, value) in &request.headers {
            headers.insert(name.clone(), value.clone());
        }
        Ok(outgoing)
    }

    /// Sends what a request has become once the gate lets it pass, on a new connection if `fresh`. Not bounded in
    /// time.
    pub(super) async fn send(
        &self,
        request: &HttpRequest,
        outgoing: Outgoing,
        gate: &Gate,
        fresh: bool,
        context: ExchangeContext<'_>,
    ) -> Result<ChannelReply, ExchangeError> {
        if let CassetteMode::Replay(player) = &self.tape {
            return player.play(&context, &self.redact, gate);
        }
        let _busy = self.idle.busy();
        let connection = self.connection(fresh).await?;
        if !gate.pass() {
            return Err(ExchangeError::before_gate("cancelled before it was sent"));
        }
        let limit = context.limit;
        let recording = match &self.tape {
            CassetteMode::Record(recorder) => {
                Some(self.recording(recorder, context, &outgoing, &request.body))
            }
            CassetteMode::Live | CassetteMode::Replay(_) => None,
        };
        let ended = self.hand_over(connection, outgoing, limit).await;
        if let Some(recording) = recording {
            recording.finish(ended.as_ref());
        }
        ended
    }

    fn recording<'a>(
        &self,
        recorder: &Arc<CassetteRecorder>,
        context: ExchangeContext<'a>,
        outgoing: &Outgoing,
        body: &[u8],
    ) -> Recording<'a> {
        Recording::start(recorder, context, &self.base.origin(), outgoing, body, &self.redact, &self.clock)
    }

    /// The gate was passed immediately before.
    async fn hand_over(
        &self,
        mut connection: Connection,
        request: Outgoing,
        limit: usize,
    ) -> Result<ChannelReply, ExchangeError> {
        let (head, body) = connection.send(request).await?.into_parts();
        let bytes = connection.read(body, limit).await?;
        self.idle.put(connection);
        let bytes = decoded(&head.headers, bytes, MAX_REPLY_BYTES)
            .map_err(|message| ExchangeError { side: Side::AfterGate, message })?;
        Ok(ChannelReply { status: head.status.as_u16(), headers: head.headers.into(), body: bytes })
    }
}

/// How often the runtime may ask the system for bytes before a timeout is final: one turn for each step from them to a
/// reply that is read whole.
const LAST_TURNS: u32 = 4;

/// What the exchange comes to within this time; `None` if that has passed and what lies in the socket is no reply.
///
/// A process that was stopped (a signal, a sleeping machine) hears of a timer that is over before it hears of bytes that
/// came long before, so that the time alone proves nothing.
pub(super) async fn within<T>(
    timeout: Duration,
    mut exchange: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    if let Ok(ended) = tokio::time::timeout(timeout, exchange.as_mut()).await {
        return Some(ended);
    }
    for _ in 0..LAST_TURNS {
        // This lets the runtime look at its sockets, which letting others go first doesn't.
        tokio::task::yield_now().await;
        if let Poll::Ready(ended) = poll_fn(|cx| Poll::Ready(exchange.as_mut().poll(cx))).await {
            return Some(ended);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its reply lies in the socket, and the runtime hears of that after it has heard of the timer.
    #[tokio::test(start_paused = true)]
    async fn a_reply_that_lies_in_the_socket_counts_although_the_time_is_over() {
        let mut polls = 0;
        let exchange = poll_fn(|_| {
            polls += 1;
            if polls < 4 { Poll::Pending } else { Poll::Ready("a reply") }
        });
        assert_eq!(within(Duration::from_millis(1), pin!(exchange)).await, Some("a reply"));
        let never = std::future::pending::<()>();
        assert_eq!(within(Duration::from_millis(1), pin!(never)).await, None);
    }
}

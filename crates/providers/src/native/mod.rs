//! `native_http`: one HTTP channel, described by a manifest.

mod base;
mod connection;
pub mod dial;
mod tls;

use crate::manifest::{Channel, HttpRequest, Item, Reply, Scan, Scope, Sighting};
use crate::{Job, Pending, Provider, Rendered};
use bytes::Bytes;
use commentd_contract::{Code, ProviderName, VerdictKind};
use commentd_delivery::lookup::Finding;
use commentd_delivery::record::Destination;
use commentd_delivery::step::Link;
use commentd_delivery::time::whole_ms;
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Verdict};
use connection::{Connection, Idle};
use dial::{Dial, Tcp};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;
use tls::Tls;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use base::{BaseUrl, BaseUrlError};

/// A reply's body ends here, in bytes; a longer one is unreadable.
const MAX_REPLY_BYTES: usize = 1 << 20;
/// Less time than this isn't worth an attempt.
const MIN_USEFUL: Duration = Duration::from_millis(50);
/// Attempts in one run of a delivery.
const MAX_ATTEMPTS: u32 = 3;

/// Where a failed exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The comment was not handed over.
    BeforeGate,
    /// It was, and the protocol's implementation handed it back unsent.
    HandedBack,
    /// It was; what became of it isn't known.
    AfterGate,
}

/// A failed exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    side: Side,
    message: String,
}

/// A provider for one channel.
pub struct NativeHttp {
    channel: Channel,
    base: BaseUrl,
    timeout: Duration,
    destination: Destination,
    idle: Idle,
    lanes: Option<Semaphore>,
    tls: Option<Tls>,
    clock: Arc<dyn Clock>,
    dialer: Arc<dyn Dial>,
}

impl NativeHttp {
    /// A provider for this channel at this address. `timeout` covers connect, headers and body of one attempt.
    ///
    /// # Errors
    /// When the address needs TLS and the system has no root certificates.
    pub fn new(
        channel: Channel,
        base: BaseUrl,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let tls = if base.is_tls() { Some(Tls::with_system_roots()?) } else { None };
        let destination = Destination {
            provider: ProviderName::NativeHttp,
            channel: channel.name().to_owned(),
            base_url: base.shown(),
            account: channel.account().to_owned(),
            manifest_version: channel.version(),
        };
        let lanes = channel.concurrency().map(Semaphore::new);
        Ok(Self {
            channel,
            base,
            timeout,
            destination,
            idle: Idle::default(),
            lanes,
            tls,
            clock,
            dialer: Arc::new(Tcp),
        })
    }

    /// The same provider, with its connections made by `dialer`.
    #[must_use]
    pub fn dialing(self, dialer: Arc<dyn Dial>) -> Self {
        Self { dialer, ..self }
    }

    /// Reads a whole target back: every comment that the channel shows there.
    ///
    /// # Errors
    /// Says why it can't be read: no lookup, no answer, an incomplete one.
    pub async fn read_back(&self, sns_id: &str) -> Result<Vec<Item>, String> {
        let mut comment = Comment::default();
        comment.addressing.sns_id = sns_id.to_owned();
        let scope = self.channel.scope(&comment, DeliveryId::from_bytes([0; 16]), self.clock.unix_ms());
        self.read(&scope).await
    }

    async fn read(&self, scope: &Scope) -> Result<Vec<Item>, String> {
        let mut scan = self.channel.read_back(scope).ok_or_else(|| {
            format!("channel {} has no lookup, so nothing can be read back", self.channel.name())
        })?;
        let mut items = Vec::new();
        loop {
            let request = scan.request().map_err(|error| error.0)?;
            if scan.collect(&self.ask(&request).await?, &mut items)? {
                return Ok(items);
            }
        }
    }

    /// One exchange without a gate: for reads.
    async fn ask(&self, request: &HttpRequest) -> Result<Reply, String> {
        let open = Gate::new();
        match tokio::time::timeout(self.timeout, self.exchange(request, None, &open, false)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(failure)) => Err(self.channel.redact(&failure.message)),
            Err(_) => Err(format!("no answer within {} ms", self.timeout.as_millis())),
        }
    }

    async fn lane(&self) -> Option<SemaphorePermit<'_>> {
        match &self.lanes {
            None => None,
            // A closed semaphore would mean no lanes at all; nothing ever closes it.
            Some(lanes) => lanes.acquire().await.ok(),
        }
    }

    /// Connects, passes the gate, hands the request over and reads the reply whole.
    async fn exchange(
        &self,
        request: &HttpRequest,
        job: Option<&Job>,
        gate: &Gate,
        fresh: bool,
    ) -> Result<Reply, Failure> {
        let before = |message: String| Failure { side: Side::BeforeGate, message };
        let request = self.outgoing(request, job).map_err(before)?;
        let _lane = self.lane().await;
        let pooled = if fresh { None } else { self.idle.take(self.clock.now()).await };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => {
                Connection::open(&*self.dialer, self.base.host(), self.base.port(), self.tls.as_ref()).await?
            }
        };
        if !connection.is_usable().await {
            return Err(before("the connection was closed before it could be used".into()));
        }
        if !gate.pass() {
            return Err(before("cancelled before it was sent".into()));
        }
        let (head, body) = connection.send(request).await?.into_parts();
        let bytes = connection.read(body, MAX_REPLY_BYTES).await?;
        self.idle.put(connection, self.clock.now());
        let headers = head.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(Reply { status: head.status.as_u16(), headers: headers.collect(), body: bytes })
    }

    fn outgoing(
        &self,
        request: &HttpRequest,
        job: Option<&Job>,
    ) -> Result<http::Request<Full<Bytes>>, String> {
        let target = self.base.join(&request.path_and_query);
        let mut outgoing = http::Request::builder()
            .method(request.method.clone())
            .uri(target)
            .header(HOST, self.base.authority())
            .header(USER_AGENT, concat!("commentd/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .body(Full::new(request.body.clone()))
            .map_err(|error| format!("the request can't be made: {error}"))?;
        let headers = outgoing.headers_mut();
        if request.has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(userinfo) = self.base.basic() {
            headers.insert(http::header::AUTHORIZATION, userinfo);
        }
        match job {
            Some(job) => headers.extend(identity(job)),
            // A read that a cache answers says what was there, not what is.
            None => drop(headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"))),
        }
        for (name, value) in &request.headers {
            headers.insert(name.clone(), value.clone());
        }
        Ok(outgoing)
    }

    fn scope(&self, job: &Job) -> Scope {
        self.channel.scope(&job.comment, job.id, self.clock.unix_ms())
    }

    /// What can be said about this comment before anything is sent.
    fn prepare(&self, job: &Job, scope: &Scope) -> Result<HttpRequest, Box<Verdict>> {
        let denied = |message: String| {
            Box::new(Verdict::new(VerdictKind::Denied, message).with_code(Code::ProviderUnavailable))
        };
        let bytes = job.comment.content.len();
        if let Some(most) = self.channel.max_content_bytes().filter(|most| bytes > *most) {
            return Err(denied(format!(
                "channel {} takes at most {most} bytes, the comment has {bytes}",
                self.channel.name()
            )));
        }
        self.channel.render(scope).map_err(|error| {
            let message = self.channel.redact(&error.0);
            denied(format!("channel {} can't carry this comment: {message}", self.channel.name()))
        })
    }

    async fn try_once(&self, job: &Job, gate: &Gate) -> Verdict {
        let scope = self.scope(job);
        let request = match self.prepare(job, &scope) {
            Ok(request) => request,
            Err(denied) => return *denied,
        };
        // A retry never reuses a connection: whatever broke the first may have broken all of its age.
        let exchange = self.exchange(&request, Some(job), gate, job.attempt > 1);
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(reply)) => self.judge(&reply, &scope),
            Ok(Err(failure)) => {
                let message = self.channel.redact(&failure.message);
                match failure.side {
                    Side::BeforeGate | Side::HandedBack => Verdict::new(VerdictKind::NotSent, message),
                    Side::AfterGate => Verdict::new(
                        VerdictKind::Unknown,
                        format!("the comment was handed over, then {message}"),
                    )
                    .with_code(Code::UpstreamUnavailable),
                }
            }
            Err(_) => self.timed_out(gate),
        }
    }

    /// What the reply means, in words that repeat no secret.
    fn judge(&self, reply: &Reply, scope: &Scope) -> Verdict {
        let mut verdict = self.channel.judge(reply, scope);
        for words in
            [&mut verdict.message, &mut verdict.provider_error_code, &mut verdict.provider_error_message]
        {
            *words = self.base.redact(words);
        }
        verdict
    }

    fn timed_out(&self, gate: &Gate) -> Verdict {
        let timeout_ms = self.timeout.as_millis();
        if gate.cancel() {
            let message = format!("no connection to {} within {timeout_ms} ms", self.base.shown());
            return Verdict::new(VerdictKind::NotSent, message);
        }
        Verdict::new(
            VerdictKind::Unknown,
            format!("the comment was handed over, then nothing came back within {timeout_ms} ms"),
        )
    }

    async fn look_once(&self, job: &Job, receipt: &str) -> Finding {
        let scope = self.scope(job);
        let Some(scan) = self.channel.look(&scope, receipt) else { return Finding::CannotBeKnown };
        match self.sight(scan).await {
            Ok(Sighting::Found { kind, comment_id }) => {
                let mut verdict = Verdict::new(kind, "");
                if kind == VerdictKind::Misplaced {
                    "stored, but not as asked; found by a lookup".clone_into(&mut verdict.message);
                }
                verdict.comment_id_is_ours = !comment_id.is_empty();
                verdict.comment_id = comment_id;
                Finding::Found(verdict)
            }
            Ok(Sighting::NotFound { complete }) => Finding::NotFound { complete },
            Ok(Sighting::NoAnswer) => Finding::Failed,
            Err(reason) => {
                let reason = self.channel.redact(&reason);
                tracing::warn!(id = %job.id, %reason, "the channel couldn't be asked for a comment");
                Finding::Failed
            }
        }
    }

    /// Asks for one page after another until one of them says what there is.
    async fn sight(&self, mut scan: Scan<'_>) -> Result<Sighting, String> {
        loop {
            let request = scan.request().map_err(|error| error.0)?;
            if let Some(sighting) = scan.sight(&self.ask(&request).await?)? {
                return Ok(sighting);
            }
        }
    }
}

/// The headers by which the channel may know delivery and trace: `Idempotency-Key` as a quoted string
/// (RFC 9651), and `traceparent` (W3C Trace Context) where the trace id has its form.
fn identity(job: &Job) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(2);
    if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", job.id)) {
        headers.push((HeaderName::from_static("idempotency-key"), value));
    }
    let is_trace = job.trace_id.len() == 32 && job.trace_id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_trace {
        let parent = job.id.seed() ^ u64::from(job.attempt);
        if let Ok(value) = HeaderValue::from_str(&format!("00-{}-{parent:016x}-01", job.trace_id)) {
            headers.push((HeaderName::from_static("traceparent"), value));
        }
    }
    headers
}

impl Provider for NativeHttp {
    fn name(&self) -> ProviderName {
        ProviderName::NativeHttp
    }

    fn destination(&self) -> &Destination {
        &self.destination
    }

    fn link(&self) -> Link {
        Link {
            max_attempts: MAX_ATTEMPTS,
            min_useful: MIN_USEFUL,
            deduplicates_within: self.channel.deduplicates_within(),
            lookup: self.channel.lookup_ability(),
        }
    }

    fn marker(&self, id: DeliveryId) -> String {
        self.channel.marker(id)
    }

    fn attempt<'a>(&'a self, job: &'a Job, gate: &'a Gate) -> Pending<'a, Verdict> {
        Box::pin(async move {
            let began = self.clock.now();
            let verdict = self.try_once(job, gate).await;
            verdict.after_ms(whole_ms(self.clock.now() - began))
        })
    }

    fn look<'a>(&'a self, job: &'a Job, receipt: &'a str) -> Pending<'a, Finding> {
        Box::pin(self.look_once(job, receipt))
    }

    fn read_target<'a>(&'a self, job: &'a Job) -> Pending<'a, Result<Vec<Item>, String>> {
        Box::pin(async move { self.read(&self.scope(job)).await })
    }

    fn settles_within(&self) -> Option<Duration> {
        self.channel.settles_within()
    }

    fn rehearse(&self, job: &Job) -> Result<Rendered, Box<Verdict>> {
        self.prepare(job, &self.scope(job))?;
        let scope = self.channel.redacted_scope(&job.comment, job.id, self.clock.unix_ms());
        let request = self.prepare(job, &scope)?;
        let mut headers: Vec<(String, String)> = identity(job)
            .iter()
            .chain(&request.headers)
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        if self.base.basic().is_some() {
            headers.push(("authorization".into(), crate::manifest::settings::REDACTED.into()));
        }
        Ok(Rendered {
            method: request.method.to_string(),
            url: format!("{}{}", self.base.origin(), self.base.join(&request.path_and_query)),
            headers,
            body: serde_json::from_slice(&request.body).unwrap_or(serde_json::Value::Null),
        })
    }
}

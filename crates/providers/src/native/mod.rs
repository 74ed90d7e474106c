//! `native_http`: one HTTP channel, described by a manifest.

mod base;
mod body;
mod cassette;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod connection;
mod credentials;
pub mod dial;
mod har;
mod identity;
mod idle;
mod lookups;
mod probing;
mod proxy;
mod tls;
mod turns;
mod watched;
mod wire;

use crate::condition::{Condition, Kept, Known};
use crate::{Job, Pending, Provider, Rendered, step_aside};
use cassette::{Part, Purpose, like, without_run_words};
use commentd_channels::settings::REDACTED;
use commentd_channels::{Channel, ChannelReply, HttpRequest, ReadBack, RenderError, Scope, Token};
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, ProviderName, VerdictKind};
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::record::Destination;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Moment, Verdict};
use credentials::{Credentials, NoToken};
use dial::Dial;
use identity::identity;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use turns::Turns;
use wire::{MAX_REPLY_BYTES, Wire, within};

pub use base::{BaseUrl, BaseUrlError};
pub use cassette::{Player, Recorder, Tape};
pub use proxy::Proxy;
pub use tls::TlsFiles;
pub use turns::Turn;

/// Less time than this isn't worth an attempt.
const MIN_USEFUL: Duration = Duration::from_millis(50);
/// The id of what belongs to no delivery.
const NOBODY: DeliveryId = DeliveryId::from_bytes([0; 16]);
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
    /// It was not, because this process or this machine has run out of something: nobody's failure but ours.
    OwnShortage,
    /// It was not: a replay has no such exchange, however often it is asked.
    OffCassette,
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
    wire: Arc<Wire>,
    /// Who we are for what carries comments and for probes.
    senders: Credentials,
    /// Who we are for lookups.
    readers: Credentials,
    destination: Arc<Destination>,
    turns: Arc<Turns>,
    condition: Kept,
    /// Whether a probe has known the channel.
    probe_knew: AtomicBool,
    /// Whether a marker of ours came back from the channel: then it keeps them.
    marker_seen: AtomicBool,
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
        Self::with_tls(channel, base, timeout, clock, &TlsFiles::default())
    }

    /// The same with what TLS needs beside the system's roots. Reads files, blocking.
    ///
    /// # Errors
    /// When the address needs TLS and there are no root certificates, or one of the files can't be used.
    pub fn with_tls(
        channel: Channel,
        base: BaseUrl,
        timeout: Duration,
        clock: Arc<dyn Clock>,
        files: &TlsFiles,
    ) -> Result<Self, String> {
        let destination = Arc::new(Destination {
            provider: ProviderName::NativeHttp,
            channel: channel.name().to_owned(),
            base_url: base.shown(),
            account: channel.account().to_owned(),
            manifest_version: channel.version(),
        });
        // That it isn't able, only a channel with such a probe can say.
        let capability = if channel.tells_ability() { Known::Unasked } else { Known::Yes };
        let condition = Kept::new(Condition { health: Known::Unasked, capability, identity: Known::Unasked });
        let senders = Credentials::new(channel.auth().clone());
        let readers = channel.lookup_auth().map(|auth| Credentials::new(auth.clone()));
        let readers = readers.unwrap_or_else(|| senders.clone());
        let turns = Arc::new(Turns::new(channel.paces()));
        let wire = Arc::new(Wire::new(base, timeout, clock, files)?);
        let (probe_knew, marker_seen) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { channel, wire, senders, readers, destination, turns, condition, probe_knew, marker_seen })
    }

    /// The same provider, with its connections made by `dialer`.
    #[must_use]
    pub fn dialing(self, dialer: Arc<dyn Dial>) -> Self {
        Self { wire: Arc::new(self.wire.dialing(dialer)), ..self }
    }

    /// The same provider, with its exchanges recorded or replayed. A replay connects to nothing.
    #[must_use]
    pub fn taped(self, tape: Tape) -> Self {
        let (channel, way) = (self.channel.clone(), Arc::clone(&self.wire));
        let (senders, readers) = (self.senders.clone(), self.readers.clone());
        let redact =
            move |text: &str| readers.redact(&senders.redact(&way.redact_addresses(&channel.redact(text))));
        Self { wire: Arc::new(self.wire.taped(tape, Arc::new(redact))), ..self }
    }

    /// Replaces everything secret that we know of by `***`.
    fn redact(&self, text: &str) -> String {
        // What a reply says is mostly nothing.
        if text.is_empty() {
            return String::new();
        }
        let text = self.wire.redact_addresses(&self.channel.redact(text));
        self.readers.redact(&self.senders.redact(&text))
    }

    fn scope(&self, job: &Job) -> Scope {
        let left_ms = whole_ms(job.deadline.since(self.now()));
        let scope = self.channel.scope(Arc::clone(&job.comment), job.id, self.wire.clock.unix_ms());
        scope.with_caller(left_ms, &job.trace_id)
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
        let cannot = |error: RenderError| {
            let message = self.redact(&error.0);
            denied(format!("channel {} can't carry this comment: {message}", self.channel.name()))
        };
        if let Some(lacking) = self.channel.lacking(scope).map_err(cannot)? {
            let message = format!("channel {}: {lacking}; nothing was sent", self.channel.name());
            return Err(Box::new(Verdict::new(VerdictKind::Denied, message).with_code(Code::InvalidCommand)));
        }
        self.channel.render(scope).map_err(cannot)
    }

    /// One attempt, with the channel's reply, for people who try a manifest. Holds no secrets.
    pub async fn try_out(&self, job: &Job, gate: &Gate) -> (Verdict, Option<ChannelReply>) {
        let began = self.now();
        let (verdict, reply) = self.try_once(job, gate).await;
        let reply = reply.map(|reply| ChannelReply {
            status: reply.status,
            headers: reply
                .headers
                .to_map()
                .into_iter()
                .map(|(name, value)| (name, self.redact(&value)))
                .collect(),
            body: self.redact(&String::from_utf8_lossy(&reply.body)).into(),
        });
        (verdict.after_ms(whole_ms(self.now() - began)), reply)
    }

    async fn try_once(&self, job: &Job, gate: &Gate) -> (Verdict, Option<ChannelReply>) {
        // What this channel can't carry is said before anybody is asked for a token.
        let mut scope = self.scope(job);
        let mut request = match self.prepare(job, &scope) {
            Ok(request) => request,
            Err(denied) => return (*denied, None),
        };
        let token = match self.senders.token(&self.wire, Some(gate)).await {
            Ok(token) => token,
            Err(none) => return (self.without_token(&none), None),
        };
        if self.wire.clock.unix_ms() != scope.unix_ms() {
            // It has waited for a token, and the times in it must be those of its sending.
            scope = self.scope(job);
            request = match self.prepare(job, &scope) {
                Ok(request) => request,
                Err(denied) => return (*denied, None),
            };
        }
        if let Err(denied) = self.sign(job, &mut request, token.as_ref(), scope.unix_ms()) {
            return (*denied, None);
        }
        let outgoing = match self.wire.outgoing(&request, identity(job)) {
            Ok(outgoing) => outgoing,
            Err(failure) => return (self.failed(&failure), None),
        };
        let part = self.part_of(job);
        // Each write may wake a process that takes the core from this one. So first whatever is ready here is brought
        // as far as this, and then all of it leaves in a row, for which a channel on this machine wakes once.
        step_aside().await;
        // A retry never reuses a connection: whatever broke the first may have broken all of its age.
        // Pinned, so that it is waited for where it is: it is large.
        let exchange = pin!(self.wire.send(&request, outgoing, gate, job.attempt > 1, part));
        match within(self.wire.timeout, exchange).await {
            Some(Ok(reply)) => {
                let mut verdict = self.judge(&reply, &scope);
                verdict.renewed = is_unauthorized(&verdict)
                    && token.is_some_and(|token| self.senders.give_up(&token, self.now()));
                (verdict, Some(reply))
            }
            Some(Err(failure)) => (self.failed(&failure), None),
            None => (self.timed_out(gate), None),
        }
    }

    fn failed(&self, failure: &Failure) -> Verdict {
        let message = self.redact(&failure.message);
        match failure.side {
            Side::BeforeGate | Side::HandedBack => Verdict::new(VerdictKind::NotSent, message),
            Side::OwnShortage => {
                Verdict::new(VerdictKind::NotSent, message).with_code(Code::Overloaded).uncounted()
            }
            Side::OffCassette => {
                Verdict::new(VerdictKind::Denied, message).with_code(Code::ProviderUnavailable)
            }
            Side::AfterGate => {
                Verdict::new(VerdictKind::Unknown, format!("the comment was handed over, then {message}"))
                    .with_code(Code::UpstreamUnavailable)
            }
        }
    }

    /// What a cassette knows this comment by.
    fn part_of(&self, job: &Job) -> Part<'static> {
        let (purpose, id, limit, token) = (Purpose::Send, job.id, MAX_REPLY_BYTES, None);
        if self.wire.is_live() {
            return Part { purpose, like: String::new(), id, words: Vec::new(), limit, token };
        }
        let (content, words) = without_run_words(&job.comment.content);
        let comment = Comment { content, addressing: job.comment.addressing.clone() };
        let scope = self.channel.redacted_scope(comment, NOBODY, 0).with_caller(0, &Arc::default());
        let like = self.channel.render(&scope).map_or_else(|error| error.0, |request| like(&request));
        Part { purpose, like, id, words, limit, token }
    }

    /// Adds the credentials to the request.
    fn sign(
        &self,
        job: &Job,
        request: &mut HttpRequest,
        token: Option<&Token>,
        unix_ms: u64,
    ) -> Result<(), Box<Verdict>> {
        self.senders.apply(request, token, job.id, unix_ms).map_err(|error| {
            let message = format!("channel {}: {}", self.channel.name(), self.redact(&error.0));
            Box::new(Verdict::new(VerdictKind::Denied, message).with_code(Code::UpstreamUnauthorized))
        })
    }

    fn now(&self) -> Moment {
        self.wire.clock.now()
    }

    /// Without a token nothing was sent. One that the channel refuses is a matter of this provider alone.
    fn without_token(&self, none: &NoToken) -> Verdict {
        let message = self.redact(&none.message);
        if none.refused {
            return Verdict::new(VerdictKind::Denied, message).with_code(Code::UpstreamUnauthorized);
        }
        let verdict = Verdict::new(VerdictKind::NotSent, message);
        if none.was_told { verdict.uncounted() } else { verdict }
    }

    /// What the reply means, in words that repeat no secret.
    fn judge(&self, reply: &ChannelReply, scope: &Scope) -> Verdict {
        let mut verdict = self.channel.judge(reply, scope);
        for words in
            [&mut verdict.message, &mut verdict.provider_error_code, &mut verdict.provider_error_message]
        {
            *words = self.redact(words);
        }
        if verdict.comment_id_is_ours && !self.has_seen_marker() && scope.is_marker_in(&reply.body) {
            self.marker_was_seen();
        }
        verdict
    }

    fn no_connection(&self) -> String {
        format!("no connection to {} within {} ms", self.wire.shown(), self.wire.timeout.as_millis())
    }

    /// What an attempt has shown. A refusal of our credentials that no renewal helps against is asked about again
    /// where the channel has a probe to ask with.
    fn learn(&self, verdict: &Verdict) {
        if verdict.uncounted {
            return;
        }
        let is_down = matches!(verdict.kind, VerdictKind::NotSent | VerdictKind::Unknown);
        self.condition.set_health(if is_down { Known::No(verdict.message.clone()) } else { Known::Yes });
        if matches!(verdict.kind, VerdictKind::Delivered | VerdictKind::Held | VerdictKind::Misplaced) {
            self.condition.recognize();
        }
        if is_unauthorized(verdict) && !verdict.renewed && self.channel.tells_ability() {
            self.condition.set_capability(Known::No(verdict.message.clone()));
        }
    }

    fn timed_out(&self, gate: &Gate) -> Verdict {
        let timeout_ms = self.wire.timeout.as_millis();
        if gate.cancel() {
            return Verdict::new(VerdictKind::NotSent, self.no_connection());
        }
        Verdict::new(
            VerdictKind::Unknown,
            format!("the comment was handed over, then nothing came back within {timeout_ms} ms"),
        )
    }
}

/// Whether the channel says that our credentials aren't good (any more).
fn is_unauthorized(verdict: &Verdict) -> bool {
    verdict.kind == VerdictKind::Denied && verdict.code == Code::UpstreamUnauthorized
}

fn shown_body(body: &[u8]) -> serde_json::Value {
    if body.is_empty() {
        return serde_json::Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into())
}

impl Provider for NativeHttp {
    fn name(&self) -> ProviderName {
        ProviderName::NativeHttp
    }

    fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    fn rules(&self) -> ProviderRules {
        ProviderRules {
            max_attempts: MAX_ATTEMPTS,
            min_useful: MIN_USEFUL,
            deduplicates_within: self.channel.deduplicates_within(),
            lookup: self.channel.lookup_ability(),
            queues: self.lanes().is_some() || !self.turns.are_free(),
        }
    }

    fn lanes(&self) -> Option<usize> {
        self.channel.concurrency()
    }

    fn condition(&self) -> Condition {
        self.condition.get()
    }

    fn has_probe(&self) -> bool {
        true
    }

    fn probe(&self) -> Pending<'_, Condition> {
        Box::pin(async move {
            let condition = self.ask_condition().await;
            self.condition.set(condition.clone());
            condition
        })
    }

    fn marker(&self, id: DeliveryId) -> String {
        self.channel.marker(id)
    }

    fn turn<'a>(&'a self, job: &'a Job) -> Pending<'a, Result<Option<Turn>, Box<Verdict>>> {
        Box::pin(async move {
            let now = self.now();
            let latest = Moment::at(job.deadline.since_start().saturating_sub(MIN_USEFUL));
            let turn = self.turns.reserve(Some(&job.comment.addressing.sns_id), now, latest);
            let turn = turn.map_err(|late| Box::new(late.verdict(self.channel.name())))?;
            turn.wait(now).await;
            Ok(Some(turn))
        })
    }

    fn has_seen_marker(&self) -> bool {
        self.marker_seen.load(Ordering::Relaxed)
    }

    fn marker_was_seen(&self) {
        self.marker_seen.store(true, Ordering::Relaxed);
    }

    fn attempt<'a>(&'a self, job: &'a Job, gate: &'a Gate) -> Pending<'a, Verdict> {
        Box::pin(async move {
            let began = self.now();
            let (verdict, _) = self.try_once(job, gate).await;
            self.learn(&verdict);
            verdict.after_ms(whole_ms(self.now() - began))
        })
    }

    fn look<'a>(&'a self, job: &'a Job, receipt: &'a str) -> Pending<'a, LookupResult> {
        Box::pin(self.look_once(job, receipt))
    }

    fn read_target<'a>(&'a self, job: &'a Job) -> Pending<'a, Result<ReadBack, String>> {
        Box::pin(async move { self.read(&self.lookup_scope(job), job.id).await })
    }

    fn settles_within(&self) -> Option<Duration> {
        self.channel.settles_within()
    }

    fn rehearse(&self, job: &Job) -> Result<Rendered, Box<Verdict>> {
        self.prepare(job, &self.scope(job))?;
        let scope = self.channel.redacted_scope(Arc::clone(&job.comment), job.id, self.wire.clock.unix_ms());
        let scope = scope.with_caller(whole_ms(job.deadline.since(self.now())), &job.trace_id);
        let mut request = self.prepare(job, &scope)?;
        self.senders.apply_redacted(&mut request);
        let mut headers: Vec<(String, String)> = identity(job)
            .iter()
            .chain(&request.headers)
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        if self.wire.base.basic().is_some() {
            headers.push(("authorization".into(), REDACTED.into()));
        }
        Ok(Rendered {
            method: request.method.to_string(),
            url: format!("{}{}", self.wire.base.origin(), self.wire.base.join(&request.path_and_query))
                .replace("%2A%2A%2A", REDACTED),
            headers,
            body: shown_body(&request.body),
        })
    }
}

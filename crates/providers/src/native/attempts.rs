//! One attempt: prepared, signed, handed over, judged.

use super::cassette::{ExchangeContext, Purpose, match_key, without_placeholders};
use super::client::{MAX_REPLY_BYTES, within};
use super::credentials::TokenError;
use super::failure::{ExchangeError, Side};
use super::identity::identity;
use super::native_http::{NOBODY, NativeHttp, is_unauthorized};
use crate::provider::{Provider, ProviderJob};
use crate::yield_once::yield_once;
use commentd_channels::{ChannelReply, HttpRequest, RenderError, Scope, Token};
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, VerdictKind};
use commentd_delivery::{Comment, Gate, Verdict};
use std::pin::pin;
use std::sync::Arc;

/// Attempts in one run of a delivery.
pub(super) const MAX_ATTEMPTS: u32 = 3;

impl NativeHttp {
    /// What can be said about this comment before anything is sent.
    pub(super) fn prepare(&self, job: &ProviderJob, scope: &Scope) -> Result<HttpRequest, Box<Verdict>> {
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
    pub async fn try_out(&self, job: &ProviderJob, gate: &Gate) -> (Verdict, Option<ChannelReply>) {
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

    pub(super) async fn try_once(&self, job: &ProviderJob, gate: &Gate) -> (Verdict, Option<ChannelReply>) {
        // What this channel can't carry is said before anybody is asked for a token.
        let mut scope = self.scope(job);
        let mut request = match self.prepare(job, &scope) {
            Ok(request) => request,
            Err(denied) => return (*denied, None),
        };
        let token = match self.senders.token(&self.client, Some(gate)).await {
            Ok(token) => token,
            Err(none) => return (self.without_token(&none), None),
        };
        if self.client.clock.unix_ms() != scope.unix_ms() {
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
        let outgoing = match self.client.outgoing(&request, identity(job)) {
            Ok(outgoing) => outgoing,
            Err(failure) => return (self.failed(&failure), None),
        };
        let context = self.exchange_context(job);
        // Each write may wake a process that takes the core from this one. So first whatever is ready here is brought
        // as far as this, and then all of it leaves in a row, for which a channel on this machine wakes once.
        yield_once().await;
        // A retry never reuses a connection: whatever broke the first may have broken all of its age.
        // Pinned, so that it is waited for where it is: it is large.
        let exchange = pin!(self.client.send(&request, outgoing, gate, job.attempt > 1, context));
        match within(self.client.timeout, exchange).await {
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

    pub(super) fn failed(&self, failure: &ExchangeError) -> Verdict {
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
    pub(super) fn exchange_context(&self, job: &ProviderJob) -> ExchangeContext<'static> {
        let (purpose, id, limit, token) = (Purpose::Send, job.id, MAX_REPLY_BYTES, None);
        if self.client.is_live() {
            return ExchangeContext {
                purpose,
                match_key: String::new(),
                id,
                placeholders: Vec::new(),
                limit,
                token,
            };
        }
        let (content, placeholders) = without_placeholders(&job.comment.content);
        let comment = Comment { content, addressing: job.comment.addressing.clone() };
        let scope = self.channel.redacted_scope(comment, NOBODY, 0).with_caller(0, &Arc::default());
        let match_key =
            self.channel.render(&scope).map_or_else(|error| error.0, |request| match_key(&request));
        ExchangeContext { purpose, match_key, id, placeholders, limit, token }
    }

    /// Adds the credentials to the request.
    pub(super) fn sign(
        &self,
        job: &ProviderJob,
        request: &mut HttpRequest,
        token: Option<&Token>,
        unix_ms: u64,
    ) -> Result<(), Box<Verdict>> {
        self.senders.apply(request, token, job.id, unix_ms).map_err(|error| {
            let message = format!("channel {}: {}", self.channel.name(), self.redact(&error.0));
            Box::new(Verdict::new(VerdictKind::Denied, message).with_code(Code::UpstreamUnauthorized))
        })
    }

    /// Without a token nothing was sent. One that the channel refuses is a matter of this provider alone.
    pub(super) fn without_token(&self, none: &TokenError) -> Verdict {
        let message = self.redact(&none.message);
        if none.refused {
            return Verdict::new(VerdictKind::Denied, message).with_code(Code::UpstreamUnauthorized);
        }
        let verdict = Verdict::new(VerdictKind::NotSent, message);
        if none.was_told { verdict.uncounted() } else { verdict }
    }

    /// What the reply means, in words that repeat no secret.
    pub(super) fn judge(&self, reply: &ChannelReply, scope: &Scope) -> Verdict {
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

    pub(super) fn timed_out(&self, gate: &Gate) -> Verdict {
        let timeout_ms = self.client.timeout.as_millis();
        if gate.cancel() {
            return Verdict::new(VerdictKind::NotSent, self.no_connection());
        }
        Verdict::new(
            VerdictKind::Unknown,
            format!("the comment was handed over, then nothing came back within {timeout_ms} ms"),
        )
    }
}

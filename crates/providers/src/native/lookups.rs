//! What is asked of the channel without any effect there: lookups, and whole targets.

use super::cassette::{ExchangeContext, Purpose, match_key};
use super::client::MAX_REPLY_BYTES;
use super::connection;
use super::credentials::Credentials;
use super::native_http::{NOBODY, NativeHttp, is_unauthorized};
use crate::provider::Provider;
use crate::provider::ProviderJob;
use commentd_channels::{
    ChannelReply, HttpRequest, ListResult, ListedComment, LookupPager, ReadBack, Scope, Token,
};
use commentd_contract::{Addressing, VerdictKind};
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::{Comment, DeliveryId, Verdict};

impl NativeHttp {
    /// Reads a whole target back: every comment that the channel shows there.
    ///
    /// # Errors
    /// Says why it can't be read: no lookup, no answer, one that is incomplete or may be old.
    pub async fn read_back(&self, sns_id: &str) -> Result<Vec<ListedComment>, String> {
        let addressing = Addressing { sns_id: sns_id.to_owned(), ..Addressing::default() };
        let comment = Comment { addressing: addressing.into(), ..Comment::default() };
        let id = NOBODY;
        let scope = self.channel.scope(comment, id, self.client.clock.unix_ms());
        let back = self.read(&scope, id).await?;
        if back.doubt.is_empty() { Ok(back.items) } else { Err(back.doubt) }
    }

    pub(super) async fn read(&self, scope: &Scope, id: DeliveryId) -> Result<ReadBack, String> {
        let mut pager = self.channel.read_back_pager(scope).ok_or_else(|| {
            format!("channel {} has no lookup, so nothing can be read back", self.channel.name())
        })?;
        let mut back = ReadBack::default();
        loop {
            if pager.collect_page(&self.ask(&pager, scope, id).await?, &mut back)? {
                return Ok(back);
            }
        }
    }

    /// The next page of a lookup, with its credentials. A token that the channel refuses is renewed once.
    async fn ask(
        &self,
        pager: &LookupPager<'_>,
        scope: &Scope,
        id: DeliveryId,
    ) -> Result<ChannelReply, String> {
        let request = pager.request().map_err(|error| error.0)?;
        let lasting = pager.request_without_nonce().map_err(|error| error.0)?;
        let limit = self.channel.lookup_limits().map_or(MAX_REPLY_BYTES, |limits| limits.max_reply_bytes);
        let context = || ExchangeContext {
            purpose: Purpose::Lookup,
            match_key: match_key(&lasting).replace(&id.to_string(), &NOBODY.to_string()),
            id,
            placeholders: Vec::new(),
            limit,
            token: None,
        };
        let explain = |error: String| {
            if error != connection::too_long(limit) {
                return error;
            }
            format!("{error}; let lookup.max_reply_bytes in the channel's manifest allow more")
        };
        let (reply, token) = self.ask_once(&self.readers, &request, context()).await.map_err(explain)?;
        let verdict = self.channel.judge(&reply, scope);
        match token.filter(|_| is_unauthorized(&verdict)) {
            Some(token) if self.readers.give_up(&token, self.now()) => {
                Ok(self.ask_once(&self.readers, &request, context()).await.map_err(explain)?.0)
            }
            _ => Ok(reply),
        }
    }

    pub(super) async fn ask_once(
        &self,
        credentials: &Credentials,
        request: &HttpRequest,
        context: ExchangeContext<'_>,
    ) -> Result<(ChannelReply, Option<Token>), String> {
        let token = credentials.token(&self.client, None).await.map_err(|none| self.redact(&none.message))?;
        let id = context.id;
        let mut request = request.clone();
        let signed = credentials.apply(&mut request, token.as_ref(), id, self.client.clock.unix_ms());
        signed.map_err(|error| error.0)?;
        // A read waits for its turn as long as it would for its reply, and is asked for again later.
        let now = self.now();
        let slot = self.rate_limiter.reserve(None, now, now + self.client.timeout).map_err(|late| {
            format!("channel {} takes {}, and its turns are used up", self.channel.name(), late.pace)
        })?;
        slot.wait(now).await;
        slot.count();
        let reply = self.client.ask(&request, context).await.map_err(|error| self.redact(&error))?;
        Ok((reply, token))
    }

    /// What is asked for when a comment is looked for.
    pub(super) fn lookup_scope(&self, job: &ProviderJob) -> Scope {
        let scope = self.scope(job);
        match job.began_ms {
            Some(began_ms) => scope.with_began_ms(began_ms),
            None => scope,
        }
    }

    pub(super) async fn lookup_once(&self, job: &ProviderJob, receipt: &str) -> LookupResult {
        let scope = self.lookup_scope(job);
        let Some(pager) = self.channel.lookup_pager(&scope, receipt) else {
            return LookupResult::CannotBeKnown;
        };
        match self.read_pages(pager, &scope, job.id).await {
            Ok(ListResult::Found { kind, comment_id, by_marker }) => {
                if by_marker {
                    self.marker_was_seen();
                }
                let mut verdict = Verdict::new(kind, "");
                if kind == VerdictKind::Misplaced {
                    "stored, but not as asked; found by a lookup".clone_into(&mut verdict.message);
                }
                verdict.comment_id_is_ours = !comment_id.is_empty();
                verdict.comment_id = comment_id;
                LookupResult::Found(verdict)
            }
            Ok(ListResult::NotFound { complete }) => LookupResult::NotFound { complete },
            Ok(ListResult::Alike(comment_id)) => LookupResult::Alike(self.redact(&comment_id)),
            Ok(ListResult::NoAnswer(reason)) | Err(reason) => {
                let reason = self.redact(&reason);
                tracing::warn!(id = %job.id, %reason, "the channel couldn't be asked for a comment");
                LookupResult::Failed(reason)
            }
        }
    }

    /// Asks for one page after another until one of them says what there is.
    async fn read_pages(
        &self,
        mut pager: LookupPager<'_>,
        scope: &Scope,
        id: DeliveryId,
    ) -> Result<ListResult, String> {
        loop {
            if let Some(result) = pager.read_page(&self.ask(&pager, scope, id).await?)? {
                return Ok(result);
            }
        }
    }
}

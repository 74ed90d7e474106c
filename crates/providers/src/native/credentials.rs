//! Credentials as they go along with requests; tokens are fetched by a call, kept, and renewed before they expire.

use super::cassette::{ExchangeContext, Purpose};
use super::client::{ChannelClient, MAX_REPLY_BYTES};
use commentd_channels::settings::redacted;
use commentd_channels::{Auth, HttpRequest, RenderError, Signing, Token, TokenCall};
use commentd_delivery::{DeliveryId, Gate, Moment};
use secrecy::{ExposeSecret, SecretString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// After a token call that failed, others get its failure for so long instead of making it again.
const FAILURE_LASTS: Duration = Duration::from_secs(1);

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenError {
    /// Whether the channel answered, and gave none; else it couldn't be asked.
    pub(super) refused: bool,
    /// Whether another attempt has told this failure already: one failed call is one failure, however many waited.
    pub(super) was_told: bool,
    /// Never holds a secret of the reply.
    pub(super) message: String,
}

/// One `[auth]` section at work. Cheap to clone; clones share their token.
#[derive(Clone)]
pub(super) struct Credentials {
    auth: Auth,
    tokens: Arc<TokenCache>,
}

#[derive(Default)]
struct TokenCache {
    state: Mutex<TokenState>,
    /// Held by the one renewal that is under way.
    renewal: tokio::sync::Mutex<()>,
}

/// Somebody who waits for the call that is under way.
struct TokenWaiter<'a> {
    tokens: &'a TokenCache,
    /// Nobody else waited: the call is this one's.
    is_first: bool,
}

impl<'a> TokenWaiter<'a> {
    fn new(tokens: &'a TokenCache) -> Self {
        let waiting = &mut tokens.state().waiting;
        let is_first = *waiting == 0;
        *waiting += 1;
        Self { tokens, is_first }
    }
}

impl Drop for TokenWaiter<'_> {
    fn drop(&mut self) {
        let waiting = &mut self.tokens.state().waiting;
        *waiting = waiting.saturating_sub(1);
    }
}

#[derive(Default)]
struct TokenState {
    /// How many wait for the call that is under way.
    waiting: u64,
    kept: Option<CachedToken>,
    /// The token before the one that is kept: replies under way may still repeat it.
    former: Option<SecretString>,
    failed: Option<(TokenError, Moment)>,
    /// When the channel's refusal last forced a renewal.
    forced_at: Option<Moment>,
    /// Whether the last token was refused, and none has come since.
    refused: bool,
}

#[derive(Clone)]
struct CachedToken {
    token: Token,
    renew_at: Option<Moment>,
    ends_at: Option<Moment>,
}

impl Credentials {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth, tokens: Arc::new(TokenCache::default()) }
    }

    /// The token to send with the next request, fetched by a call if there is none; `None` where the channel wants
    /// no token. Only one call is under way at a time, and it goes on when the caller that started it is gone: the
    /// others wait for its token, too, which their gates are told. A token that is about to expire is given out while
    /// the next is fetched.
    pub(super) async fn token(
        &self,
        wire: &Arc<ChannelClient>,
        gate: Option<&Gate>,
    ) -> Result<Option<Token>, TokenError> {
        let Auth::Token(call) = &self.auth else { return Ok(None) };
        let now = wire.clock.now();
        let kept = self.tokens.state().kept.clone();
        match kept {
            Some(kept) if kept.ends_at.is_none_or(|ends| now < ends) => {
                if kept.renew_at.is_some_and(|at| now >= at) && self.tokens.renewal.try_lock().is_ok() {
                    // Nobody waits for it; a failure leaves the old token in use until its end.
                    tokio::spawn(self.tokens.clone().renewed(call.clone(), wire.clone()));
                }
                Ok(Some(kept.token))
            }
            _ => {
                let waiter = TokenWaiter::new(&self.tokens);
                if let Some(gate) = gate.filter(|_| !waiter.is_first) {
                    gate.waits();
                }
                let renewal = tokio::spawn(self.tokens.clone().renewed(call.clone(), wire.clone()));
                let renewed = renewal.await;
                if let Some(gate) = gate.filter(|_| !waiter.is_first) {
                    gate.goes_on(wire.clock.now());
                }
                drop(waiter);
                let broken = |_| TokenError {
                    refused: false,
                    was_told: false,
                    message: "the token call broke off".into(),
                };
                match renewed.map_err(broken)? {
                    Ok(token) => Ok(Some(token)),
                    Err(none) => Err(self.tokens.tell(none)),
                }
            }
        }
    }

    /// Puts the credentials into a request.
    pub(super) fn apply(
        &self,
        request: &mut HttpRequest,
        token: Option<&Token>,
        id: DeliveryId,
        unix_ms: u64,
    ) -> Result<(), RenderError> {
        self.auth.apply(request, token, &Signing { id, unix_s: unix_ms / 1000 })
    }

    /// The same for people, with `***` for secrets.
    pub(super) fn apply_redacted(&self, request: &mut HttpRequest) {
        self.auth.apply_redacted(request);
    }

    /// The channel refuses this token. True if the next request gets another one: it was replaced already, or it
    /// is given up now. False if a refusal forced a renewal a short while ago, so that this wouldn't help.
    pub(super) fn give_up(&self, token: &Token, now: Moment) -> bool {
        let Auth::Token(call) = &self.auth else { return false };
        let mut state = self.tokens.state();
        let used = token.secret.expose_secret();
        if state.kept.as_ref().is_none_or(|kept| kept.token.secret.expose_secret() != used) {
            return true;
        }
        if state.forced_at.is_some_and(|forced| now.since(forced) < call.renew_apart) {
            return false;
        }
        state.former = state.kept.take().map(|kept| kept.token.secret);
        state.forced_at = Some(now);
        state.refused = true;
        true
    }

    /// Replaces what is secret in these credentials by `***`.
    pub(super) fn redact(&self, text: &str) -> String {
        let state = self.tokens.state();
        let tokens = state.kept.iter().map(|kept| &kept.token.secret).chain(&state.former);
        tokens.fold(self.auth.redact(text.to_owned()), |text, token| redacted(text, token.expose_secret()))
    }
}

impl TokenCache {
    fn state(&self) -> MutexGuard<'_, TokenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A failure for one of those who waited for the call; from then on it has been told.
    fn tell(&self, none: TokenError) -> TokenError {
        match &mut self.state().failed {
            Some((failed, _)) => {
                TokenError { was_told: std::mem::replace(&mut failed.was_told, true), ..none }
            }
            None => none,
        }
    }

    /// A token that needs no renewal: the one that somebody else has just fetched, or a new one.
    async fn renewed(
        self: Arc<Self>,
        call: Box<TokenCall>,
        wire: Arc<ChannelClient>,
    ) -> Result<Token, TokenError> {
        let _renewal = self.renewal.lock().await;
        let now = wire.clock.now();
        let forced = {
            let state = self.state();
            if let Some((failed, _)) = state.failed.as_ref().filter(|(_, at)| now.since(*at) < FAILURE_LASTS)
            {
                return Err(failed.clone());
            }
            match &state.kept {
                Some(kept) if kept.renew_at.is_none_or(|at| now < at) => return Ok(kept.token.clone()),
                _ => state.refused,
            }
        };
        let fetched = fetch(&call, &wire, forced).await;
        let now = wire.clock.now();
        let mut state = self.state();
        match fetched {
            Ok(token) => {
                let before = state.kept.take().map(|kept| kept.token.secret);
                if before.is_some() {
                    state.former = before;
                }
                let early = |good_for: Duration| good_for.saturating_sub(call.renew_early.min(good_for / 2));
                state.kept = Some(CachedToken {
                    renew_at: token.good_for.map(|good_for| now + early(good_for)),
                    ends_at: token.good_for.map(|good_for| now + good_for),
                    token: token.clone(),
                });
                state.failed = None;
                state.refused = false;
                Ok(token)
            }
            Err(failure) => {
                tracing::warn!(reason = %failure.message, "no token could be fetched");
                state.failed = Some((failure.clone(), now));
                Err(failure)
            }
        }
    }
}

async fn fetch(call: &TokenCall, wire: &ChannelClient, forced: bool) -> Result<Token, TokenError> {
    let unix_ms = wire.clock.unix_ms();
    let refused = |message: String| TokenError { refused: true, was_told: false, message };
    let request = call
        .render(forced, unix_ms)
        .map_err(|error| refused(format!("the token call can't be made: {}", error.0)))?;
    // A token call is known by its path alone: what else it says is secret.
    let match_key =
        format!("{} {}", request.method, request.path_and_query.split('?').next().unwrap_or_default());
    let id = DeliveryId::from_bytes([0; 16]);
    let limit = MAX_REPLY_BYTES;
    let context = ExchangeContext {
        purpose: Purpose::Token,
        match_key,
        id,
        placeholders: Vec::new(),
        limit,
        token: Some(call),
    };
    let reply = wire.ask(&request, context).await.map_err(|error| TokenError {
        refused: false,
        was_told: false,
        message: format!("the token call failed: {error}"),
    })?;
    match call.read(&reply, unix_ms) {
        Ok(Some(token)) => Ok(token),
        // A server in trouble may give one later, and so may one behind something that answers in its place; one that
        // answers itself says no.
        Ok(None) => Err(TokenError {
            refused: reply.status < 500
                && reply.status != 429
                && commentd_channels::json::read(&reply.body).is_ok(),
            was_told: false,
            message: format!("the token call gave no token (HTTP {}): {}", reply.status, said(&reply.body)),
        }),
        Err(error) => {
            Err(refused(format!("the token call's reply can't be read (HTTP {}): {error}", reply.status)))
        }
    }
}

/// The first words of a reply without a token. What was sent isn't in it as far as we know; the caller redacts.
fn said(body: &[u8]) -> String {
    commentd_channels::shortened(&String::from_utf8_lossy(body))
}

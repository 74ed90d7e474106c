//! How a channel wants to know who we are: `[auth]`, compiled against the settings.

use crate::language::Expr;
use crate::leaf::Leaf;
use crate::reply::ChannelReply;
use crate::request::{HttpRequest, RenderError, RequestTemplate};
use crate::scope::reply_scope;
use crate::settings::{REDACTED, redacted};
use crate::signature::{SigningKey, sign};
use crate::written::{AuthKind, SendAs, WrittenAuth};
use base64::Engine;
use commentd_delivery::DeliveryId;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use minijinja::{Value, context};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// How long before its end a token is renewed, and how far forced renewals lie apart, where nothing is said.
const RENEW_EARLY: Duration = Duration::from_secs(300);
const RENEW_APART: Duration = Duration::from_secs(30);

/// An `[auth]` section whose expressions are compiled; still without settings.
#[derive(Clone, Debug)]
pub(crate) enum CompiledAuth {
    None,
    Basic { user: Expr, password: Expr },
    Secret { place: SecretPlace, secret: Expr },
    Token(Box<CompiledToken>),
    Signature { keys: Vec<Expr> },
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledToken {
    request: RequestTemplate,
    token: Expr,
    expires_in_s: Option<Leaf>,
    renew_early_s: Option<Leaf>,
    renew_apart_s: Option<Leaf>,
    place: SecretPlace,
    sent: Option<Expr>,
}

/// Where a secret stands in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// `Authorization: Bearer …`.
    Bearer,
    /// A header.
    Header(HeaderName),
    /// A part of the query.
    Query(String),
}

/// How a channel wants to know who we are.
#[derive(Clone)]
pub enum Auth {
    /// It doesn't, or the request's own headers say it.
    None,
    /// By a secret that stays the same. What is sent may differ from the settings' own words, as Basic does.
    Secret {
        /// Where it stands.
        place: SecretPlace,
        /// What is sent.
        sent: SecretString,
    },
    /// By a token that a call gives.
    Token(Box<TokenCall>),
    /// By signatures (Standard Webhooks).
    Signature(Vec<SigningKey>),
}

/// The call that gives a token.
#[derive(Clone)]
pub struct TokenCall {
    compiled: CompiledToken,
    settings: Value,
    /// How long before its end a token is renewed.
    pub renew_early: Duration,
    /// How far renewals lie apart that the channel's refusals force.
    pub renew_apart: Duration,
}

/// A token, as the call gave it.
#[derive(Clone)]
pub struct Token {
    /// The token.
    pub secret: SecretString,
    /// How long it is good; `None`: nobody says.
    pub good_for: Option<Duration>,
}

/// What a request needs beside what the manifest renders.
pub struct Signing {
    /// Stays the same over all attempts of a delivery.
    pub id: DeliveryId,
    /// Wall time in seconds since 1970.
    pub unix_s: u64,
}

impl CompiledAuth {
    /// # Errors
    /// DeliveryNames the key below the section, for example `password`.
    pub(crate) fn compile(written: &WrittenAuth) -> Result<Self, String> {
        written.refuse_idle_keys()?;
        let expr = |key: &str, source: &Option<String>| match source {
            None => Err(format!("{key}: is missing; kind = {} needs it", written.kind.quoted())),
            Some(source) => Expr::compile(source).map_err(|error| format!("{key}: {error}")),
        };
        let secret = |key: &str, source: &Option<String>| {
            let expr = expr(key, source)?;
            refuse_written_secret(key, &expr)?;
            Ok::<_, String>(expr)
        };
        Ok(match written.kind {
            AuthKind::None => Self::None,
            AuthKind::Basic => Self::Basic {
                user: expr("user", &written.user)?,
                password: secret("password", &written.password)?,
            },
            AuthKind::Bearer => {
                Self::Secret { place: SecretPlace::Bearer, secret: secret("secret", &written.secret)? }
            }
            AuthKind::Header => {
                Self::Secret { place: written.header()?, secret: secret("secret", &written.secret)? }
            }
            AuthKind::Query => {
                Self::Secret { place: written.query()?, secret: secret("secret", &written.secret)? }
            }
            AuthKind::Token => Self::Token(Box::new(CompiledToken::compile(written)?)),
            AuthKind::Signature if written.keys.is_empty() => {
                return Err("keys: is missing; kind = \"signature\" needs at least one".into());
            }
            AuthKind::Signature => {
                let key = |source: &String| secret("keys", &Some(source.clone()));
                Self::Signature { keys: written.keys.iter().map(key).collect::<Result<_, _>>()? }
            }
        })
    }

    /// With these settings, secrets in the clear.
    ///
    /// # Errors
    /// DeliveryNames the key, never the secret.
    pub(crate) fn with_settings(&self, settings: &Value) -> Result<Auth, String> {
        let scope = context! { settings => settings.clone() };
        Ok(match self {
            Self::None => Auth::None,
            Self::Basic { user, password } => {
                let (user, password) = (user.text(&scope)?, password.text(&scope)?);
                if user.contains(':') {
                    return Err("user: must not have a colon".into());
                }
                if user.is_empty() && password.is_empty() {
                    return Ok(Auth::None);
                }
                let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Auth::Secret {
                    place: SecretPlace::Header(AUTHORIZATION),
                    sent: format!("Basic {encoded}").into(),
                }
            }
            Self::Secret { place, secret } => match secret.text(&scope)? {
                none if none.is_empty() => Auth::None,
                sent => Auth::Secret { place: place.clone(), sent: sent.into() },
            },
            Self::Token(compiled) => Auth::Token(Box::new(compiled.with_settings(settings, &scope)?)),
            Self::Signature { keys } => {
                let mut some = Vec::with_capacity(keys.len());
                for key in keys {
                    let text = key.text(&scope)?;
                    if !text.is_empty() {
                        some.push(
                            SigningKey::parse(&text)
                                .map_err(|error| format!("keys: `{}` {error}", key.source()))?,
                        );
                    }
                }
                if some.is_empty() { Auth::None } else { Auth::Signature(some) }
            }
        })
    }
}

/// A manifest is handed around; a secret in it would be everybody's.
fn refuse_written_secret(key: &str, expr: &Expr) -> Result<(), String> {
    if expr.source().contains("settings") {
        return Ok(());
    }
    Err(format!(
        "{key}: a secret must not stand in a manifest; make it a setting of type secret, and write settings.NAME here"
    ))
}

impl CompiledToken {
    fn compile(written: &WrittenAuth) -> Result<Self, String> {
        let leaf = |key: &str, value: &Option<toml::Value>| {
            value.as_ref().map(Leaf::compile).transpose().map_err(|error| format!("{key}: {error}"))
        };
        let request =
            written.request.as_ref().ok_or("request: is missing; kind = \"token\" needs the call")?;
        let token =
            written.token.as_ref().ok_or("token: is missing; kind = \"token\" needs to know where it is")?;
        Ok(Self {
            request: RequestTemplate::compile(request).map_err(|error| format!("request.{error}"))?,
            token: Expr::compile(token).map_err(|error| format!("token: {error}"))?,
            expires_in_s: leaf("expires_in_s", &written.expires_in_s)?,
            renew_early_s: leaf("renew_early_s", &written.renew_early_s)?,
            renew_apart_s: leaf("renew_apart_s", &written.renew_apart_s)?,
            place: match written.send_as {
                SendAs::Bearer => SecretPlace::Bearer,
                SendAs::Header => written.header()?,
                SendAs::Query => written.query()?,
            },
            sent: written
                .secret
                .as_deref()
                .map(Expr::compile)
                .transpose()
                .map_err(|error| format!("secret: {error}"))?,
        })
    }

    fn with_settings(&self, settings: &Value, scope: &Value) -> Result<TokenCall, String> {
        let seconds = |key: &str, leaf: &Option<Leaf>, otherwise: Duration| match leaf {
            None => Ok(otherwise),
            Some(leaf) => {
                let found = leaf.duration(scope).map_err(|error| format!("{key}: {error}"))?;
                Ok::<_, String>(found.unwrap_or(otherwise))
            }
        };
        Ok(TokenCall {
            settings: settings.clone(),
            renew_early: seconds("renew_early_s", &self.renew_early_s, RENEW_EARLY)?,
            renew_apart: seconds("renew_apart_s", &self.renew_apart_s, RENEW_APART)?,
            compiled: self.clone(),
        })
    }
}

impl AuthKind {
    fn quoted(self) -> &'static str {
        match self {
            AuthKind::None => "\"none\"",
            AuthKind::Basic => "\"basic\"",
            AuthKind::Bearer => "\"bearer\"",
            AuthKind::Header => "\"header\"",
            AuthKind::Query => "\"query\"",
            AuthKind::Token => "\"token\"",
            AuthKind::Signature => "\"signature\"",
        }
    }
}

impl WrittenAuth {
    fn header(&self) -> Result<SecretPlace, String> {
        let name = self
            .name
            .as_deref()
            .ok_or("name: is missing; write the header's name, for example \"X-Api-SigningKey\"")?;
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("name: {name:?} is no header name"))?;
        crate::request::refuse_own_header(&header).map_err(|error| format!("name: {error}"))?;
        Ok(SecretPlace::Header(header))
    }

    fn query(&self) -> Result<SecretPlace, String> {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        let name =
            name.ok_or("name: is missing; write the name in the query, for example \"access_token\"")?;
        Ok(SecretPlace::Query(name.to_owned()))
    }

    /// A key that this kind doesn't use would be a misunderstanding.
    fn refuse_idle_keys(&self) -> Result<(), String> {
        use AuthKind::{Basic, Bearer, Header, Query, Signature, Token};
        let is_named = self.kind != Token || self.send_as != SendAs::Bearer;
        let keys: [(&str, bool, &[AuthKind]); 9] = [
            ("user", self.user.is_some(), &[Basic]),
            ("password", self.password.is_some(), &[Basic]),
            ("secret", self.secret.is_some(), &[Bearer, Header, Query, Token]),
            ("name", self.name.is_some(), if is_named { &[Header, Query, Token] } else { &[] }),
            ("keys", !self.keys.is_empty(), &[Signature]),
            ("request", self.request.is_some(), &[Token]),
            ("token", self.token.is_some(), &[Token]),
            ("expires_in_s", self.expires_in_s.is_some(), &[Token]),
            ("send_as", self.send_as != SendAs::Bearer, &[Token]),
        ];
        let renewals = [("renew_early_s", &self.renew_early_s), ("renew_apart_s", &self.renew_apart_s)];
        let renewals = renewals.map(|(key, value)| (key, value.is_some(), [Token].as_slice()));
        for (key, is_given, kinds) in keys.into_iter().chain(renewals) {
            if is_given && !kinds.contains(&self.kind) {
                let kind = self.kind.quoted();
                return Err(format!(
                    "{key}: has no meaning with kind = {kind}; remove it, or choose another kind"
                ));
            }
        }
        Ok(())
    }
}

impl Auth {
    /// Puts credentials into a request: the secret, or `token` where a call gave one, or a signature over the
    /// body.
    ///
    /// # Errors
    /// When a header can't carry them; never says what they are.
    pub fn apply(
        &self,
        request: &mut HttpRequest,
        token: Option<&Token>,
        signing: &Signing,
    ) -> Result<(), RenderError> {
        match self {
            Auth::None => Ok(()),
            Auth::Secret { place, sent } => place.put(request, sent.expose_secret()),
            Auth::Token(call) => {
                let Some(token) = token else { return Ok(()) };
                let sent = call.sent(token).map_err(RenderError)?;
                call.compiled.place.put(request, sent.expose_secret())
            }
            Auth::Signature(keys) => {
                let id = signing.id.text();
                let signed = sign(keys, &id, signing.unix_s, &request.body);
                for (name, text) in [
                    ("webhook-id", &id),
                    ("webhook-timestamp", &signing.unix_s.to_string()),
                    ("webhook-signature", &signed),
                ] {
                    SecretPlace::Header(HeaderName::from_static(name)).put(request, text)?;
                }
                Ok(())
            }
        }
    }

    /// The same for people: `***` where a secret would stand.
    pub fn apply_redacted(&self, request: &mut HttpRequest) {
        let place = match self {
            Auth::None => return,
            Auth::Secret { place, .. } => place.clone(),
            Auth::Token(call) => call.compiled.place.clone(),
            Auth::Signature(_) => SecretPlace::Header(HeaderName::from_static("webhook-signature")),
        };
        // Three asterisks fit everywhere.
        let _ = place.put_plainly(request, REDACTED);
    }

    /// Replaces what is secret in these credentials by `***`.
    pub fn redact(&self, text: String) -> String {
        match self {
            Auth::Secret { sent, .. } => {
                let sent = sent.expose_secret();
                redacted(redacted(text, sent), sent.strip_prefix("Basic ").unwrap_or_default())
            }
            Auth::None | Auth::Token(_) | Auth::Signature(_) => text,
        }
    }
}

impl SecretPlace {
    fn put(&self, request: &mut HttpRequest, secret: &str) -> Result<(), RenderError> {
        match self {
            SecretPlace::Bearer => Self::put_header(request, AUTHORIZATION, &format!("Bearer {secret}")),
            place => place.put_plainly(request, secret),
        }
    }

    fn put_plainly(&self, request: &mut HttpRequest, text: &str) -> Result<(), RenderError> {
        match self {
            SecretPlace::Bearer => Self::put_header(request, AUTHORIZATION, text),
            SecretPlace::Header(name) => Self::put_header(request, name.clone(), text),
            SecretPlace::Query(name) => {
                request.add_query(name, text);
                Ok(())
            }
        }
    }

    fn put_header(request: &mut HttpRequest, name: HeaderName, text: &str) -> Result<(), RenderError> {
        let mut value = HeaderValue::from_str(text).map_err(|_| {
            RenderError(format!("header {name}: the credentials have characters that a header can't carry"))
        })?;
        value.set_sensitive(true);
        request.headers.push((name, value));
        Ok(())
    }
}

impl TokenCall {
    /// The call itself; `forced` if the channel refused the last token. `unix_ms` is wall time in milliseconds
    /// since 1970.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn render(&self, forced: bool, unix_ms: u64) -> Result<HttpRequest, RenderError> {
        self.compiled.request.render(&self.scope(forced, unix_ms))
    }

    /// The token in the call's reply; `None` if there is none.
    ///
    /// # Errors
    /// When an expression fails on the reply.
    pub fn read(&self, reply: &ChannelReply, unix_ms: u64) -> Result<Option<Token>, String> {
        if !(200..300).contains(&reply.status) {
            return Ok(None);
        }
        let scope = reply_scope(reply, self.scope(false, unix_ms));
        let secret = self.compiled.token.text(&scope)?;
        if secret.is_empty() {
            return Ok(None);
        }
        let good_for = match &self.compiled.expires_in_s {
            None => None,
            Some(leaf) => leaf.lifetime(&scope).map_err(|error| format!("expires_in_s: {error}"))?,
        };
        Ok(Some(Token { secret: secret.into(), good_for }))
    }

    fn sent(&self, token: &Token) -> Result<SecretString, String> {
        let Some(expr) = &self.compiled.sent else { return Ok(token.secret.clone()) };
        let scope = context! { settings => self.settings.clone(), token => token.secret.expose_secret() };
        expr.text(&scope).map(Into::into)
    }

    fn scope(&self, forced: bool, unix_ms: u64) -> Value {
        context! { settings => self.settings.clone(), forced => forced, now_ms => unix_ms, now_s => unix_ms / 1000 }
    }
}

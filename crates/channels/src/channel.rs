//! A manifest compiled against its settings.

use crate::auth::{Auth, CompiledAuth};
use crate::judge::ReplyRules;
use crate::language::Expr;
use crate::leaf::Leaf;
use crate::lookup::{CompiledLookup, LookupLimits, LookupPager};
use crate::pace::Pace;
use crate::probe::{Ability, CompiledProbe};
use crate::reply::ChannelReply;
use crate::request::{HttpRequest, RenderError, RequestTemplate};
use crate::scope::{DeliveryNames, Scope};
use crate::settings::Settings;
use crate::written::{WrittenManifest, WrittenRequired};
use commentd_delivery::lookup::LookupAbility;
use commentd_delivery::{Comment, DeliveryId, Verdict};
use minijinja::{Value, context};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A manifest's expressions, compiled; still without settings.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    send: RequestTemplate,
    replies: ReplyRules,
    /// What must hold before anything is sent, and what to say where it doesn't.
    required: Vec<(Expr, String)>,
    marker: Option<Expr>,
    account: Option<Expr>,
    paces: Vec<CompiledPace>,
    auth: CompiledAuth,
    lookup_auth: Option<CompiledAuth>,
    probe: Option<CompiledProbe>,
    lookup: Option<CompiledLookup>,
    settles_within_s: Option<Leaf>,
    deduplicates_within_s: Option<Leaf>,
}

impl Compiled {
    pub(crate) fn compile(written: &WrittenManifest) -> Result<Self, String> {
        let expr = |key: &str, source: &Option<String>| {
            source.as_deref().map(Expr::compile).transpose().map_err(|error| format!("{key}: {error}"))
        };
        let leaf = |key: &str, value: &Option<toml::Value>| {
            value.as_ref().map(Leaf::compile).transpose().map_err(|error| format!("{key}: {error}"))
        };
        let required = |(index, required): (usize, &WrittenRequired)| {
            let that =
                Expr::compile(&required.that).map_err(|error| format!("require[{index}].that: {error}"))?;
            Ok::<_, String>((that, required.message.clone()))
        };
        Ok(Self {
            send: RequestTemplate::compile(&written.send).map_err(|error| format!("send.{error}"))?,
            replies: ReplyRules::compile(written)?,
            required: written.required.iter().enumerate().map(required).collect::<Result<_, _>>()?,
            marker: expr("marker", &written.marker)?,
            account: expr("account", &written.account)?,
            paces: written
                .limits
                .pace
                .iter()
                .map(|text| CompiledPace::compile(text))
                .collect::<Result<_, _>>()?,
            auth: CompiledAuth::compile(&written.auth).map_err(|error| format!("auth.{error}"))?,
            lookup_auth: match written.lookup.as_ref().and_then(|lookup| lookup.auth.as_ref()) {
                None => None,
                Some(auth) => {
                    Some(CompiledAuth::compile(auth).map_err(|error| format!("lookup.auth.{error}"))?)
                }
            },
            probe: written.probe.as_ref().map(CompiledProbe::compile).transpose()?,
            lookup: written.lookup.as_ref().map(CompiledLookup::compile).transpose()?,
            settles_within_s: leaf("settles_within_s", &written.settles_within_s)?,
            deduplicates_within_s: leaf("deduplicates_within_s", &written.deduplicates_within_s)?,
        })
    }
}

#[derive(Clone, Debug)]
enum CompiledPace {
    Fixed(Pace),
    Expr(Expr),
}

impl CompiledPace {
    fn compile(text: &str) -> Result<Self, String> {
        let said = |error: String| format!("limits.pace: {error}");
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return Pace::parse(text).map(Self::Fixed).map_err(said);
        }
        Expr::compile(text).map(Self::Expr).map_err(said)
    }
}

impl Compiled {
    fn paces(&self, scope: &Value) -> Result<Vec<Pace>, String> {
        let mut paces = Vec::with_capacity(self.paces.len());
        for pace in &self.paces {
            match pace {
                CompiledPace::Fixed(pace) => paces.push(*pace),
                CompiledPace::Expr(expr) => {
                    let text = expr.text(scope).map_err(|error| format!("limits.pace: {error}"))?;
                    if !text.trim().is_empty() {
                        paces.push(Pace::parse(&text).map_err(|error| format!("limits.pace: {error}"))?);
                    }
                }
            }
        }
        Ok(paces)
    }
}

/// A channel: a manifest with its settings.
#[derive(Clone)]
pub struct Channel {
    name: String,
    version: u32,
    account: String,
    auth: Auth,
    lookup_auth: Option<Auth>,
    lookup: Option<LookupAbility>,
    lookup_limits: Option<LookupLimits>,
    settles_within: Option<Duration>,
    deduplicates_within: Option<Duration>,
    max_content_bytes: Option<usize>,
    paces: Vec<Pace>,
    concurrency: Option<usize>,
    settings: Settings,
    exposed: Value,
    redacted: Value,
    compiled: Compiled,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand, because the settings that expressions see have their secrets in the clear.
        f.debug_struct("Channel")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("settings", &self.redacted.to_string())
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// A channel of this kind with these settings.
    ///
    /// # Errors
    /// DeliveryNames the setting.
    pub(crate) fn new(
        written: &WrittenManifest,
        compiled: &Compiled,
        given: &BTreeMap<String, toml::Value>,
    ) -> Result<Self, String> {
        let settings = Settings::check(&written.name, &written.settings, given)?;
        let exposed = settings.exposed();
        let scope = context! { settings => exposed.clone() };
        let seconds = |leaf: &Option<Leaf>, key: &str| match leaf {
            None => Ok(None),
            Some(leaf) => leaf.duration(&scope).map_err(|error| format!("{key}: {error}")),
        };
        let settles_within = seconds(&compiled.settles_within_s, "settles_within_s")?;
        let mut lookup_limits = None;
        let lookup = match &compiled.lookup {
            None => None,
            Some(lookup) => {
                lookup_limits = Some(lookup.limits(&scope)?);
                let sees = lookup
                    .sees_every_state
                    .eval(&scope)
                    .map_err(|error| format!("lookup.sees_every_state: {error}"))?;
                Some(LookupAbility {
                    settles_within,
                    sees_every_state: sees == Some(true.into()),
                    needs_marker: !lookup.has_slot(),
                })
            }
        };
        let auth = compiled.auth.with_settings(&exposed).map_err(|error| format!("auth.{error}"))?;
        let lookup_auth = match &compiled.lookup_auth {
            None => None,
            Some(auth) => Some(auth.with_settings(&exposed).map_err(|error| format!("lookup.auth.{error}"))?),
        };
        let account = match &compiled.account {
            None => String::new(),
            Some(account) => account.text(&context! { settings => settings.redacted() })?,
        };
        Ok(Self {
            name: written.name.clone(),
            version: written.version,
            account,
            auth,
            lookup_auth,
            lookup,
            lookup_limits,
            settles_within,
            deduplicates_within: seconds(&compiled.deduplicates_within_s, "deduplicates_within_s")?,
            max_content_bytes: written.limits.max_content_bytes,
            paces: compiled.paces(&scope)?,
            concurrency: written.limits.concurrency,
            redacted: settings.redacted(),
            exposed,
            settings,
            compiled: compiled.clone(),
        })
    }

    /// The manifest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The manifest's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Who comments, as far as the settings say.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// What a lookup can show; `None` without one.
    pub fn lookup_ability(&self) -> Option<LookupAbility> {
        self.lookup
    }

    /// How much a lookup reads; `None` without one.
    pub fn lookup_limits(&self) -> Option<LookupLimits> {
        self.lookup_limits
    }

    /// The longest that a request which was cut off may still be stored; `None` if nobody says.
    pub fn settles_within(&self) -> Option<Duration> {
        self.settles_within
    }

    /// How long the channel deduplicates by our key.
    pub fn deduplicates_within(&self) -> Option<Duration> {
        self.deduplicates_within
    }

    /// The longest comment, in bytes.
    pub fn max_content_bytes(&self) -> Option<usize> {
        self.max_content_bytes
    }

    /// How fast requests may follow each other.
    pub fn paces(&self) -> &[Pace] {
        &self.paces
    }

    /// Most requests at a time.
    pub fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    /// How it wants to know who we are.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The same for lookups, where that differs.
    pub fn lookup_auth(&self) -> Option<&Auth> {
        self.lookup_auth.as_ref()
    }

    /// Whether the channel can be asked if it is there.
    pub fn has_probe(&self) -> bool {
        self.compiled.probe.is_some()
    }

    /// Whether it then also says if it would take our comments.
    pub fn tells_ability(&self) -> bool {
        self.compiled.probe.as_ref().is_some_and(CompiledProbe::can_say_no)
    }

    /// The request that asks whether we are able to post; `None` if there is none.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn render_probe(&self, unix_ms: u64) -> Option<Result<HttpRequest, RenderError>> {
        Some(self.compiled.probe.as_ref()?.render(&self.probe_scope(unix_ms)))
    }

    /// What the reply to it says.
    pub fn ability(&self, reply: &ChannelReply, unix_ms: u64) -> Ability {
        match &self.compiled.probe {
            None => Ability::Unclear("the channel has no probe".into()),
            Some(probe) => probe.judge(reply, &self.probe_scope(unix_ms)).redacted(|text| self.redact(text)),
        }
    }

    fn probe_scope(&self, unix_ms: u64) -> Scope {
        self.scope(Comment::default(), DeliveryId::from_bytes([0; 16]), unix_ms)
    }

    /// Replaces the channel's secrets in a text that people will see.
    pub fn redact(&self, text: &str) -> String {
        self.settings.redact(text)
    }

    /// What carries this delivery's id through the channel; empty for nothing.
    pub fn marker(&self, id: DeliveryId) -> String {
        let Some(marker) = &self.compiled.marker else { return String::new() };
        let scope = context! { settings => self.exposed.clone(), delivery_id => id.to_string() };
        marker.text(&scope).unwrap_or_default()
    }

    /// The scope of one delivery. `unix_ms` is wall time in milliseconds since 1970.
    pub fn scope(&self, comment: impl Into<Arc<Comment>>, id: DeliveryId, unix_ms: u64) -> Scope {
        self.scope_with(&self.exposed, comment.into(), id, unix_ms)
    }

    /// The same with secrets as `***`, for showing.
    pub fn redacted_scope(&self, comment: impl Into<Arc<Comment>>, id: DeliveryId, unix_ms: u64) -> Scope {
        self.scope_with(&self.redacted, comment.into(), id, unix_ms)
    }

    fn scope_with(&self, settings: &Value, comment: Arc<Comment>, id: DeliveryId, unix_ms: u64) -> Scope {
        Scope::new(DeliveryNames {
            settings: settings.clone(),
            comment,
            id,
            digits: id.digits(),
            marker: self.marker(id),
            unix_ms,
            left_ms: None,
            trace_id: Arc::default(),
            began_ms: None,
        })
    }

    /// What this comment lacks that the channel can't do without, in the manifest's words; `None` if nothing.
    ///
    /// # Errors
    /// When an expression fails on this comment.
    pub fn lacking(&self, scope: &Scope) -> Result<Option<&str>, RenderError> {
        let values = scope.value();
        for (that, message) in &self.compiled.required {
            if !that.holds(&values).map_err(RenderError)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The request that carries the comment.
    ///
    /// # Errors
    /// When an expression fails on this comment: this channel can't carry it.
    pub fn render(&self, scope: &Scope) -> Result<HttpRequest, RenderError> {
        self.compiled.send.render(&scope.value())
    }

    /// What the reply to it means.
    pub fn judge(&self, reply: &ChannelReply, scope: &Scope) -> Verdict {
        let mut verdict = self.compiled.replies.judge(reply, scope, &|text| self.redact(text));
        verdict.message = self.redact(&verdict.message);
        verdict.provider_error_code = self.redact(&verdict.provider_error_code);
        verdict.provider_error_message = self.redact(&verdict.provider_error_message);
        verdict.distrusting_receipts()
    }

    /// The id of the comment that a reply names, whosever it is; empty if it names none.
    pub(crate) fn receipt(&self, reply: &ChannelReply, scope: &Scope) -> String {
        self.compiled.replies.receipt(&scope.with_reply(reply))
    }

    /// A lookup of this delivery's comment. `receipt` is the comment id of a reply whose echo was ours, empty if
    /// there is none. `None` if the channel has no lookup, or one that this delivery can't be known by.
    pub fn lookup_pager(&self, scope: &Scope, receipt: &str) -> Option<LookupPager<'_>> {
        let lookup = self.compiled.lookup.as_ref()?;
        let marked = scope.is_marked();
        let can_be_known = marked || lookup.has_slot() || !receipt.is_empty();
        let limits = self.lookup_limits?;
        can_be_known.then(|| LookupPager::new(lookup, scope, marked, receipt, limits))
    }

    /// A reading of everything that the channel shows of the scope's target; `None` if it has no lookup.
    pub fn read_back_pager(&self, scope: &Scope) -> Option<LookupPager<'_>> {
        let unmarked = scope.with(context! { marker => () });
        Some(LookupPager::new(self.compiled.lookup.as_ref()?, &unmarked, false, "", self.lookup_limits?))
    }
}

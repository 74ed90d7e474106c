//! What a reply means: verdict predicates, echo, receipt.

use super::channel::Compiled;
use super::language::Expr;
use super::names::{Known, ReplyNames, Scope};
use super::written::WrittenVerdict;
use crate::json::Json;
use bytes::Bytes;
use commentd_contract::{Code, VerdictKind};
use commentd_delivery::Verdict;
use commentd_delivery::rule_switch::{RuleSwitch, is_off, is_on};
use commentd_delivery::verdict::{Contradiction, Effect, code_of, rule};
use http::{HeaderMap, HeaderName, HeaderValue};
use minijinja::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most of the channel's own words that are kept, in characters.
const MOST_WORDS: usize = 500;
/// Most places at which JSON is looked for in a reply that has something before it.
const MOST_STARTS: usize = 20;

/// A reply that was read whole. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

/// The headers of a reply. Of one that comes more than once, the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Arc<HeaderMap>);

impl Headers {
    /// The value under this name in lower case, what isn't UTF-8 in it replaced.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let value = self.0.get_all(name).iter().next_back()?;
        Some(String::from_utf8_lossy(value.as_bytes()))
    }

    /// All of them in order, names in lower case; of one that comes more than once, each.
    pub fn each(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
    }

    /// All of them, names in lower case.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        self.0.iter().map(pair).collect()
    }
}

impl From<HeaderMap> for Headers {
    fn from(headers: HeaderMap) -> Self {
        Self(Arc::new(headers))
    }
}

/// What can't be a header is left out.
impl FromIterator<(String, String)> for Headers {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        let header = |(name, value): (String, String)| {
            Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_bytes(value.as_bytes()).ok()?,
            ))
        };
        Self(Arc::new(pairs.into_iter().filter_map(header).collect()))
    }
}

#[derive(Clone, Debug)]
pub(super) enum VerdictRule {
    When { is: Judged, when: Expr },
    Of { of: Expr, map: BTreeMap<String, Judged>, otherwise: Option<Judged> },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    kind: VerdictKind,
    code: Code,
}

impl VerdictRule {
    pub(super) fn compile(written: &WrittenVerdict) -> Result<Self, String> {
        let code = match written.code {
            None => None,
            Some(number) => Some(
                Code::from_number(i64::from(number))
                    .ok_or_else(|| format!("code: {number} isn't an error code of the v1 contract"))?,
            ),
        };
        let judged = |word: &String| {
            let kind = verdict_kind(word)?;
            Ok::<_, String>(Judged { kind, code: code.unwrap_or(code_of(kind)) })
        };
        match (&written.is, &written.when, &written.of) {
            (Some(is), Some(when), None) if written.map.is_empty() && written.otherwise.is_none() => {
                Ok(Self::When {
                    is: judged(is).map_err(|e| format!("is: {e}"))?,
                    when: Expr::compile(when).map_err(|e| format!("when: {e}"))?,
                })
            }
            (None, None, Some(of)) if !written.map.is_empty() => Ok(Self::Of {
                of: Expr::compile(of).map_err(|e| format!("of: {e}"))?,
                map: written
                    .map
                    .iter()
                    .map(|(value, word)| {
                        Ok((value.clone(), judged(word).map_err(|e| format!("map.{value}: {e}"))?))
                    })
                    .collect::<Result<_, String>>()?,
                otherwise: {
                    let otherwise = written.otherwise.as_ref().map(judged).transpose();
                    otherwise.map_err(|e| format!("otherwise: {e}"))?
                },
            }),
            _ => Err(
                "is: a verdict has either `is` and `when`, or `of` and `map` (with `otherwise` if you like)"
                    .into(),
            ),
        }
    }

    fn judge(&self, scope: &Value) -> Result<Option<Judged>, String> {
        match self {
            Self::When { is, when } => Ok(when.holds(scope)?.then_some(*is)),
            Self::Of { of, map, otherwise } => {
                let judged = match of.known(scope) {
                    Some(Known::Text(text)) => map.get(text),
                    _ => {
                        let value = of.eval(scope)?;
                        if value.is_none() {
                            return Ok(None);
                        }
                        map.get(&value.to_string())
                    }
                };
                Ok(judged.copied().or(*otherwise))
            }
        }
    }
}

pub(super) fn verdict_kind(word: &str) -> Result<VerdictKind, String> {
    VerdictKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
        let words: Vec<&str> = VerdictKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("{word:?} is no verdict; there are: {}", words.join(", "))
    })
}

impl Reply {
    /// The body as text, without a byte order mark.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()
    }

    /// What the body is written in, as far as it can be told, where that isn't UTF-8.
    pub(super) fn charset(&self) -> Option<String> {
        if std::str::from_utf8(&self.body).is_ok() {
            return None;
        }
        let kind = self.headers.get("content-type").unwrap_or_default().to_ascii_lowercase();
        let named = kind.split(';').filter_map(|part| part.trim().strip_prefix("charset=")).next();
        let named =
            named.map(|name| name.trim_matches('"').to_owned()).filter(|name| !name.starts_with("utf-8"));
        Some(named.unwrap_or_else(|| guessed_charset(&self.body).to_owned()))
    }

    /// Why the body can't be read as JSON, for people; `None` if it can, or if there is nothing to say.
    fn why_unreadable(&self) -> Option<String> {
        let error = crate::json::read(&self.body).err()?;
        if let Some(charset) = self.charset() {
            return Some(format!("not UTF-8, but {charset}"));
        }
        let text = self.text();
        let text = text.trim();
        if text.is_empty() {
            return Some("an empty body".into());
        }
        if text.starts_with(['{', '[']) {
            return Some(format!("its JSON can't be read: {error}"));
        }
        let ends_as_json = text.match_indices(['{', '[']).take(MOST_STARTS).any(|(start, _)| {
            text.get(start..).is_some_and(|rest| crate::json::read(rest.as_bytes()).is_ok())
        });
        Some(if ends_as_json {
            "its JSON has something before it, which somebody must switch off: a notice of PHP, a comment"
                .into()
        } else {
            "not JSON".into()
        })
    }

    /// The scope of expressions over this reply: what the request could use, and the reply.
    pub(super) fn scope(&self, scope: &Scope) -> Value {
        self.values(&scope.value())
    }

    /// The same beside any values.
    pub(super) fn values(&self, values: &Value) -> Value {
        Value::from_object(ReplyNames::new(self.clone(), values.clone()))
    }
}

/// What a text that isn't UTF-8 looks like.
fn guessed_charset(text: &[u8]) -> &'static str {
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") || text.get(1) == Some(&0) {
        return "UTF-16";
    }
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return "perhaps GBK",
            [0..=0x7f, rest @ ..] => rest,
            [0x81..=0xfe, 0x40..=0x7e | 0x80..=0xfe, rest @ ..] => rest,
            _ => return "an unknown charset",
        };
    }
}

/// Judges the reply to the request that carried the comment.
pub(super) fn judge(
    compiled: &Compiled,
    reply: &Reply,
    scope: &Scope,
    redact: &dyn Fn(&str) -> String,
) -> Verdict {
    let values = reply.scope(scope);
    let judging = Judging { compiled, reply, scope, echo: Echo::read(compiled, &values), values, redact };
    // A redirect is never followed on send, and says nothing about what the first server did.
    if (300..400).contains(&reply.status) {
        return judging.bad_reply(format!(
            "the channel answered with a redirect (HTTP {}), which isn't followed",
            reply.status
        ));
    }
    let mut rules = compiled.verdicts.iter().map(|rule| rule.judge(&judging.values));
    let judged = match rules.find_map(Result::transpose) {
        Some(Ok(judged)) => judged,
        Some(Err(error)) => {
            return judging.unclear(format!("the channel's reply can't be judged: {error}"));
        }
        None => return judging.unclear(judging.unmatched()),
    };
    match rule(judged.kind).effect {
        Effect::One if judging.echo == Echo::Anothers => {
            let mut verdict =
                judging.bad_reply("the channel's reply echoes a comment that isn't this one".into());
            verdict.contradiction = Some(Contradiction::ForeignEcho);
            return verdict;
        }
        Effect::None => {
            if let Some(doubt) = judging.doubt() {
                let status = reply.status;
                return judging
                    .unclear(format!("the reply (HTTP {status}) reads as {}, but {doubt}", judged.kind));
            }
        }
        Effect::One | Effect::Unclear => {}
    }
    judging.verdict(judged)
}

/// The id of the comment that a reply names; empty if it names none.
pub(super) fn receipt(compiled: &Compiled, values: &Value) -> String {
    compiled.receipt.as_ref().and_then(|receipt| receipt.text(values).ok()).unwrap_or_default()
}

/// A reply on its way to a verdict.
struct Judging<'a> {
    compiled: &'a Compiled,
    reply: &'a Reply,
    scope: &'a Scope,
    values: Value,
    echo: Echo,
    redact: &'a dyn Fn(&str) -> String,
}

impl Judging<'_> {
    fn verdict(&self, judged: Judged) -> Verdict {
        let mut verdict = Verdict::new(judged.kind, "").with_code(judged.code);
        let receipt = receipt(self.compiled, &self.values);
        verdict.comment_id_is_ours = self.echo == Echo::Ours && !receipt.is_empty();
        verdict.comment_id = receipt;
        if judged.kind != VerdictKind::Delivered && judged.kind != VerdictKind::Held {
            self.add_words(&mut verdict);
            verdict.message = message_of(judged.kind, self.reply.status, &verdict.provider_error_message);
            verdict.retry_after_ms =
                retry_after_ms(self.compiled, self.reply, &self.values, self.scope.unix_ms());
        }
        verdict
    }

    /// The channel's own code and text.
    fn add_words(&self, verdict: &mut Verdict) {
        let words = |expr: &Option<Expr>| expr.as_ref().and_then(|expr| expr.text(&self.values).ok());
        let text = words(&self.compiled.failure_message).unwrap_or_else(|| self.reply.text());
        verdict.provider_error_code = self.shown(&words(&self.compiled.failure_code).unwrap_or_default());
        verdict.provider_error_message = self.shown(&text);
    }

    /// Words of the reply for people. Redacted before they are shortened: a secret that is cut in two can't be found
    /// any more.
    fn shown(&self, text: &str) -> String {
        match self.reply.charset() {
            Some(charset) if text.contains(char::REPLACEMENT_CHARACTER) => {
                format!("(a text in {charset}, which isn't read; only UTF-8 is)")
            }
            _ => shortened(&(self.redact)(text)),
        }
    }

    /// Why a reply that says no isn't believed; `None` if it is. Others write such replies, too, after the comment was
    /// stored as well as before.
    fn doubt(&self) -> Option<&'static str> {
        if self.echo == Echo::Anothers && is_on(RuleSwitch::RefusalsOfOthersProveNothing) {
            return Some("it answers another request than ours");
        }
        if self.is_from_channel() || is_off(RuleSwitch::ErrorPagesProveNothing) {
            return None;
        }
        Some("nothing in it shows that the channel itself wrote it, and not something before the channel")
    }

    /// Whether the channel itself wrote the reply, as far as the reply shows.
    fn is_from_channel(&self) -> bool {
        match &self.compiled.from_channel {
            Some(from_channel) => from_channel.holds(&self.values).unwrap_or(false),
            None => {
                let names = self.values.downcast_object_ref::<ReplyNames>();
                names.and_then(ReplyNames::json).is_some_and(Json::is_composed)
            }
        }
    }

    /// What to say of a reply that no rule matches.
    fn unmatched(&self) -> String {
        let status = self.reply.status;
        let words = self.shown(&super::language::plain(&self.reply.text()));
        let why = self.reply.why_unreadable().map(|why| format!(" ({why})")).unwrap_or_default();
        format!("no rule of the manifest matches the reply: HTTP {status}{why} {words}").trim_end().to_owned()
    }

    fn bad_reply(&self, message: String) -> Verdict {
        let mut verdict = Verdict::new(VerdictKind::Unknown, message).with_code(Code::UpstreamBadReply);
        self.add_words(&mut verdict);
        verdict
    }

    /// The same where the reply may name our comment: what it echoes as ours is one that a lookup may know by this id,
    /// although nobody has said what the reply means.
    fn unclear(&self, message: String) -> Verdict {
        let mut verdict = self.bad_reply(message);
        let receipt = receipt(self.compiled, &self.values);
        if self.echo != Echo::Anothers {
            verdict.comment_id = receipt;
        } else if !receipt.is_empty() {
            verdict.contradiction = Some(Contradiction::ForeignEcho);
        }
        verdict.comment_id_is_ours = self.echo == Echo::Ours && !verdict.comment_id.is_empty();
        verdict
    }
}

/// Whose comment a reply shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Echo {
    Ours,
    Anothers,
    /// The reply, or the manifest, doesn't say.
    Silent,
}

impl Echo {
    fn read(compiled: &Compiled, values: &Value) -> Self {
        match compiled.echo.as_ref().map(|echo| echo.eval(values)) {
            None => Self::Silent,
            Some(Ok(echoed)) if echoed.is_none() => Self::Silent,
            Some(Ok(echoed)) if echoed.is_true() => Self::Ours,
            Some(Ok(_) | Err(_)) => Self::Anothers,
        }
    }
}

fn message_of(kind: VerdictKind, status: u16, words: &str) -> String {
    let said = match kind {
        VerdictKind::Misplaced => "stored, but not as asked",
        VerdictKind::Duplicate => "the channel says that it has this comment already",
        VerdictKind::Refused => "the channel refused the comment",
        VerdictKind::Denied => "the channel doesn't let us post this comment",
        VerdictKind::Throttled => "the channel asks to slow down",
        VerdictKind::NotSent => "the channel says that it didn't process the comment",
        VerdictKind::Delivered | VerdictKind::Held | VerdictKind::Unknown => {
            "whether the channel stored the comment isn't known"
        }
    };
    if words.is_empty() {
        format!("{said} (HTTP {status})")
    } else {
        format!("{said} (HTTP {status}): {words}")
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), or what the manifest reads from the reply.
fn retry_after_ms(compiled: &Compiled, reply: &Reply, values: &Value, unix_ms: u64) -> Option<u64> {
    let by_header = reply.headers.get("retry-after").and_then(|value| hint_ms(&value, unix_ms));
    by_header.or_else(|| hint_ms(&compiled.retry_after_s.as_ref()?.text(values).ok()?, unix_ms))
}

fn hint_ms(text: &str, unix_ms: u64) -> Option<u64> {
    // Over a day, the hint says "not today"; keep the number in a range that arithmetic bears.
    let most_ms = 86_400_000;
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return (seconds >= 0.0).then(|| ((seconds * 1000.0) as u64).min(most_ms));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let since_1970 = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(commentd_contract::time::whole_ms(since_1970).saturating_sub(unix_ms).min(most_ms))
}

#[cfg(test)]
#[test]
fn hints_are_seconds_or_dates() {
    assert_eq!(hint_ms("2", 0), Some(2000));
    assert_eq!(hint_ms("1e300", 0), Some(86_400_000));
    assert_eq!(hint_ms("NaN", 0), None);
    assert_eq!(hint_ms("-1", 0), None);
    assert_eq!(hint_ms("Thu, 01 Jan 1970 00:01:00 GMT", 30_000), Some(30_000));
    assert_eq!(hint_ms("Thu, 01 Jan 1970 00:00:01 GMT", 30_000), Some(0));
    assert_eq!(hint_ms("soon", 0), None);
}

/// The first words of what the channel said, on one line.
pub fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST_WORDS {
        return line;
    }
    line.chars().take(MOST_WORDS).chain(std::iter::once('…')).collect()
}

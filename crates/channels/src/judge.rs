//! What a reply means: verdict predicates, echo, receipt.

use crate::json::Json;
use crate::language::{Expr, plain};
use crate::reply::{ChannelReply, shortened};
use crate::scope::{ReplyNames, Scope};
use crate::written::{WrittenManifest, WrittenVerdict};
use commentd_contract::{Code, VerdictKind};
use commentd_delivery::Verdict;
use commentd_delivery::rule_switch::{RuleSwitch, is_off, is_on};
use commentd_delivery::verdict::{Contradiction, Effect, code_of, rule};
use minijinja::Value;
use std::collections::BTreeMap;

/// Everything by which a manifest says what replies mean.
#[derive(Clone, Debug)]
pub(crate) struct ReplyRules {
    verdicts: Vec<VerdictRule>,
    receipt: Option<Expr>,
    echo: Option<Expr>,
    from_channel: Option<Expr>,
    failure_code: Option<Expr>,
    failure_message: Option<Expr>,
    retry_after_s: Option<Expr>,
}

#[derive(Clone, Debug)]
enum VerdictRule {
    When { is: RuleVerdict, when: Expr },
    Of { of: Expr, map: BTreeMap<String, RuleVerdict>, otherwise: Option<RuleVerdict> },
}

#[derive(Clone, Copy, Debug)]
struct RuleVerdict {
    kind: VerdictKind,
    code: Code,
}

impl VerdictRule {
    fn compile(written: &WrittenVerdict) -> Result<Self, String> {
        let code = match written.code {
            None => None,
            Some(number) => Some(
                Code::from_number(i64::from(number))
                    .ok_or_else(|| format!("code: {number} isn't an error code of the v1 contract"))?,
            ),
        };
        let judged = |word: &String| {
            let kind = verdict_kind(word)?;
            Ok::<_, String>(RuleVerdict { kind, code: code.unwrap_or(code_of(kind)) })
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

    fn judge(&self, scope: &Value) -> Result<Option<RuleVerdict>, String> {
        match self {
            Self::When { is, when } => Ok(when.holds(scope)?.then_some(*is)),
            Self::Of { of, map, otherwise } => {
                let value = of.eval(scope)?;
                if value.is_none() {
                    return Ok(None);
                }
                let judged = match value.as_str() {
                    Some(text) => map.get(text),
                    None => map.get(&value.to_string()),
                };
                Ok(judged.copied().or(*otherwise))
            }
        }
    }
}

pub(crate) fn verdict_kind(word: &str) -> Result<VerdictKind, String> {
    VerdictKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
        let words: Vec<&str> = VerdictKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("{word:?} is no verdict; there are: {}", words.join(", "))
    })
}

impl ReplyRules {
    pub(crate) fn compile(written: &WrittenManifest) -> Result<Self, String> {
        let expr = |key: &str, source: &Option<String>| {
            source.as_deref().map(Expr::compile).transpose().map_err(|error| format!("{key}: {error}"))
        };
        let verdicts = written.verdicts.iter().enumerate().map(|(index, rule)| {
            VerdictRule::compile(rule).map_err(|error| format!("verdict[{index}].{error}"))
        });
        Ok(Self {
            verdicts: verdicts.collect::<Result<_, _>>()?,
            receipt: expr("receipt", &written.receipt)?,
            echo: expr("echo", &written.echo)?,
            from_channel: expr("from_channel", &written.from_channel)?,
            failure_code: expr("failure.code", &written.failure.code)?,
            failure_message: expr("failure.message", &written.failure.message)?,
            retry_after_s: expr("failure.retry_after_s", &written.failure.retry_after_s)?,
        })
    }

    /// Judges the reply to the request that carried the comment. `redact` takes secrets out of what people read.
    pub(crate) fn judge(
        &self,
        reply: &ChannelReply,
        scope: &Scope,
        redact: &dyn Fn(&str) -> String,
    ) -> Verdict {
        let rules = self;
        let values = scope.with_reply(reply);
        let judging = ReplyJudgement { rules, reply, scope, echo: rules.echo(&values), values, redact };
        // A redirect is never followed on send, and says nothing about what the first server did.
        if (300..400).contains(&reply.status) {
            return judging.bad_reply(format!(
                "the channel answered with a redirect (HTTP {}), which isn't followed",
                reply.status
            ));
        }
        let mut verdicts = rules.verdicts.iter().map(|rule| rule.judge(&judging.values));
        let judged = match verdicts.find_map(Result::transpose) {
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

    /// The id of the comment that a reply names, whosever it is; empty if it names none.
    pub(crate) fn receipt(&self, values: &Value) -> String {
        self.receipt.as_ref().and_then(|receipt| receipt.text(values).ok()).unwrap_or_default()
    }

    fn echo(&self, values: &Value) -> Echo {
        match self.echo.as_ref().map(|echo| echo.eval(values)) {
            None => Echo::Silent,
            Some(Ok(echoed)) if echoed.is_none() => Echo::Silent,
            Some(Ok(echoed)) if echoed.is_true() => Echo::Ours,
            Some(Ok(_) | Err(_)) => Echo::Anothers,
        }
    }

    /// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), or what the manifest reads from the reply.
    fn retry_after_ms(&self, reply: &ChannelReply, values: &Value, unix_ms: u64) -> Option<u64> {
        let by_header = reply.headers.get("retry-after").and_then(|value| hint_ms(&value, unix_ms));
        by_header.or_else(|| hint_ms(&self.retry_after_s.as_ref()?.text(values).ok()?, unix_ms))
    }
}

/// A reply on its way to a verdict.
struct ReplyJudgement<'a> {
    rules: &'a ReplyRules,
    reply: &'a ChannelReply,
    scope: &'a Scope,
    values: Value,
    echo: Echo,
    redact: &'a dyn Fn(&str) -> String,
}

impl ReplyJudgement<'_> {
    fn verdict(&self, judged: RuleVerdict) -> Verdict {
        let mut verdict = Verdict::new(judged.kind, "").with_code(judged.code);
        let receipt = self.rules.receipt(&self.values);
        verdict.comment_id_is_ours = self.echo == Echo::Ours && !receipt.is_empty();
        verdict.comment_id = receipt;
        if judged.kind != VerdictKind::Delivered && judged.kind != VerdictKind::Held {
            self.add_words(&mut verdict);
            verdict.message = message_of(judged.kind, self.reply.status, &verdict.provider_error_message);
            verdict.retry_after_ms =
                self.rules.retry_after_ms(self.reply, &self.values, self.scope.unix_ms());
        }
        verdict
    }

    /// The channel's own code and text.
    fn add_words(&self, verdict: &mut Verdict) {
        let words = |expr: &Option<Expr>| expr.as_ref().and_then(|expr| expr.text(&self.values).ok());
        let text = words(&self.rules.failure_message).unwrap_or_else(|| self.reply.text());
        verdict.provider_error_code = self.shown(&words(&self.rules.failure_code).unwrap_or_default());
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
        match &self.rules.from_channel {
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
        let words = self.shown(&plain(&self.reply.text()));
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
        let receipt = self.rules.receipt(&self.values);
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

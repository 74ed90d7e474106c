//! What an attempt came to, and what may follow: the one rule table of the product.

use crate::rule_switch::{self, is_off};
use commentd_contract::{Code, VerdictKind};
use serde::{Deserialize, Serialize};

/// What a verdict says about the comment's existence at the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This attempt added nothing.
    None,
    /// The comment exists.
    One,
    /// None or one.
    Unclear,
}

/// Whether the same provider may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No.
    Never,
    /// Once, if the provider renewed its token after this verdict.
    OnceAfterRenewal,
    /// After the channel's hint, if the deadline allows.
    AfterHint,
    /// After a backoff, within the retry budget.
    WithinBudget,
    /// Only if the channel deduplicates by our key, within its stated window.
    IfDeduplicated,
}

/// Whether the next provider of the chain may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Never.
    Never,
    /// Yes.
    Allowed,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is known about the comment's existence.
    pub effect: Effect,
    /// Whether the same provider may try again.
    pub again: Again,
    /// Whether the next provider may try, once the same one may not (any more).
    pub next: Next,
}

/// The table of SPEC 4. `duplicate` is the row of a first attempt of which a lookup has found nothing, or can't find
/// anything; any other one is `unknown` with [`Contradiction::Duplicate`], see `machine/duplicates.rs`.
pub const fn rule(kind: VerdictKind) -> Rule {
    match kind {
        VerdictKind::Delivered | VerdictKind::Held | VerdictKind::Misplaced => {
            Rule { effect: Effect::One, again: Again::Never, next: Next::Never }
        }
        VerdictKind::Duplicate | VerdictKind::Refused => {
            Rule { effect: Effect::None, again: Again::Never, next: Next::Never }
        }
        VerdictKind::Denied => {
            Rule { effect: Effect::None, again: Again::OnceAfterRenewal, next: Next::Allowed }
        }
        VerdictKind::Throttled => Rule { effect: Effect::None, again: Again::AfterHint, next: Next::Allowed },
        VerdictKind::NotSent => {
            Rule { effect: Effect::None, again: Again::WithinBudget, next: Next::Allowed }
        }
        VerdictKind::Unknown => {
            Rule { effect: Effect::Unclear, again: Again::IfDeduplicated, next: Next::Never }
        }
    }
}

/// The verdict that a code of the v1 contract stands for when an upstream or the hook's pipe says it
/// (SPEC 2). What isn't named here is unknown: those codes are used for failures after the effect, too.
pub const fn of_code(code: Code) -> VerdictKind {
    match code {
        Code::InvalidCommand | Code::UpstreamRefused | Code::KeyReused => VerdictKind::Refused,
        Code::SnsIdNotFound
        | Code::CommentNotImplemented
        | Code::WechatVersionMismatch
        | Code::HookNotInstalled
        | Code::UpstreamUnauthorized
        | Code::Unauthorized
        | Code::UiWorkerUnavailable
        | Code::ProviderUnavailable => VerdictKind::Denied,
        Code::UpstreamThrottled | Code::Overloaded => VerdictKind::Throttled,
        Code::DeadlineExceeded => VerdictKind::NotSent,
        Code::Misplaced => VerdictKind::Misplaced,
        Code::Ok
        | Code::Internal
        | Code::PipeDisconnected
        | Code::PipeTimeout
        | Code::CommentFailed
        | Code::UpstreamUnavailable
        | Code::UpstreamBadReply
        | Code::OutcomeUnknown
        | Code::KeyInFlight => VerdictKind::Unknown,
    }
}

/// The code that our reply carries for a verdict, where nothing more precise is known.
pub const fn code_of(kind: VerdictKind) -> Code {
    match kind {
        VerdictKind::Delivered | VerdictKind::Held => Code::Ok,
        VerdictKind::Misplaced => Code::Misplaced,
        VerdictKind::Duplicate | VerdictKind::Refused => Code::UpstreamRefused,
        VerdictKind::Denied => Code::ProviderUnavailable,
        VerdictKind::Throttled => Code::UpstreamThrottled,
        VerdictKind::NotSent => Code::UpstreamUnavailable,
        VerdictKind::Unknown => Code::OutcomeUnknown,
    }
}

/// What in a reply speaks against a lookup that doesn't find the comment: the channel has something that may be it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contradiction {
    /// The channel said that it has this comment already.
    Duplicate,
    /// The reply showed a stored comment that isn't known to be this one.
    ForeignEcho,
}

/// What an attempt came to, with the evidence that a person or a caller may want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The row of the table.
    pub kind: VerdictKind,
    /// The code for our reply.
    pub code: Code,
    /// The text for our reply; empty for success.
    pub message: String,
    /// The channel's own code; empty if it gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_error_code: String,
    /// The channel's own text; empty if it gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_error_message: String,
    /// The channel's id of the comment; empty if it gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment_id: String,
    /// Whether `comment_id` is proved to be this delivery's, by an echo or a marker. Only then is it claimed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub comment_id_is_ours: bool,
    /// What in the reply speaks against its absence, where the verdict is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contradiction: Option<Contradiction>,
    /// How long the channel asks to wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Whether the provider renewed its credentials after this verdict, so that one more try makes sense.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renewed: bool,
    /// Whether it says nothing about the provider: a shortage of our own (descriptors, threads), or a failure that
    /// another attempt has told already. The breaker and the provider's health leave it out. Not recorded.
    #[serde(skip)]
    pub uncounted: bool,
    /// Time at the provider, in milliseconds.
    pub latency_ms: u64,
}

impl Verdict {
    /// A verdict of this kind with this text, and the kind's usual code.
    pub fn new(kind: VerdictKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code_of(kind),
            message: message.into(),
            provider_error_code: String::new(),
            provider_error_message: String::new(),
            comment_id: String::new(),
            comment_id_is_ours: false,
            contradiction: None,
            retry_after_ms: None,
            renewed: false,
            uncounted: false,
            latency_ms: 0,
        }
    }

    /// The same verdict under another code.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// The same verdict after this time at the provider.
    #[must_use]
    pub fn after_ms(mut self, latency_ms: u64) -> Self {
        self.latency_ms = latency_ms;
        self
    }

    /// The same verdict, which says nothing about the provider: see [`Verdict::uncounted`].
    #[must_use]
    pub fn uncounted(mut self) -> Self {
        self.uncounted = true;
        self
    }

    /// Its row of the table.
    pub fn rule(&self) -> Rule {
        rule(self.kind)
    }

    /// A reply that shows a stored object never has effect none: whoever wrote the predicate was wrong, and
    /// the comment may be there.
    #[must_use]
    pub fn distrusting_receipts(self) -> Self {
        if self.rule().effect != Effect::None
            || self.comment_id.is_empty()
            || is_off(rule_switch::RuleSwitch::ReceiptsAreDistrusted)
        {
            return self;
        }
        Self {
            message: format!(
                "the channel's reply reads as {} and yet names a stored comment ({}); treated as unknown",
                self.kind, self.comment_id
            ),
            kind: VerdictKind::Unknown,
            code: Code::UpstreamBadReply,
            retry_after_ms: None,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of SPEC 4, written down a second time so that a slip in one of them shows.
    #[test]
    fn every_row_is_as_specified() {
        use Again::{AfterHint, IfDeduplicated, Never as No, OnceAfterRenewal, WithinBudget};
        let table = [
            ("delivered", Effect::One, No, Next::Never),
            ("held", Effect::One, No, Next::Never),
            ("misplaced", Effect::One, No, Next::Never),
            ("duplicate", Effect::None, No, Next::Never),
            ("refused", Effect::None, No, Next::Never),
            ("denied", Effect::None, OnceAfterRenewal, Next::Allowed),
            ("throttled", Effect::None, AfterHint, Next::Allowed),
            ("not_sent", Effect::None, WithinBudget, Next::Allowed),
            ("unknown", Effect::Unclear, IfDeduplicated, Next::Never),
        ];
        assert_eq!(table.len(), VerdictKind::ALL.len());
        for ((word, effect, again, next), kind) in table.into_iter().zip(VerdictKind::ALL) {
            assert_eq!(word, kind.as_str());
            assert_eq!(rule(kind), Rule { effect, again, next }, "{word}");
        }
    }

    #[test]
    fn codes_of_others_are_as_specified_and_the_rest_is_unknown() {
        let verdicts = |numbers: &[i64], kind| {
            for number in numbers {
                assert_eq!(of_code(Code::from_number(*number).unwrap()), kind, "code {number}");
            }
        };
        verdicts(&[10, 52, 63], VerdictKind::Refused);
        verdicts(&[20, 31, 40, 50, 54, 60, 65, 66], VerdictKind::Denied);
        verdicts(&[53, 61], VerdictKind::Throttled);
        verdicts(&[62], VerdictKind::NotSent);
        verdicts(&[57], VerdictKind::Misplaced);
        verdicts(&[0, 1, 2, 3, 30, 51, 55, 56, 64], VerdictKind::Unknown);
    }

    #[test]
    fn a_refusal_that_names_a_stored_comment_is_unknown() {
        for kind in VerdictKind::ALL {
            let mut verdict = Verdict::new(kind, "");
            verdict.comment_id = "7".into();
            let believed = verdict.distrusting_receipts().kind;
            let expected = if rule(kind).effect == Effect::None { VerdictKind::Unknown } else { kind };
            assert_eq!(believed, expected);
        }
    }
}

//! What a delivery comes to in the words that a caller reads, with the machine's own texts where no provider has any.

use crate::verdict::{Effect, Verdict};
use commentd_contract::{Code, Outcome, VerdictKind};

pub(crate) const STILL_OPEN: &str = "the deadline passed after the comment was handed over; ask again with the same key to learn what became of it";

pub(crate) const UNRECORDABLE_INTENT: &str =
    "the ledger can't record this attempt, so nothing was sent; see the sidecar's log";

pub(crate) const UNRECORDED_IN_TIME: &str =
    "the deadline passed while the result was being recorded; ask again with the same key";

pub(crate) const UNRECORDABLE: &str = "the ledger can't record what became of this comment; see the sidecar's log, then ask again with the same key";

/// What is said of a delivery, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conclusion {
    pub(crate) outcome: Outcome,
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) retry_after_ms: Option<u64>,
}

impl Conclusion {
    /// The outcome in the words of the verdict that speaks for it.
    pub(crate) fn of(outcome: Outcome, speaking: Option<&Verdict>) -> Self {
        let is_open =
            |verdict: &&Verdict| outcome == Outcome::Unknown && verdict.rule().effect != Effect::Unclear;
        match speaking.filter(|verdict| !is_open(verdict)) {
            Some(verdict) => Self {
                outcome,
                code: verdict.code,
                message: verdict.message.clone(),
                retry_after_ms: verdict.retry_after_ms,
            },
            None if outcome == Outcome::Unknown => Self::unknown(STILL_OPEN),
            None => Self::skipped(std::iter::empty()),
        }
    }

    /// Nobody knows, for this reason.
    pub(crate) fn unknown(message: &str) -> Self {
        Self {
            outcome: Outcome::Unknown,
            code: Code::OutcomeUnknown,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// No provider was tried, for these reasons.
    pub(crate) fn skipped<'a>(skips: impl Iterator<Item = &'a Verdict>) -> Self {
        let late = not_sent_in_time();
        let mut code = late.code;
        let mut retry_after_ms: Option<u64> = None;
        let mut reasons: Vec<&str> = Vec::new();
        for skip in skips {
            code = skip.code;
            retry_after_ms = retry_after_ms.into_iter().chain(skip.retry_after_ms).min();
            reasons.push(&skip.message);
        }
        reasons.dedup();
        let message = if reasons.is_empty() { late.message } else { reasons.join("; ") };
        Self { outcome: Outcome::NotSent, code, message, retry_after_ms }
    }
}

/// The verdict of an attempt whose gate the deadline has closed.
pub(crate) fn not_sent_in_time() -> Verdict {
    Verdict::new(
        VerdictKind::NotSent,
        "the deadline passed before the comment was sent; allow more time with deadline_ms in the request or \
         --default-deadline-ms at the sidecar",
    )
    .with_code(Code::DeadlineExceeded)
}

pub(crate) fn no_lane_in_time() -> Verdict {
    Verdict::new(
        VerdictKind::NotSent,
        "skipped: no lane came free before the deadline; send fewer at a time, or allow more time with deadline_ms",
    )
    .with_code(Code::DeadlineExceeded)
}

pub(crate) fn absent() -> Verdict {
    Verdict::new(
        VerdictKind::NotSent,
        "looked up twice after the channel had settled: the comment isn't there",
    )
    .with_code(Code::UpstreamUnavailable)
}

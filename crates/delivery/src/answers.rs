//! The words in which the machine answers where no provider has words of its own.

use crate::step::Answer;
use crate::verdict::Verdict;
use commentd_contract::{Code, Outcome, VerdictKind};

pub(crate) const STILL_OPEN: &str = "the deadline passed after the comment was handed over; ask again with the same key to learn what became of it";

pub(crate) const UNRECORDABLE_INTENT: &str =
    "the ledger can't record this attempt, so nothing was sent; see the sidecar's log";

pub(crate) const UNRECORDED_IN_TIME: &str =
    "the deadline passed while the result was being recorded; ask again with the same key";

pub(crate) const UNRECORDABLE: &str = "the ledger can't record what became of this comment; see the sidecar's log, then ask again with the same key";

/// The verdict of an attempt whose gate the deadline has closed.
pub fn not_sent_in_time() -> Verdict {
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

/// The answer where no link was tried.
pub(crate) fn skipped(skips: &[Verdict], recorded: bool) -> Answer {
    let late = not_sent_in_time();
    let code = skips.last().map_or(late.code, |last| last.code);
    let mut reasons: Vec<&str> = skips.iter().map(|skip| skip.message.as_str()).collect();
    reasons.dedup();
    Answer {
        outcome: Outcome::NotSent,
        code,
        message: if reasons.is_empty() { late.message } else { reasons.join("; ") },
        retry_after_ms: skips.iter().filter_map(|skip| skip.retry_after_ms).min(),
        recorded,
    }
}

pub(crate) fn absent() -> Verdict {
    Verdict::new(
        VerdictKind::NotSent,
        "looked up twice after the channel had settled: the comment isn't there",
    )
    .with_code(Code::UpstreamUnavailable)
}

pub(crate) fn unrecorded(message: &str) -> Answer {
    Answer {
        outcome: Outcome::Unknown,
        code: Code::OutcomeUnknown,
        message: message.into(),
        retry_after_ms: None,
        recorded: true,
    }
}

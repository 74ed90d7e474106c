//! What the record allows, and what follows from what is added to it. Pure, so that every ledger has the same
//! rules.

use crate::{End, LedgerError, Opening, Settling};
use commentd_contract::Outcome;
use commentd_delivery::Verdict;
use commentd_delivery::record::{AttemptRecord, interrupted, outcome_of};
use commentd_delivery::sabotage::{Rule, is_on};
use commentd_delivery::verdict::Effect;

/// A comment at a channel, as something that only one delivery can own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) channel: String,
    pub(crate) base_url: String,
    pub(crate) comment_id: String,
}

/// What a settling that the record allows leads to.
#[derive(Debug)]
pub(crate) struct Settlement {
    /// The attempt as it is to be recorded.
    pub(crate) attempt: AttemptRecord,
    /// The comment that the verdict proves to be this delivery's.
    pub(crate) claim: Option<Claim>,
    /// What the delivery then comes to.
    pub(crate) outcome: Outcome,
    /// Whether an attempt is still open then.
    pub(crate) open: bool,
}

/// What the delivery comes to by these attempts.
pub(crate) fn outcome(attempts: &[AttemptRecord]) -> Outcome {
    outcome_of(attempts.iter().map(AttemptRecord::settled))
}

/// Whether one of the attempts has no verdict yet.
pub(crate) fn is_open(attempts: &[AttemptRecord]) -> bool {
    attempts.iter().any(|attempt| attempt.verdict.is_none())
}

/// Whether this is an opening at all: a first attempt that hasn't ended.
pub(crate) fn check_opening(opening: &Opening) -> Result<(), LedgerError> {
    check_is_intent(&opening.intent)?;
    if opening.intent.number != 1 {
        return conflict("a delivery opens with attempt 1");
    }
    Ok(())
}

/// Whether the delivery with these attempts may have this further one.
pub(crate) fn check_intent(attempts: &[AttemptRecord], intent: &AttemptRecord) -> Result<(), LedgerError> {
    check_is_intent(intent)?;
    let outcome = outcome(attempts);
    if outcome.is_final() && is_on(Rule::CertainIsReplayed) {
        return conflict(format!("the delivery's outcome is final: {outcome}"));
    }
    if is_open(attempts) {
        return conflict("another attempt is open");
    }
    let next = attempts.iter().map(|attempt| attempt.number).max().unwrap_or(0).saturating_add(1);
    if intent.number != next {
        return conflict(format!("the next attempt is number {next}, not {}", intent.number));
    }
    Ok(())
}

fn check_is_intent(intent: &AttemptRecord) -> Result<(), LedgerError> {
    if intent.verdict.is_some() || intent.resolution.is_some() {
        return conflict("an intent has no verdict yet");
    }
    Ok(())
}

/// What this settling does to a delivery with these attempts.
///
/// # Errors
/// `NotFound` if there is no such attempt, `Conflict` if what it would change is certain.
pub(crate) fn settle(attempts: &[AttemptRecord], settling: &Settling) -> Result<Settlement, LedgerError> {
    let before = outcome(attempts);
    let mut attempts = attempts.to_vec();
    let open_already = is_open(&attempts);
    let number = settling.attempt;
    let attempt =
        attempts.iter_mut().find(|attempt| attempt.number == number).ok_or(LedgerError::NotFound)?;
    let claim = match &settling.end {
        End::Verdict(verdict) => {
            if attempt.verdict.is_some() {
                return conflict(format!("attempt {number} has its verdict already"));
            }
            attempt.verdict = Some(verdict.clone());
            claim_of(attempt, verdict)
        }
        End::Resolution(resolution) => {
            if open_already {
                return conflict("an attempt is open; it can be resolved once that has ended");
            }
            if !is_unclear(attempt.settled()) {
                return conflict(format!("attempt {number} is certain already"));
            }
            if is_unclear(Some(&resolution.verdict)) {
                return conflict("a resolution must make the attempt certain");
            }
            attempt.resolution = Some(resolution.clone());
            claim_of(attempt, &resolution.verdict)
        }
    };
    let attempt = attempt.clone();
    let outcome = outcome(&attempts);
    if before.is_final() && outcome != before && is_on(Rule::CertainIsReplayed) {
        return conflict(format!("the delivery's outcome is final: {before}"));
    }
    Ok(Settlement { attempt, claim, outcome, open: is_open(&attempts) })
}

fn is_unclear(verdict: Option<&Verdict>) -> bool {
    verdict.is_some_and(|verdict| verdict.rule().effect == Effect::Unclear)
}

fn claim_of(attempt: &AttemptRecord, verdict: &Verdict) -> Option<Claim> {
    let claims = verdict.comment_id_is_ours && is_on(Rule::ClaimsAreExclusive);
    (claims && !verdict.comment_id.is_empty()).then(|| Claim {
        channel: attempt.destination.channel.clone(),
        base_url: attempt.destination.base_url.clone(),
        comment_id: verdict.comment_id.clone(),
    })
}

/// Ends the open ones among these attempts as the end of their process does; returns whether there was one.
pub(crate) fn interrupt(attempts: &mut [AttemptRecord]) -> bool {
    let mut any = false;
    for attempt in attempts.iter_mut().filter(|attempt| attempt.verdict.is_none()) {
        attempt.verdict = Some(interrupted());
        any = true;
    }
    any
}

/// Whether the comment of a delivery may be erased.
pub(crate) fn check_forget(open: bool) -> Result<(), LedgerError> {
    if open {
        return conflict("an attempt is open; its comment can be forgotten once that has ended");
    }
    Ok(())
}

fn conflict<T>(reason: impl Into<String>) -> Result<T, LedgerError> {
    Err(LedgerError::Conflict(reason.into()))
}

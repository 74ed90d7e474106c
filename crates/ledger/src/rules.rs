//! What the record allows, and what follows from what is added to it. Pure, so that every ledger has the same
//! rules.

use crate::{AttemptEnd, LedgerError, Opening, Settling};
use commentd_contract::Outcome;
use commentd_delivery::Verdict;
use commentd_delivery::outcome::outcome_of;
use commentd_delivery::record::{AttemptRecord, interrupted, is_open, outcome_of_attempts};
use commentd_delivery::rule_switch::{RuleSwitch, is_on};
use commentd_delivery::verdict::Effect;

/// A comment at a channel, as something that only one delivery can own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommentClaim<'a> {
    pub(crate) channel: &'a str,
    pub(crate) base_url: &'a str,
    pub(crate) comment_id: &'a str,
}

/// What a settling that the record allows leads to.
#[derive(Debug)]
pub(crate) struct Settlement<'a> {
    /// The comment that the verdict proves to be this delivery's.
    pub(crate) claim: Option<CommentClaim<'a>>,
    /// What the delivery then comes to.
    pub(crate) outcome: Outcome,
    /// Whether an attempt is still open then.
    pub(crate) open: bool,
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
    let outcome = outcome_of_attempts(attempts);
    if outcome.is_final() && is_on(RuleSwitch::CertainIsReplayed) {
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
pub(crate) fn settle<'a>(
    attempts: &'a [AttemptRecord],
    settling: &'a Settling,
) -> Result<Settlement<'a>, LedgerError> {
    let number = settling.attempt;
    let attempt = attempts.iter().find(|attempt| attempt.number == number).ok_or(LedgerError::NotFound)?;
    let verdict = match &settling.end {
        AttemptEnd::Verdict(verdict) => {
            if attempt.verdict.is_some() {
                return conflict(format!("attempt {number} has its verdict already"));
            }
            verdict
        }
        AttemptEnd::Resolution(resolution) => {
            if is_open(attempts) {
                return conflict("an attempt is open; it can be resolved once that has ended");
            }
            if !is_unclear(attempt.settled()) {
                return conflict(format!("attempt {number} is certain already"));
            }
            if is_unclear(Some(&resolution.verdict)) {
                return conflict("a resolution must make the attempt certain");
            }
            &resolution.verdict
        }
    };
    let settled = |other: &'a AttemptRecord| match other.number == number {
        true => Some(verdict),
        false => other.settled(),
    };
    let (before, outcome) = (outcome_of_attempts(attempts), outcome_of(attempts.iter().map(settled)));
    if before.is_final() && outcome != before && is_on(RuleSwitch::CertainIsReplayed) {
        return conflict(format!("the delivery's outcome is final: {before}"));
    }
    let open = attempts.iter().any(|other| other.number != number && other.verdict.is_none());
    Ok(Settlement { claim: claim_of(attempt, verdict), outcome, open })
}

/// Notes the end of an attempt in its record.
pub(crate) fn note(attempt: &mut AttemptRecord, end: AttemptEnd) {
    match end {
        AttemptEnd::Verdict(verdict) => attempt.verdict = Some(verdict),
        AttemptEnd::Resolution(resolution) => attempt.resolution = Some(Box::new(resolution)),
    }
}

fn is_unclear(verdict: Option<&Verdict>) -> bool {
    verdict.is_some_and(|verdict| verdict.rule().effect == Effect::Unclear)
}

/// What a delivery with these attempts has claimed.
pub(crate) fn claims(attempts: &[AttemptRecord]) -> impl Iterator<Item = CommentClaim<'_>> {
    attempts.iter().flat_map(|attempt| {
        let resolved = attempt.resolution.as_ref().map(|resolution| &resolution.verdict);
        [attempt.verdict.as_ref(), resolved]
            .into_iter()
            .flatten()
            .filter_map(|verdict| claim_of(attempt, verdict))
    })
}

fn claim_of<'a>(attempt: &'a AttemptRecord, verdict: &'a Verdict) -> Option<CommentClaim<'a>> {
    let claims = verdict.comment_id_is_ours && is_on(RuleSwitch::ClaimsAreExclusive);
    (claims && !verdict.comment_id.is_empty()).then(|| CommentClaim {
        channel: &attempt.destination.channel,
        base_url: &attempt.destination.base_url,
        comment_id: &verdict.comment_id,
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

//! What a duplicate means, and what keeps a lookup's silence from proving that a comment isn't there.
//!
//! A channel that says *I have this already* doesn't say who put it there: an earlier attempt of ours that was taken for
//! absent, a proxy that sent our request twice and handed back the second answer, or somebody else. So it is looked for
//! first. Not found, it is none of ours only if no other attempt of the delivery was ever sent.

use super::state::{Machine, Step};
use crate::lookup::LookupResult;
use crate::rule_switch::{RuleSwitch, is_off};
use crate::verdict::{Contradiction, Verdict};
use commentd_contract::{Code, VerdictKind};

/// Why absence isn't believed, for people.
const UNSEEN: &str = "a lookup doesn't find it, which shows nothing, because no marker of ours was ever seen at this \
                      place: the site may drop them";
const CONTRADICTED: &str = "a lookup doesn't find it, which shows nothing, because the channel's own reply says that \
                            it has it, or shows a comment that may be this one";

impl Machine {
    /// The verdict of the attempt that has just ended, with a duplicate that may be ours made unknown.
    pub(super) fn doubting_duplicates(&self, verdict: Verdict) -> Verdict {
        if verdict.kind != VerdictKind::Duplicate {
            return verdict;
        }
        let last = self.attempts.len().saturating_sub(1);
        let provider = self.attempts.get(last).and_then(|attempt| attempt.provider);
        let can_look = provider
            .and_then(|provider| self.plan.chain.get(provider))
            .is_some_and(|rules| rules.lookup.is_some());
        let is_looked_for = can_look && !is_off(RuleSwitch::DuplicatesAreLookedUp);
        if !is_looked_for && !self.another_was_sent(last) {
            return verdict;
        }
        Verdict {
            kind: VerdictKind::Unknown,
            code: Code::OutcomeUnknown,
            message: format!("{}; whether that is this one isn't known", verdict.message),
            contradiction: Some(Contradiction::Duplicate),
            ..verdict
        }
    }

    /// The verdict of a duplicate that was looked for, if this finding shows that it is none of ours.
    pub(super) fn duplicate_of_anothers(&self, attempt: usize, finding: &LookupResult) -> Option<Verdict> {
        let verdict = self.attempts.get(attempt)?.verdict.as_ref()?;
        let is_not_ours =
            matches!(finding, LookupResult::NotFound { complete: true } | LookupResult::CannotBeKnown);
        let is_duplicate = verdict.contradiction == Some(Contradiction::Duplicate);
        (is_duplicate && is_not_ours && !self.another_was_sent(attempt)).then(|| {
            let mut none_of_ours = Verdict::new(
                VerdictKind::Duplicate,
                "the channel says that it has this comment already, and it isn't one that this delivery sent",
            );
            none_of_ours.provider_error_code.clone_from(&verdict.provider_error_code);
            none_of_ours.provider_error_message.clone_from(&verdict.provider_error_message);
            none_of_ours.latency_ms = verdict.latency_ms;
            none_of_ours
        })
    }

    /// The same where the lookup found a comment that another delivery has claimed. Only a slot, which holds a single
    /// comment, shows by that that ours isn't there; one that carries our marker would be ours all the same.
    pub(super) fn duplicate_in_anothers_slot(&self, attempt: usize, provider: usize) -> Option<Verdict> {
        let ability = self.plan.chain.get(provider).and_then(|rules| rules.lookup)?;
        let is_slot = !ability.needs_marker;
        is_slot.then(|| self.duplicate_of_anothers(attempt, &LookupResult::NotFound { complete: true }))?
    }

    /// Whether another attempt of this delivery may have passed its gate, resolved or not.
    fn another_was_sent(&self, attempt: usize) -> bool {
        let others = || self.attempts.iter().enumerate().filter(|(index, _)| *index != attempt);
        !is_off(RuleSwitch::DuplicateAfterASentOneIsUnknown) && others().any(|(_, other)| other.was_sent)
    }

    /// Why a lookup that doesn't find this attempt's comment proves nothing, if something speaks against it.
    pub(super) fn veto(&self, attempt: usize, provider: usize, step: &mut Step<'_>) -> Option<&'static str> {
        let needs_marker = self
            .plan
            .chain
            .get(provider)
            .and_then(|rules| rules.lookup)
            .is_some_and(|ability| ability.needs_marker);
        if self.is_contradicted(attempt) {
            return Some(CONTRADICTED);
        }
        let unseen = needs_marker
            && !is_off(RuleSwitch::AbsenceTakesASeenMarker)
            && !step.health.has_seen_marker(provider);
        unseen.then_some(UNSEEN)
    }

    /// Whether the channel's reply to this attempt or a later one says that it has the comment, or shows one that may
    /// be it: one of the two, that or the lookup, is wrong.
    fn is_contradicted(&self, attempt: usize) -> bool {
        let speaks = |index: usize, verdict: &Verdict| match verdict.contradiction {
            Some(Contradiction::Duplicate) => !is_off(RuleSwitch::DuplicateProvesNothing),
            Some(Contradiction::ForeignEcho) => !is_off(RuleSwitch::ForeignEchoVetoesAbsence),
            None => {
                let is_later = index > attempt && verdict.kind == VerdictKind::Duplicate;
                is_later && !is_off(RuleSwitch::DuplicateProvesNothing)
            }
        };
        let replies = self.attempts.iter().enumerate().skip(attempt);
        replies
            .into_iter()
            .any(|(index, reply)| reply.verdict.as_ref().is_some_and(|verdict| speaks(index, verdict)))
    }
}

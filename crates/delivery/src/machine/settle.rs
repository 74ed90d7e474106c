//! How it is made durable what an attempt came to: as often as it takes.

use super::state::{Machine, Phase, Step};
use crate::conclusion::UNRECORDABLE;
use crate::lookup::LookupSchedule;
use crate::record::was_sent;
use crate::rule_switch::{RuleSwitch, is_off};
use crate::step::{Action, Notice, SettleFailure};
use crate::verdict::Verdict;
use commentd_contract::time::Moment;
use commentd_contract::{Code, Outcome, VerdictKind};
use std::time::Duration;

/// How long to wait before a settling that failed is tried again: at first, and at most; it doubles each time.
const RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// Retries after which a drain doesn't wait for it any more.
const MOST_RETRIES_IN_A_DRAIN: u32 = 8;

impl Machine {
    /// The last attempt has ended: make its verdict durable.
    pub(super) fn settle_last(&mut self, verdict: Verdict, step: &mut Step<'_>) {
        let verdict = self.doubting_duplicates(verdict.distrusting_receipts());
        let attempt = self.attempts.len().saturating_sub(1);
        self.settle(attempt, verdict, false, step);
        let schedule = self.schedule(attempt, step.now);
        if let Some(last) = self.attempts.get_mut(attempt) {
            last.was_sent = was_sent(last.verdict.as_ref());
            last.lookups = schedule;
        }
    }

    /// When to look an unclear attempt up that ended at `ended`; `None` if it is certain, or nothing can be seen there.
    pub(super) fn schedule(&self, attempt: usize, ended: Moment) -> Option<LookupSchedule> {
        let attempt = self.attempts.get(attempt)?;
        let ability = self.rules(attempt.provider?)?.lookup?;
        attempt.is_unclear().then(|| LookupSchedule::new(ability, ended))
    }

    pub(super) fn settle(&mut self, attempt: usize, verdict: Verdict, resolves: bool, step: &mut Step<'_>) {
        let Some(entry) = self.attempts.get_mut(attempt) else { return };
        let before = entry.verdict.replace(verdict);
        self.unrecorded = Some((attempt, before.map(Box::new)));
        self.phase = Phase::Settling { attempt, resolves, known_at: step.now, failures: 0 };
        self.record_settling(Duration::ZERO, step);
        if is_off(RuleSwitch::SettlingBeforeAnswer) {
            self.answer(step);
        }
        if !self.answered {
            self.wake(self.late_since.unwrap_or(self.plan.deadline) + self.plan.grace, step);
        }
    }

    fn record_settling(&mut self, after: Duration, step: &mut Step<'_>) {
        let Phase::Settling { attempt, resolves, known_at, .. } = self.phase else { return };
        let Some(verdict) = self.attempts.get(attempt).and_then(|entry| entry.verdict.clone()) else {
            return;
        };
        step.ask(Action::RecordSettling { attempt, verdict, resolves, known_at, after });
    }

    /// Undoes what couldn't be recorded; hands back the verdict that it was.
    fn unsettle(&mut self) -> Option<Verdict> {
        let (attempt, before) = self.unrecorded.take()?;
        let entry = self.attempts.get_mut(attempt)?;
        std::mem::replace(&mut entry.verdict, before.map(|before| *before))
    }

    pub(super) fn settled(&mut self, step: &mut Step<'_>) {
        let settled =
            self.unrecorded.take().and_then(|(attempt, _)| self.attempts.get(attempt)?.verdict.as_ref());
        if let Some(kind) =
            settled.map(|verdict| verdict.kind).filter(|_| self.replied || self.caller_is_gone)
        {
            let reply = self.reply_now();
            step.ask(Action::Log(Notice::SettledAfterReply(kind, reply.outcome)));
            self.give(reply, step);
        }
        if step.now >= self.plan.deadline {
            self.closed = true;
        }
        let outcome = self.outcome();
        if outcome != Outcome::Unknown && outcome != Outcome::NotSent {
            return self.conclude(step);
        }
        // The last verdict says what may follow, even if it was an earlier one that a lookup has resolved.
        self.follow_last(step);
    }

    pub(super) fn claim_lost(&mut self, attempt: usize, resolves: bool, step: &mut Step<'_>) {
        step.ask(Action::Log(Notice::ClaimLost));
        let lost = self.unsettle();
        if resolves {
            // What another delivery has claimed is not found.
            let Some(provider) = self.attempts.get(attempt).and_then(|entry| entry.provider) else { return };
            return match self.duplicate_in_anothers_slot(attempt, provider) {
                Some(none_of_ours) => self.settle(attempt, none_of_ours, true, step),
                None => self.missed(attempt, provider, false, step.now, step),
            };
        }
        let verdict = Verdict::new(
            VerdictKind::Unknown,
            "the channel's reply names a comment that belongs to another delivery",
        )
        .with_code(Code::UpstreamBadReply)
        .after_ms(lost.map_or(0, |verdict| verdict.latency_ms));
        self.settle_last(verdict, step);
    }

    pub(super) fn settle_failed(&mut self, failure: SettleFailure, reason: String, step: &mut Step<'_>) {
        let Phase::Settling { failures, .. } = &mut self.phase else { return };
        let count = *failures;
        *failures = count.saturating_add(1);
        match failure {
            // A full disk or a full queue may pass, however long it takes. The caller doesn't wait: its answer comes at
            // the deadline.
            SettleFailure::Transient if self.settles_later(count) => {
                if count == 0 {
                    step.ask(Action::Log(Notice::SettlesLater(reason)));
                }
                let wait = RETRY.saturating_mul(1 << count.min(16)).min(LONGEST_RETRY);
                return self.record_settling(wait, step);
            }
            SettleFailure::Conflict => step.ask(Action::Log(Notice::SettledByOthers(reason))),
            SettleFailure::Transient | SettleFailure::Permanent => {
                step.ask(Action::Log(Notice::NotSettled(reason)));
            }
        }
        // The durable intent already implies unknown; so does a durable unknown that wasn't resolved.
        self.unsettle();
        self.answer_unknown(UNRECORDABLE, step);
        self.phase = Phase::Over;
    }

    fn settles_later(&self, failures: u32) -> bool {
        let may_wait = !self.is_draining && !is_off(RuleSwitch::SettlingsAreRetried);
        may_wait || failures < MOST_RETRIES_IN_A_DRAIN
    }
}
